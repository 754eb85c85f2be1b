package nodeports

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/schedtest"
)

func ports(ports ...corev1.ContainerPort) *schedtest.PodBuilder {
	return schedtest.Pod("p").With(func(p *corev1.Pod) { p.Spec.Containers[0].Ports = ports })
}

func TestFilter(t *testing.T) {
	// The node's 127.0.0.1:80/TCP and *:53/UDP are taken.
	node := schedtest.Node("n").Pods(ports(
		corev1.ContainerPort{HostPort: 80, HostIP: "127.0.0.1", Protocol: corev1.ProtocolTCP},
		corev1.ContainerPort{HostPort: 53, Protocol: corev1.ProtocolUDP},
	)).Info()
	for _, tt := range []struct {
		name string
		want corev1.ContainerPort
		fits bool
	}{
		{"container port only", corev1.ContainerPort{ContainerPort: 80}, true},
		{"free", corev1.ContainerPort{HostPort: 81}, true},
		{"same address", corev1.ContainerPort{HostPort: 80, HostIP: "127.0.0.1"}, false},
		{"every address", corev1.ContainerPort{HostPort: 80}, false},
		{"every address, IPv6", corev1.ContainerPort{HostPort: 80, HostIP: "::"}, false},
		{"another address", corev1.ContainerPort{HostPort: 80, HostIP: "10.0.0.1"}, true},
		{"another protocol", corev1.ContainerPort{HostPort: 53, Protocol: corev1.ProtocolTCP}, true},
		{"one address of a port taken on all", corev1.ContainerPort{HostPort: 53, Protocol: corev1.ProtocolUDP, HostIP: "10.0.0.1"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New().Filter(t.Context(), nil, ports(tt.want).Info(), node)
			if s.Success() != tt.fits || !tt.fits && s.Message() != Reason {
				t.Errorf("%v %q", s.Code(), s.Message())
			}
		})
	}
}

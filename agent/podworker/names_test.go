package podworker

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNamesInHostsFile(t *testing.T) {
	m := &Manager{cfg: Config{ClusterDomain: "cluster.local"}}
	for _, c := range []struct {
		name string
		spec corev1.PodSpec
		want string
	}{
		{"none", corev1.PodSpec{}, "web"},
		{"a hostname", corev1.PodSpec{Hostname: "h"}, "h"},
		{"a subdomain", corev1.PodSpec{Hostname: "h", Subdomain: "s"}, "h.s.ns.svc.cluster.local\th"},
		{"the full name", corev1.PodSpec{Subdomain: "s", SetHostnameAsFQDN: new(true)}, "web.s.ns.svc.cluster.local"},
		{"one for all", corev1.PodSpec{Hostname: "h", Subdomain: "s", HostnameOverride: new("o.example")}, "o.example"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}, Spec: c.spec}
		got, err := m.hosts(pod, []netip.Addr{netip.MustParseAddr("10.244.0.5")})
		if err != nil || !strings.HasSuffix(string(got), "\n10.244.0.5\t"+c.want+"\n") {
			t.Errorf("%s: %q (%v), want %q at the end", c.name, got, err, c.want)
		}
	}
}

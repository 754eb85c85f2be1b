package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// opened is a port of a container and where it is.
type opened struct {
	*corev1.ContainerPort
	at func() *field.Path
}

// ports tells of ports of a pod that are in each other's way.
func (n *notes) ports(spec *corev1.PodSpec) {
	type number struct {
		port     int32
		protocol corev1.Protocol
	}
	var numbers map[number][]opened
	visitPorts(spec, n.pod, func(p opened) {
		if p.HostIP != "" && p.HostPort == 0 {
			n.add(p.at(), "hostIP set without hostPort: %+v", *p.ContainerPort)
		}
		key := number{p.ContainerPort.ContainerPort, p.Protocol}
		for _, other := range numbers[key] {
			n.conflict(p, other)
		}
		if numbers == nil {
			numbers = make(map[number][]opened)
		}
		numbers[key] = append(numbers[key], p)
	})
	names := make(map[string]opened)
	visitPorts(spec, n.pod, func(p opened) {
		if p.Name == "" {
			return
		}
		if other, ok := names[p.Name]; ok {
			n.add(p.at(), "duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, other.at(), other.at())
			return
		}
		names[p.Name] = p
	})
}

// conflict tells of a port that is the same as one before it.
func (n *notes) conflict(p, before opened) {
	switch {
	case p.HostIP == before.HostIP && p.HostPort == before.HostPort:
		n.add(p.at(), "duplicate port definition with %s", before.at())
	case p.HostPort == 0 || before.HostPort == 0:
		n.add(p.at(), "overlapping port definition with %s", before.at())
	case p.HostPort == before.HostPort && (p.HostIP == "") != (before.HostIP == ""):
		n.add(p.at(), "dangerously ambiguous port definition with %s", before.at())
	}
}

func visitPorts(spec *corev1.PodSpec, pod *field.Path, f func(opened)) {
	visit(spec, func(c *corev1.Container, at func() *field.Path) {
		for i := range c.Ports {
			f(opened{&c.Ports[i], func() *field.Path { return at().Child("ports").Index(i) }})
		}
	}, pod)
}

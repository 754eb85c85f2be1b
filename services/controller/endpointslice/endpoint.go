package endpointslice

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/backends"
	"navarch.dev/navarch/services/controller/podset"
)

// families returns the address families that a Service has slices for.
func families(s *corev1.Service) []discoveryv1.AddressType {
	var types []discoveryv1.AddressType
	for _, f := range s.Spec.IPFamilies {
		if f == corev1.IPv6Protocol {
			types = append(types, discoveryv1.AddressTypeIPv6)
		} else {
			types = append(types, discoveryv1.AddressTypeIPv4)
		}
	}
	if len(types) > 0 {
		return types
	}
	return []discoveryv1.AddressType{familyOf(s.Spec.ClusterIP)}
}

func familyOf(address string) discoveryv1.AddressType {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

// endpoint returns a pod as an endpoint; false if it has no address of the
// family.
func endpoint(s *corev1.Service, pod *corev1.Pod, family discoveryv1.AddressType, zone string) (discoveryv1.Endpoint, bool) {
	addresses := slices.DeleteFunc(backends.Addresses(pod), func(a string) bool { return familyOf(a) != family })
	if len(addresses) == 0 {
		return discoveryv1.Endpoint{}, false
	}
	serving, terminating := podset.IsReady(pod), pod.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: addresses,
		Conditions: discoveryv1.EndpointConditions{
			Ready:       ptr.To(s.Spec.PublishNotReadyAddresses || (serving && !terminating)),
			Serving:     &serving,
			Terminating: &terminating,
		},
		TargetRef: backends.Reference(pod),
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = ptr.To(pod.Spec.NodeName)
	}
	if zone != "" {
		e.Zone = &zone
	}
	if h := backends.Hostname(s, pod); h != "" {
		e.Hostname = &h
	}
	return e, true
}

// endpointPorts returns a Service's ports as a pod serves them.
func endpointPorts(s *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var ports []discoveryv1.EndpointPort
	for _, p := range backends.Ports(s, pod) {
		protocol := cmp.Or(p.Service.Protocol, corev1.ProtocolTCP)
		ports = append(ports, discoveryv1.EndpointPort{
			Name: ptr.To(p.Service.Name), Port: ptr.To(p.Number), Protocol: &protocol, AppProtocol: p.Service.AppProtocol,
		})
	}
	return ports
}

// portsKey is equal for equal ports.
func portsKey(ports []discoveryv1.EndpointPort) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = fmt.Sprintf("%s/%s/%d/%s", ptr.Deref(p.Name, ""), ptr.Deref(p.Protocol, ""), ptr.Deref(p.Port, 0), ptr.Deref(p.AppProtocol, ""))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/backends"
	"navarch.dev/navarch/services/controller/podset"
)

// subsets groups a Service's pods by the ports they serve, in an order that
// depends on nothing but its input. Ready addresses count first against
// maxAddresses.
func subsets(s *corev1.Service, pods []*corev1.Pod) (all []corev1.EndpointSubset, truncated bool) {
	pods = slices.DeleteFunc(pods, func(pod *corev1.Pod) bool {
		return pod.DeletionTimestamp != nil && !s.Spec.PublishNotReadyAddresses
	})
	if len(pods) > maxAddresses {
		truncated = true
		slices.SortFunc(pods, func(a, b *corev1.Pod) int {
			return cmp.Or(cmp.Compare(notReadyRank(a), notReadyRank(b)), cmp.Compare(a.UID, b.UID))
		})
		pods = pods[:maxAddresses]
	}
	byPorts := make(map[string]*corev1.EndpointSubset)
	for _, pod := range pods {
		ports := subsetPorts(s, pod)
		if len(ports) == 0 && len(s.Spec.Ports) > 0 {
			continue // it serves none of the Service's ports
		}
		key := portsKey(ports)
		if byPorts[key] == nil {
			byPorts[key] = &corev1.EndpointSubset{Ports: ports}
		}
		addAddress(byPorts[key], s, pod)
	}
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		subset := byPorts[key]
		slices.SortFunc(subset.Addresses, compareAddresses)
		slices.SortFunc(subset.NotReadyAddresses, compareAddresses)
		all = append(all, *subset)
	}
	return all, truncated
}

func notReadyRank(pod *corev1.Pod) int {
	if podset.IsReady(pod) {
		return 0
	}
	return 1
}

func addAddress(subset *corev1.EndpointSubset, s *corev1.Service, pod *corev1.Pod) {
	a := corev1.EndpointAddress{IP: address(s, pod), TargetRef: backends.Reference(pod), Hostname: backends.Hostname(s, pod)}
	if pod.Spec.NodeName != "" {
		a.NodeName = ptr.To(pod.Spec.NodeName)
	}
	if podset.IsReady(pod) || s.Spec.PublishNotReadyAddresses {
		subset.Addresses = append(subset.Addresses, a)
	} else {
		subset.NotReadyAddresses = append(subset.NotReadyAddresses, a)
	}
}

// address returns the pod's address of the Service's first family, or its
// first address.
func address(s *corev1.Service, pod *corev1.Pod) string {
	all := backends.Addresses(pod)
	if len(s.Spec.IPFamilies) > 0 {
		wantV6 := s.Spec.IPFamilies[0] == corev1.IPv6Protocol
		for _, a := range all {
			if strings.Contains(a, ":") == wantV6 {
				return a
			}
		}
	}
	return all[0]
}

func subsetPorts(s *corev1.Service, pod *corev1.Pod) []corev1.EndpointPort {
	var ports []corev1.EndpointPort
	for _, p := range backends.Ports(s, pod) {
		ports = append(ports, corev1.EndpointPort{
			Name: p.Service.Name, Port: p.Number, AppProtocol: p.Service.AppProtocol,
			Protocol: cmp.Or(p.Service.Protocol, corev1.ProtocolTCP),
		})
	}
	return ports
}

func portsKey(ports []corev1.EndpointPort) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = fmt.Sprintf("%s/%s/%d", p.Name, p.Protocol, p.Port)
	}
	return strings.Join(parts, ",")
}

func compareAddresses(a, b corev1.EndpointAddress) int {
	return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
}

package endpointslicemirroring

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// maxEndpoints is how many endpoints a slice may hold; what Endpoints have
// beyond that is left out.
const maxEndpoints = 1000

// mirrors returns the slices that say what Endpoints say, by name: one for each
// address family and set of ports. The name follows from these, so that no
// slice is ever made twice.
func mirrors(e *corev1.Endpoints) map[string]*discoveryv1.EndpointSlice {
	all := make(map[string]*discoveryv1.EndpointSlice)
	for _, subset := range e.Subsets {
		for _, address := range subset.Addresses {
			add(all, e, subset.Ports, address, true)
		}
		for _, address := range subset.NotReadyAddresses {
			add(all, e, subset.Ports, address, false)
		}
	}
	return all
}

func add(all map[string]*discoveryv1.EndpointSlice, e *corev1.Endpoints, ports []corev1.EndpointPort, address corev1.EndpointAddress, ready bool) {
	ip, err := netip.ParseAddr(address.IP)
	if err != nil {
		return
	}
	family := discoveryv1.AddressTypeIPv6
	if ip.Unmap().Is4() {
		family = discoveryv1.AddressTypeIPv4
	}
	name := nameOf(e, family, ports)
	slice := all[name]
	if slice == nil {
		slice = newSlice(e, name, family, ports)
		all[name] = slice
	}
	if len(slice.Endpoints) == maxEndpoints {
		return
	}
	endpoint := discoveryv1.Endpoint{
		Addresses: []string{address.IP}, NodeName: address.NodeName, TargetRef: address.TargetRef.DeepCopy(),
		Conditions: discoveryv1.EndpointConditions{Ready: &ready},
	}
	if address.Hostname != "" {
		endpoint.Hostname = &address.Hostname
	}
	slice.Endpoints = append(slice.Endpoints, endpoint)
}

func newSlice(e *corev1.Endpoints, name string, family discoveryv1.AddressType, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	labels := maps.Clone(e.Labels)
	if labels == nil {
		labels = make(map[string]string)
	}
	labels[discoveryv1.LabelServiceName] = e.Name
	labels[discoveryv1.LabelManagedBy] = managedBy
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, Name: name, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family,
	}
	for _, p := range ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
			Name: ptr.To(p.Name), Port: ptr.To(p.Port), Protocol: ptr.To(p.Protocol), AppProtocol: p.AppProtocol,
		})
	}
	return slice
}

func nameOf(e *corev1.Endpoints, family discoveryv1.AddressType, ports []corev1.EndpointPort) string {
	parts := []string{string(family)}
	for _, p := range ports {
		parts = append(parts, fmt.Sprintf("%s/%s/%d/%s", p.Name, p.Protocol, p.Port, ptr.Deref(p.AppProtocol, "")))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, ",")))
	return e.Name + "-" + hex.EncodeToString(sum[:5])
}

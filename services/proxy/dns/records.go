package dns

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Service is what the cluster's zone says about one Service.
type Service struct {
	Namespace, Name string
	// ExternalName makes the Service's name an alias; the rest is empty then.
	ExternalName string
	// ClusterIPs are the Service's own addresses; a headless one has none.
	ClusterIPs []netip.Addr
	// Ports are the Service's ports where it has addresses of its own.
	Ports []Port
	// Endpoints are the addresses that stand for a headless Service.
	Endpoints []Endpoint
}

// Port is a port that SRV records tell.
type Port struct {
	// Name is empty for the only port of a Service that does not name it.
	Name string
	// Protocol is in lower case.
	Protocol string
	Port     uint16
}

// Endpoint is one address of a headless Service.
type Endpoint struct {
	// Host is the endpoint's name below the Service's: the pod's hostname or,
	// without one, the address with dashes.
	Host  string
	Addr  netip.Addr
	Ports []Port
}

// ServiceOf returns what the zone says about a Service with these slices.
func ServiceOf(service *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) *Service {
	out := &Service{Namespace: service.Namespace, Name: service.Name}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = strings.TrimSuffix(service.Spec.ExternalName, ".")
		return out
	}
	if service.Spec.ClusterIP != corev1.ClusterIPNone {
		out.ClusterIPs = clusterIPs(service)
		for _, p := range service.Spec.Ports {
			out.Ports = append(out.Ports, Port{Name: p.Name, Protocol: lower(p.Protocol), Port: uint16(p.Port)})
		}
		return out
	}
	for _, slice := range endpointSlices {
		out.Endpoints = append(out.Endpoints, endpointsOf(slice, service.Spec.PublishNotReadyAddresses)...)
	}
	out.Endpoints = distinctEndpoints(out.Endpoints)
	return out
}

func clusterIPs(service *corev1.Service) []netip.Addr {
	texts := service.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{service.Spec.ClusterIP}
	}
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

func endpointsOf(slice *discoveryv1.EndpointSlice, notReadyToo bool) []Endpoint {
	var ports []Port
	for _, p := range slice.Ports {
		if p.Port == nil {
			continue
		}
		port := Port{Protocol: "tcp", Port: uint16(*p.Port)}
		if p.Name != nil {
			port.Name = *p.Name
		}
		if p.Protocol != nil {
			port.Protocol = lower(*p.Protocol)
		}
		ports = append(ports, port)
	}
	var out []Endpoint
	for _, e := range slice.Endpoints {
		if e.Conditions.Ready != nil && !*e.Conditions.Ready && !notReadyToo {
			continue
		}
		for _, text := range e.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			host := dashed(addr)
			if e.Hostname != nil && *e.Hostname != "" {
				host = strings.ToLower(*e.Hostname)
			}
			out = append(out, Endpoint{Host: host, Addr: addr, Ports: ports})
		}
	}
	return out
}

// distinctEndpoints sorts endpoints and drops repeated ones, which there are
// while an endpoint moves from one slice to another.
func distinctEndpoints(all []Endpoint) []Endpoint {
	slices.SortFunc(all, func(a, b Endpoint) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return strings.Compare(a.Host, b.Host)
	})
	return slices.CompactFunc(all, func(a, b Endpoint) bool {
		return a.Addr == b.Addr && a.Host == b.Host && slices.Equal(a.Ports, b.Ports)
	})
}

// dashed writes an address as one label: 10-244-0-5, or fd00--1.
func dashed(addr netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
}

// undashed is the reverse of dashed.
func undashed(label string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
		return addr, true
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return addr, err == nil
}

func lower(p corev1.Protocol) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(string(p))
}

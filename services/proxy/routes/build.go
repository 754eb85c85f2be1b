package routes

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"navarch.dev/navarch/internal/kinds"
)

// ProxyNameLabel on a Service hands it to another proxy than the cluster's own.
const ProxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Viewpoint is the node that routes are made for.
type Viewpoint struct {
	Node   string
	Family corev1.IPFamily
}

// Routable says whether nodes route the Service at all: it has a cluster
// address and is not left to another proxy.
func Routable(service *corev1.Service) bool {
	_, foreign := service.Labels[ProxyNameLabel]
	return !foreign && service.Spec.Type != corev1.ServiceTypeExternalName &&
		service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone
}

// Build returns what a Service with these slices asks of a node, or nil if it
// asks nothing.
func Build(service *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, view Viewpoint) *Service {
	if !Routable(service) {
		return nil
	}
	clusterIPs := addresses(clusterIPsOf(service), view.Family)
	if len(clusterIPs) == 0 {
		return nil
	}
	out := &Service{Namespace: service.Namespace, Name: service.Name}
	for _, port := range service.Spec.Ports {
		b := portBuilder{service: service, port: port, view: view, clusterIPs: clusterIPs}
		b.choose(endpointsOf(endpointSlices, port, view))
		b.addTo(out)
	}
	out.Hairpins = distinct(out.Hairpins)
	out.HealthCheck = healthCheck(service, endpointSlices, view)
	return out
}

// healthCheck counts the ready endpoints that the node has, whatever ports they
// serve.
func healthCheck(service *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, view Viewpoint) *HealthCheck {
	spec := &service.Spec
	if spec.HealthCheckNodePort <= 0 || spec.HealthCheckNodePort > 65535 || !kinds.NeedsHealthCheck(spec) {
		return nil
	}
	ready := make(map[netip.Addr]struct{})
	for _, slice := range endpointSlices {
		for _, e := range slice.Endpoints {
			if ep, ok := endpointFrom(e, 0, view); ok && ep.ready && ep.Local {
				ready[ep.Addr.Addr()] = struct{}{}
			}
		}
	}
	return &HealthCheck{Port: uint16(spec.HealthCheckNodePort), Endpoints: len(ready)}
}

// endpoint is one address of a slice that serves a port.
type endpoint struct {
	Backend
	ready, serving, terminating bool
}

// endpointsOf returns the endpoints of a port from all slices, one per address.
func endpointsOf(all []*discoveryv1.EndpointSlice, port corev1.ServicePort, view Viewpoint) []endpoint {
	byAddr := make(map[netip.AddrPort]endpoint)
	for _, slice := range all {
		if slice.AddressType != discoveryv1.AddressType(view.Family) {
			continue
		}
		number, ok := slicePort(slice, port)
		if !ok {
			continue
		}
		for _, e := range slice.Endpoints {
			if ep, ok := endpointFrom(e, number, view); ok && betterThan(ep, byAddr[ep.Addr]) {
				byAddr[ep.Addr] = ep
			}
		}
	}
	out := make([]endpoint, 0, len(byAddr))
	for _, ep := range byAddr {
		out = append(out, ep)
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.Addr.Compare(b.Addr) })
	return out
}

// betterThan prefers the readier of two reports of one address, which overlap
// while an endpoint moves from one slice to another.
func betterThan(a, b endpoint) bool {
	if a.ready != b.ready {
		return a.ready
	}
	return a.serving || !b.serving
}

// slicePort returns the number that a Service's port has in a slice.
func slicePort(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) (uint16, bool) {
	for _, p := range slice.Ports {
		if p.Port == nil || deref(p.Name, "") != port.Name || deref(p.Protocol, corev1.ProtocolTCP) != protocolOf(port) {
			continue
		}
		if *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func endpointFrom(e discoveryv1.Endpoint, port uint16, view Viewpoint) (endpoint, bool) {
	if len(e.Addresses) == 0 {
		return endpoint{}, false
	}
	// The addresses of an endpoint stand for one backend; as Kubernetes has it,
	// the first one is used.
	addr, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || !inFamily(addr, view.Family) {
		return endpoint{}, false
	}
	node := deref(e.NodeName, "")
	ready := deref(e.Conditions.Ready, true)
	return endpoint{
		Backend: Backend{
			Addr: netip.AddrPortFrom(addr, port), Node: node, Target: targetName(e.TargetRef),
			Local: node != "" && node == view.Node,
		},
		ready:       ready,
		serving:     deref(e.Conditions.Serving, ready),
		terminating: deref(e.Conditions.Terminating, false),
	}, true
}

// usable returns the ready endpoints or, if there are none, those that are
// terminating but still serve: during a rollout of a single replica they are
// all there is.
func usable(all []endpoint) []Backend {
	if ready := filter(all, func(e endpoint) bool { return e.ready }); len(ready) > 0 {
		return ready
	}
	return filter(all, func(e endpoint) bool { return e.serving && e.terminating })
}

func filter(all []endpoint, keep func(endpoint) bool) []Backend {
	var out []Backend
	for _, e := range all {
		if keep(e) {
			out = append(out, e.Backend)
		}
	}
	return out
}

// portBuilder makes the routes of one port of a Service.
type portBuilder struct {
	service        *corev1.Service
	port           corev1.ServicePort
	view           Viewpoint
	clusterIPs     []netip.Addr
	cluster, local []Backend
}

func (b *portBuilder) choose(all []endpoint) {
	b.cluster = usable(all)
	b.local = usable(slices.DeleteFunc(slices.Clone(all), func(e endpoint) bool { return !e.Local }))
}

func (b *portBuilder) addTo(out *Service) {
	out.Ports = append(out.Ports, Port{
		Name: b.port.Name, Protocol: protocolOf(b.port), ClusterIPs: b.clusterIPs, Port: uint16(b.port.Port),
		NodePort: b.nodePort(), Affinity: cmp.Or(b.service.Spec.SessionAffinity, corev1.ServiceAffinityNone),
		Backends: b.cluster,
	})
	used := make(map[string]bool)
	for _, r := range b.routes() {
		out.Routes = append(out.Routes, r)
		used[r.Target.Group] = true
		if r.Inside != nil {
			used[r.Inside.Group] = true
		}
	}
	b.addGroup(out, used, "cluster", b.cluster)
	b.addGroup(out, used, "local", b.local)
	for _, backends := range [][]Backend{b.cluster, b.local} {
		for _, backend := range backends {
			if backend.Local {
				out.Hairpins = append(out.Hairpins, backend.Addr.Addr())
			}
		}
	}
}

func (b *portBuilder) addGroup(out *Service, used map[string]bool, policy string, backends []Backend) {
	name := b.groupName(policy)
	if !used[name] {
		return
	}
	addrs := make([]netip.AddrPort, len(backends))
	for i, backend := range backends {
		addrs[i] = backend.Addr
	}
	out.Groups = append(out.Groups, Group{Name: name, Addrs: addrs, Affinity: affinityOf(b.service)})
}

func (b *portBuilder) groupName(policy string) string {
	protocol := strings.ToLower(string(protocolOf(b.port)))
	port := cmp.Or(b.port.Name, fmt.Sprint(b.port.Port))
	return strings.Join([]string{policy, b.service.Namespace, b.service.Name, protocol, port}, "/")
}

// routes returns the routes of every frontend that the port has.
func (b *portBuilder) routes() []Route {
	var out []Route
	inside := b.clusterTarget()
	if p := b.service.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		inside = b.localTarget()
	}
	for _, ip := range b.clusterIPs {
		out = append(out, Route{Frontend: b.frontend(ip, uint16(b.port.Port)), Target: inside})
	}
	for _, f := range b.outsideFrontends() {
		out = append(out, b.outsideRoute(f))
	}
	return out
}

// outsideRoute leads a frontend that clients beyond the cluster use.
func (b *portBuilder) outsideRoute(f Frontend) Route {
	cluster := b.clusterTarget()
	if b.service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return Route{Frontend: f, Target: cluster, Masquerade: cluster.Action == Forward}
	}
	return Route{Frontend: f, Target: b.localTarget(), Inside: &cluster}
}

func (b *portBuilder) outsideFrontends() []Frontend {
	var ips []string
	ips = append(ips, b.service.Spec.ExternalIPs...)
	if b.service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range b.service.Status.LoadBalancer.Ingress {
			if deref(ingress.IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeVIP {
				ips = append(ips, ingress.IP)
			}
		}
	}
	var out []Frontend
	for _, ip := range addresses(ips, b.view.Family) {
		out = append(out, b.frontend(ip, uint16(b.port.Port)))
	}
	if nodePort := b.nodePort(); nodePort != 0 {
		out = append(out, b.frontend(unspecified(b.view.Family), nodePort))
	}
	return out
}

func (b *portBuilder) frontend(ip netip.Addr, port uint16) Frontend {
	return Frontend{Addr: ip, Protocol: protocolOf(b.port), Port: port}
}

func (b *portBuilder) nodePort() uint16 {
	switch b.service.Spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return uint16(b.port.NodePort)
	}
	return 0
}

func (b *portBuilder) clusterTarget() Target {
	if len(b.cluster) == 0 {
		return Target{Action: Reject}
	}
	return Target{Action: Forward, Group: b.groupName("cluster")}
}

func (b *portBuilder) localTarget() Target {
	switch {
	case len(b.local) > 0:
		return Target{Action: Forward, Group: b.groupName("local")}
	case len(b.cluster) > 0:
		return Target{Action: Drop}
	}
	return Target{Action: Reject}
}

func affinityOf(service *corev1.Service) time.Duration {
	if service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := service.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
		seconds = deref(c.ClientIP.TimeoutSeconds, seconds)
	}
	return time.Duration(seconds) * time.Second
}

func clusterIPsOf(service *corev1.Service) []string {
	if len(service.Spec.ClusterIPs) > 0 {
		return service.Spec.ClusterIPs
	}
	return []string{service.Spec.ClusterIP}
}

// addresses parses the addresses of a family, leaving out what is none.
func addresses(texts []string, family corev1.IPFamily) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil && inFamily(addr, family) && !addr.IsUnspecified() {
			out = append(out, addr)
		}
	}
	return out
}

func inFamily(addr netip.Addr, family corev1.IPFamily) bool {
	return addr.Is4() == (family == corev1.IPv4Protocol)
}

func unspecified(family corev1.IPFamily) netip.Addr {
	if family == corev1.IPv4Protocol {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func protocolOf(port corev1.ServicePort) corev1.Protocol {
	return cmp.Or(port.Protocol, corev1.ProtocolTCP)
}

func targetName(ref *corev1.ObjectReference) string {
	if ref == nil {
		return ""
	}
	return fmt.Sprintf("%s %s/%s", ref.Kind, ref.Namespace, ref.Name)
}

func distinct(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

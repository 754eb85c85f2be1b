package routes

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Endpoints are written as "last octet@node state", where state is ready (the
// default), unready, draining (terminating, still serving) or gone
// (terminating, no longer serving). This node is n1.
func slice(name string, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: "ns"},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
	}
	for _, text := range endpoints {
		where, state, _ := strings.Cut(text, " ")
		octet, node, _ := strings.Cut(where, "@")
		e := discoveryv1.Endpoint{Addresses: []string{"10.244.0." + octet}, NodeName: &node}
		switch state {
		case "unready":
			e.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(false)}
		case "draining":
			e.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
		case "gone":
			e.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(true)}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.7",
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

// show writes a Service's routes, one a line: frontend → target [inside target] [masquerade].
func show(s *Service) []string {
	if s == nil {
		return nil
	}
	groups := make(map[string]string)
	for _, g := range s.Groups {
		var octets []string
		for _, a := range g.Addrs {
			octets = append(octets, strings.TrimPrefix(a.String(), "10.244.0."))
		}
		groups[g.Name] = strings.Join(octets, ",")
	}
	target := func(t Target) string {
		switch t.Action {
		case Reject:
			return "reject"
		case Drop:
			return "drop"
		}
		return groups[t.Group]
	}
	var out []string
	for _, r := range s.Routes {
		line := fmt.Sprintf("%s:%d %s", r.Frontend.Addr, r.Frontend.Port, target(r.Target))
		if r.Inside != nil {
			line += " inside " + target(*r.Inside)
		}
		if r.Masquerade {
			line += " masquerade"
		}
		out = append(out, line)
	}
	return out
}

func TestBuild(t *testing.T) {
	nodePort := func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort = 30080
	}
	local := func(s *corev1.Service) {
		nodePort(s)
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	internalLocal := func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
	}
	tests := []struct {
		name    string
		service *corev1.Service
		slices  []*discoveryv1.EndpointSlice
		want    []string
	}{
		{"no slices", service(nil), nil, []string{"10.96.0.7:80 reject"}},
		{
			"two slices", service(nil), []*discoveryv1.EndpointSlice{slice("a", "2@n2"), slice("b", "1@n1")},
			[]string{"10.96.0.7:80 1:8080,2:8080"},
		},
		{"one address twice", service(nil), []*discoveryv1.EndpointSlice{slice("a", "1@n1 unready"), slice("b", "1@n1")}, []string{"10.96.0.7:80 1:8080"}},
		{"unready is left out", service(nil), []*discoveryv1.EndpointSlice{slice("a", "1@n1", "2@n2 unready")}, []string{"10.96.0.7:80 1:8080"}},
		{"draining is left out", service(nil), []*discoveryv1.EndpointSlice{slice("a", "1@n1", "2@n2 draining")}, []string{"10.96.0.7:80 1:8080"}},
		{"unless nothing else is there", service(nil), []*discoveryv1.EndpointSlice{slice("a", "1@n1 gone", "2@n2 draining")}, []string{"10.96.0.7:80 2:8080"}},
		{"all unready", service(nil), []*discoveryv1.EndpointSlice{slice("a", "1@n1 unready")}, []string{"10.96.0.7:80 reject"}},
		{
			"node port", service(nodePort), []*discoveryv1.EndpointSlice{slice("a", "1@n1", "2@n2")},
			[]string{"10.96.0.7:80 1:8080,2:8080", "0.0.0.0:30080 1:8080,2:8080 masquerade"},
		},
		{
			"node port without endpoints", service(nodePort), nil,
			[]string{"10.96.0.7:80 reject", "0.0.0.0:30080 reject"},
		},
		{
			"local policy", service(local), []*discoveryv1.EndpointSlice{slice("a", "1@n1", "2@n2")},
			[]string{"10.96.0.7:80 1:8080,2:8080", "0.0.0.0:30080 1:8080 inside 1:8080,2:8080"},
		},
		{
			"local policy, none here", service(local), []*discoveryv1.EndpointSlice{slice("a", "2@n2")},
			[]string{"10.96.0.7:80 2:8080", "0.0.0.0:30080 drop inside 2:8080"},
		},
		{
			"local policy, the one here is draining", service(local), []*discoveryv1.EndpointSlice{slice("a", "1@n1 draining", "2@n2")},
			[]string{"10.96.0.7:80 2:8080", "0.0.0.0:30080 1:8080 inside 2:8080"},
		},
		{
			"local policy, none anywhere", service(local), nil,
			[]string{"10.96.0.7:80 reject", "0.0.0.0:30080 reject inside reject"},
		},
		{"internal local policy", service(internalLocal), []*discoveryv1.EndpointSlice{slice("a", "1@n1", "2@n2")}, []string{"10.96.0.7:80 1:8080"}},
		{"internal local policy, none here", service(internalLocal), []*discoveryv1.EndpointSlice{slice("a", "2@n2")}, []string{"10.96.0.7:80 drop"}},
		{
			"external and load balancer addresses", service(func(s *corev1.Service) {
				s.Spec.Type = corev1.ServiceTypeLoadBalancer
				s.Spec.ExternalIPs = []string{"203.0.113.1", "2001:db8::1", "nonsense"}
				s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
					{IP: "203.0.113.2"}, {Hostname: "lb.example"}, {IP: "203.0.113.3", IPMode: new(corev1.LoadBalancerIPModeProxy)},
				}
			}), []*discoveryv1.EndpointSlice{slice("a", "1@n1")},
			[]string{"10.96.0.7:80 1:8080", "203.0.113.1:80 1:8080 masquerade", "203.0.113.2:80 1:8080 masquerade"},
		},
		{"headless", service(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), nil, nil},
		{"external name", service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, nil},
		{"no address yet", service(func(s *corev1.Service) { s.Spec.ClusterIP = "" }), nil, nil},
		{"IPv6", service(func(s *corev1.Service) { s.Spec.ClusterIP = "fd00::1" }), nil, nil},
		{"another proxy's", service(func(s *corev1.Service) { s.Labels = map[string]string{ProxyNameLabel: "mesh"} }), nil, nil},
		{
			"a port that no slice has", service(func(s *corev1.Service) { s.Spec.Ports[0].Name = "metrics" }),
			[]*discoveryv1.EndpointSlice{slice("a", "1@n1")}, []string{"10.96.0.7:80 reject"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := show(Build(tt.service, tt.slices, Viewpoint{Node: "n1", Family: corev1.IPv4Protocol}))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHealthChecksCountTheNodesReadyEndpoints(t *testing.T) {
	balanced := func(s *corev1.Service) {
		s.Spec.Type, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, 32000
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	all := []*discoveryv1.EndpointSlice{slice("a", "1@n1", "2@n2", "3@n1 unready", "4@n1 draining"), slice("b", "1@n1", "5@n1")}
	tests := []struct {
		name    string
		service *corev1.Service
		node    string
		want    *HealthCheck
	}{
		{"two", service(balanced), "n1", &HealthCheck{Port: 32000, Endpoints: 2}},
		{"none", service(balanced), "n3", &HealthCheck{Port: 32000}},
		{"traffic to all nodes", service(func(s *corev1.Service) {
			balanced(s)
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		}), "n1", nil},
		{"no port", service(func(s *corev1.Service) {
			balanced(s)
			s.Spec.HealthCheckNodePort = 0
		}), "n1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Build(tt.service, all, Viewpoint{Node: tt.node, Family: corev1.IPv4Protocol}).HealthCheck
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the health check (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBuildAffinity(t *testing.T) {
	tests := []struct {
		name   string
		change func(*corev1.Service)
		want   time.Duration
	}{
		{"none", nil, 0},
		{"default", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }, 3 * time.Hour},
		{"chosen", func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(7))}}
		}, 7 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Build(service(tt.change), []*discoveryv1.EndpointSlice{slice("a", "1@n1")}, Viewpoint{Node: "n1", Family: corev1.IPv4Protocol})
			if got := s.Groups[0].Affinity; got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestHairpinsAreThisNodesBackends(t *testing.T) {
	s := Build(service(nil), []*discoveryv1.EndpointSlice{slice("a", "1@n1", "2@n2", "3@n1 unready")}, Viewpoint{Node: "n1", Family: corev1.IPv4Protocol})
	if want := []netip.Addr{netip.MustParseAddr("10.244.0.1")}; !slices.Equal(s.Hairpins, want) {
		t.Errorf("got %v, want %v", s.Hairpins, want)
	}
}

// TestMergeConflict gives two Services one external address.
func TestMergeConflict(t *testing.T) {
	frontend := Frontend{Addr: netip.MustParseAddr("203.0.113.1"), Protocol: corev1.ProtocolTCP, Port: 80}
	of := func(name string, masquerade bool) *Service {
		return &Service{Routes: []Route{{Frontend: frontend, Target: Target{Action: Forward, Group: name}, Masquerade: masquerade}}}
	}
	for range 10 { // in any order
		state := Merge(map[string]*Service{"ns/b": of("b", true), "ns/a": of("a", false), "ns/c": of("c", true)})
		if got := state.Targets[frontend].Group; got != "a" {
			t.Errorf("the frontend is %s's, want a's", got)
		}
		if len(state.Masquerade) != 0 {
			t.Error("another Service's masquerading is left")
		}
	}
}

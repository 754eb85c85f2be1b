// Package routes decides how a node routes the cluster's Services. It is pure:
// Build turns one Service and its EndpointSlices into that Service's routes on
// this node, Merge puts the routes of all Services together. Nothing here knows
// how a packet filter is programmed.
//
// The words used: a Frontend is an address, protocol and port that clients
// connect to; a Group is a set of backends among which connections are spread;
// a Route leads a Frontend to a Group, or refuses it.
package routes

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Frontend is what a client connects to. An unspecified address (0.0.0.0)
// stands for any address of the node itself: a node port.
type Frontend struct {
	Addr     netip.Addr
	Protocol corev1.Protocol
	Port     uint16
}

// IsNodePort says whether the frontend is a port on the node's own addresses.
func (f Frontend) IsNodePort() bool { return f.Addr.IsUnspecified() }

// Action is what happens to a connection to a frontend.
type Action uint8

const (
	// Reject refuses the connection at once: nothing serves it anywhere.
	Reject Action = iota
	// Drop ignores the connection: it is served, but not on this node, and a
	// load balancer that asks should try another one.
	Drop
	// Forward hands the connection to a backend of the group.
	Forward
)

// Target is where a route leads.
type Target struct {
	Action Action
	// Group is the name of the group that Forward leads to.
	Group string
}

// Route leads a frontend to a target.
type Route struct {
	Frontend Frontend
	Target   Target
	// Inside, where set, is the target for clients in the pods' network and on
	// this node, which a "Local" traffic policy for outside clients leaves alone.
	Inside *Target
	// Masquerade hides the client behind the node's address, so that an answer
	// from a backend on another node comes back through this one.
	Masquerade bool
}

// Group is a set of backends that share connections evenly.
type Group struct {
	// Name is unique in the cluster and readable: policy/namespace/service/protocol/port.
	Name string
	// Addrs are the backends' addresses, sorted.
	Addrs []netip.AddrPort
	// Affinity is how long a client keeps its backend; zero is not at all.
	Affinity time.Duration
}

// Equal says whether two groups route alike.
func (g Group) Equal(o Group) bool {
	return g.Name == o.Name && g.Affinity == o.Affinity && slices.Equal(g.Addrs, o.Addrs)
}

// Backend is one serving endpoint of a Service's port.
type Backend struct {
	Addr netip.AddrPort
	// Node is the node it runs on, Target what it is ("Pod namespace/name"),
	// both empty if unknown.
	Node, Target string
	// Local says that it runs on this node.
	Local bool
}

// Port is one port of a Service as this node routes it.
type Port struct {
	Name       string
	Protocol   corev1.Protocol
	ClusterIPs []netip.Addr
	Port       uint16
	// NodePort is 0 if there is none.
	NodePort uint16
	Affinity corev1.ServiceAffinity
	// Backends are all that may be chosen, cluster-wide.
	Backends []Backend
}

// Service is all that one Service asks of this node.
type Service struct {
	Namespace, Name string
	Ports           []Port
	Routes          []Route
	Groups          []Group
	// Hairpins are the backends on this node: one that reaches itself through
	// its own Service must see another source address than its own.
	Hairpins []netip.Addr
	// HealthCheck answers load balancers; nil if none asks.
	HealthCheck *HealthCheck
}

// HealthCheck is what a load balancer is told of a Service whose outside clients
// are served on the nodes that have endpoints.
type HealthCheck struct {
	// Port of the node, where it asks.
	Port uint16
	// Endpoints is how many ready ones this node has.
	Endpoints int
}

// State is the routing of all Services together.
type State struct {
	Groups map[string]Group
	// Targets decide for every client, Inside before them for clients in the
	// pods' network and on this node.
	Targets, Inside map[Frontend]Target
	Masquerade      map[Frontend]struct{}
	Hairpins        map[netip.Addr]struct{}
}

// NewState returns a State that routes nothing.
func NewState() *State {
	return &State{
		Groups:     make(map[string]Group),
		Targets:    make(map[Frontend]Target),
		Inside:     make(map[Frontend]Target),
		Masquerade: make(map[Frontend]struct{}),
		Hairpins:   make(map[netip.Addr]struct{}),
	}
}

// Merge puts Services together. Where two claim one frontend, which external
// addresses allow, the one with the smallest key has it.
func Merge(services map[string]*Service) *State {
	state := NewState()
	owners := make(map[Frontend]string, 2*len(services))
	for key, service := range services {
		for _, group := range service.Groups {
			state.Groups[group.Name] = group
		}
		for _, addr := range service.Hairpins {
			state.Hairpins[addr] = struct{}{}
		}
		for _, route := range service.Routes {
			if owner, taken := owners[route.Frontend]; taken && owner < key {
				continue
			}
			owners[route.Frontend] = key
			state.put(route)
		}
	}
	return state
}

// put takes a route over in place of any other of its frontend.
func (s *State) put(route Route) {
	s.Targets[route.Frontend] = route.Target
	delete(s.Inside, route.Frontend)
	if route.Inside != nil {
		s.Inside[route.Frontend] = *route.Inside
	}
	delete(s.Masquerade, route.Frontend)
	if route.Masquerade {
		s.Masquerade[route.Frontend] = struct{}{}
	}
}

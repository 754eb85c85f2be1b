// Package conntrack makes the kernel forget connections over UDP that lead to
// backends which are gone. A TCP client notices that its backend went away; a
// UDP client that keeps sending keeps its connection alive in the kernel, and
// would never reach another backend.
package conntrack

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/proxy/routes"
)

// Sweep forgets the UDP connections to the given frontends that lead elsewhere
// than to a backend that state has for them: to one that is gone, or nowhere,
// because they began before the Service was known.
func Sweep(kernel *netlink.Handle, frontends []routes.Frontend, state *routes.State) (int, error) {
	if len(frontends) == 0 {
		return 0, nil
	}
	own, err := ownAddresses(kernel)
	if err != nil {
		return 0, err
	}
	s := newStale(frontends, own, state)
	n, err := kernel.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, s)
	if err != nil {
		return int(n), fmt.Errorf("delete the connections of UDP backends that are gone: %w", err)
	}
	return int(n), nil
}

func ownAddresses(kernel *netlink.Handle) ([]netip.Addr, error) {
	addrs, err := kernel.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			out = append(out, addr)
		}
	}
	return out, nil
}

// stale matches connections that are to be forgotten.
type stale struct {
	// backends are, for each frontend that is looked at, those it may lead to.
	backends map[routes.Frontend][]netip.AddrPort
	own      []netip.Addr
}

func newStale(frontends []routes.Frontend, own []netip.Addr, state *routes.State) *stale {
	s := &stale{backends: make(map[routes.Frontend][]netip.AddrPort, len(frontends)), own: own}
	for _, f := range frontends {
		targets := []routes.Target{state.Targets[f], state.Inside[f]}
		s.backends[f] = []netip.AddrPort{}
		for _, t := range targets {
			s.backends[f] = append(s.backends[f], state.Groups[t.Group].Addrs...)
		}
	}
	return s
}

// MatchConntrackFlow says whether a connection is to be forgotten.
func (s *stale) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok1 := netip.AddrFromSlice(flow.Forward.DstIP)
	from, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok1 || !ok2 {
		return false
	}
	backends, ours := s.backends[routes.Frontend{Addr: to.Unmap(), Protocol: corev1.ProtocolUDP, Port: flow.Forward.DstPort}]
	if !ours && (slices.Contains(s.own, to.Unmap()) || to.Unmap().IsLoopback()) {
		backends, ours = s.backends[routes.Frontend{Addr: netip.IPv4Unspecified(), Protocol: corev1.ProtocolUDP, Port: flow.Forward.DstPort}]
	}
	return ours && !slices.Contains(backends, netip.AddrPortFrom(from.Unmap(), flow.Reverse.SrcPort))
}

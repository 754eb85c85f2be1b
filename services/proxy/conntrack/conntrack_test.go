package conntrack

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/proxy/routes"
)

func udp(ip string, port uint16) routes.Frontend {
	return routes.Frontend{Addr: netip.MustParseAddr(ip), Protocol: corev1.ProtocolUDP, Port: port}
}

// TestStale has a Service at 10.96.0.7:53 and node port 30053 with the backend
// 10.244.0.5:5353, outside clients at node port 30054 with 10.244.0.6:5353 of
// this node, and one at 10.96.0.8:53 that has lost its backends.
func TestStale(t *testing.T) {
	state := routes.NewState()
	add := func(f routes.Frontend, group, backend string) {
		state.Targets[f] = routes.Target{Action: routes.Forward, Group: group}
		state.Groups[group] = routes.Group{Name: group, Addrs: []netip.AddrPort{netip.MustParseAddrPort(backend)}}
	}
	add(udp("10.96.0.7", 53), "cluster", "10.244.0.5:5353")
	add(udp("0.0.0.0", 30053), "cluster", "10.244.0.5:5353")
	add(udp("0.0.0.0", 30054), "local", "10.244.0.6:5353")
	state.Inside[udp("0.0.0.0", 30054)] = routes.Target{Action: routes.Forward, Group: "cluster"}
	state.Targets[udp("10.96.0.8", 53)] = routes.Target{Action: routes.Reject}
	frontends := []routes.Frontend{udp("10.96.0.7", 53), udp("0.0.0.0", 30053), udp("0.0.0.0", 30054), udp("10.96.0.8", 53)}
	own := []netip.Addr{netip.MustParseAddr("192.168.7.1")}
	s := newStale(frontends, own, state)

	tests := []struct {
		name     string
		protocol uint8
		to, from string
		want     bool
	}{
		{"to its backend", unix.IPPROTO_UDP, "10.96.0.7:53", "10.244.0.5:5353", false},
		{"to a backend that is gone", unix.IPPROTO_UDP, "10.96.0.7:53", "10.244.0.9:5353", true},
		{"to another port of the backend", unix.IPPROTO_UDP, "10.96.0.7:53", "10.244.0.5:53", true},
		{"never led anywhere", unix.IPPROTO_UDP, "10.96.0.7:53", "10.96.0.7:53", true},
		{"over TCP", unix.IPPROTO_TCP, "10.96.0.7:53", "10.244.0.9:5353", false},
		{"another port", unix.IPPROTO_UDP, "10.96.0.7:54", "10.244.0.9:5353", false},
		{"a Service without backends", unix.IPPROTO_UDP, "10.96.0.8:53", "10.244.0.9:5353", true},
		{"node port to its backend", unix.IPPROTO_UDP, "192.168.7.1:30053", "10.244.0.5:5353", false},
		{"node port to one that is gone", unix.IPPROTO_UDP, "192.168.7.1:30053", "10.244.0.9:5353", true},
		{"node port on 127.0.0.1", unix.IPPROTO_UDP, "127.0.0.1:30053", "10.244.0.9:5353", true},
		{"another machine's port", unix.IPPROTO_UDP, "192.0.2.1:30053", "192.0.2.1:30053", false},
		{"from inside to any backend", unix.IPPROTO_UDP, "192.168.7.1:30054", "10.244.0.5:5353", false},
		{"from outside to a local one", unix.IPPROTO_UDP, "192.168.7.1:30054", "10.244.0.6:5353", false},
		{"IPv6", unix.IPPROTO_UDP, "[fd00::1]:53", "[fd00::2]:53", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			to, from := netip.MustParseAddrPort(tt.to), netip.MustParseAddrPort(tt.from)
			flow := &netlink.ConntrackFlow{
				Forward: netlink.IPTuple{Protocol: tt.protocol, DstIP: net.IP(to.Addr().AsSlice()), DstPort: to.Port()},
				Reverse: netlink.IPTuple{Protocol: tt.protocol, SrcIP: net.IP(from.Addr().AsSlice()), SrcPort: from.Port()},
			}
			if got := s.MatchConntrackFlow(flow); got != tt.want {
				t.Errorf("stale: %v, want %v", got, tt.want)
			}
		})
	}
}

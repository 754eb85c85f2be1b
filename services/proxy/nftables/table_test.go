//go:build linux

package nftables_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/proxy/nettest"
	"navarch.dev/navarch/services/proxy/nftables"
	"navarch.dev/navarch/services/proxy/routes"
)

// The network of every test here:
//
//	outside 192.168.7.2 ── 192.168.7.1 node 10.244.0.1 ─ bridge ─┬─ web-1 10.244.0.11
//	                                                             ├─ web-2 10.244.0.12
//	                                                             └─ client 10.244.0.20
const (
	clusterIP  = "10.96.0.7"
	externalIP = "203.0.113.9"
	nodeIP     = "192.168.7.1"
	outsideIP  = "192.168.7.2"
	web1, web2 = "10.244.0.11", "10.244.0.12"
	clientIP   = "10.244.0.20"
	bridgeIP   = "10.244.0.1"
)

type network struct {
	node, outside, client, web1, web2 *nettest.Namespace
	table                             *nftables.Table
}

func newNetwork(t *testing.T, bridgedFilter bool) *network {
	n := &network{
		node: nettest.New(t, "node"), outside: nettest.New(t, "outside"),
		client: nettest.New(t, "client"), web1: nettest.New(t, "web-1"), web2: nettest.New(t, "web-2"),
	}
	n.node.Bridge("cni0", bridgeIP+"/24")
	n.node.Connect(n.outside)
	n.node.Address("outside", nodeIP+"/24")
	n.outside.Address("eth0", outsideIP+"/24")
	n.outside.DefaultRoute(nodeIP)
	n.node.DefaultRoute(outsideIP)
	n.node.Plug("cni0", n.web1, web1+"/24", bridgeIP, true)
	n.node.Plug("cni0", n.web2, web2+"/24", bridgeIP, true)
	n.node.Plug("cni0", n.client, clientIP+"/24", bridgeIP, true)
	n.node.Sysctl("net/ipv4/conf/all/route_localnet", "1")
	opts := options(n.node)
	if bridgedFilter {
		n.node.Sysctl("net/bridge/bridge-nf-call-iptables", "1")
	} else {
		n.node.Sysctl("net/bridge/bridge-nf-call-iptables", "0")
		opts.HideBridgedPods = true
	}
	for _, web := range []*nettest.Namespace{n.web1, n.web2} {
		web.Serve("0.0.0.0:8080")
	}
	n.table = nftables.New(opts)
	return n
}

func options(node *nettest.Namespace) nftables.Options {
	return nftables.Options{
		Name: "navarch-test-node", NetNS: node.FD(),
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		MasqueradeMark: 0x4000, LocalhostNodePorts: true,
	}
}

// service is a State with one Service over TCP and UDP: cluster address,
// external address and node port 30080, all to the backends.
func service(affinity time.Duration, backends ...string) *routes.State {
	state := routes.NewState()
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		name := "cluster/default/web/" + string(protocol)
		g := routes.Group{Name: name, Affinity: affinity}
		for _, b := range backends {
			g.Addrs = append(g.Addrs, netip.AddrPortFrom(netip.MustParseAddr(b), 8080))
			state.Hairpins[netip.MustParseAddr(b)] = struct{}{}
		}
		target := routes.Target{Action: routes.Forward, Group: name}
		if len(backends) == 0 {
			target = routes.Target{Action: routes.Reject}
		} else {
			state.Groups[name] = g
		}
		state.Targets[frontend(clusterIP, protocol, 80)] = target
		for _, f := range []routes.Frontend{frontend(externalIP, protocol, 80), frontend("0.0.0.0", protocol, 30080)} {
			state.Targets[f] = target
			state.Masquerade[f] = struct{}{}
		}
	}
	return state
}

func frontend(ip string, protocol corev1.Protocol, port uint16) routes.Frontend {
	return routes.Frontend{Addr: netip.MustParseAddr(ip), Protocol: protocol, Port: port}
}

func (n *network) apply(t *testing.T, state *routes.State) {
	t.Helper()
	if err := n.table.Apply(state); err != nil {
		t.Fatal(err)
	}
}

func TestTraffic(t *testing.T) {
	for _, bridged := range []bool{true, false} {
		t.Run(fmt.Sprintf("bridge-nf-call-iptables=%v", bridged), func(t *testing.T) {
			n := newNetwork(t, bridged)
			n.apply(t, service(0, web1))
			pod := clientIP
			if !bridged {
				pod = bridgeIP
			}
			tests := []struct {
				name    string
				from    *nettest.Namespace
				address string
				// seen is the client's address that the backend sees.
				seen string
			}{
				{"pod to cluster address", n.client, clusterIP + ":80", pod},
				{"pod to external address", n.client, externalIP + ":80", bridgeIP},
				{"pod to node port", n.client, nodeIP + ":30080", bridgeIP},
				{"pod to itself", n.web1, clusterIP + ":80", bridgeIP},
				{"node to cluster address", n.node, clusterIP + ":80", bridgeIP},
				{"node to node port", n.node, nodeIP + ":30080", bridgeIP},
				{"node to node port on 127.0.0.1", n.node, "127.0.0.1:30080", bridgeIP},
				{"outside to node port", n.outside, nodeIP + ":30080", bridgeIP},
				{"outside to external address", n.outside, externalIP + ":80", bridgeIP},
				{"outside to cluster address", n.outside, clusterIP + ":80", bridgeIP},
			}
			for _, tt := range tests {
				for _, proto := range []string{"tcp", "udp"} {
					t.Run(tt.name+" over "+proto, func(t *testing.T) {
						got, err := tt.from.Ask(proto, tt.address)
						if err != nil {
							t.Fatal(err)
						}
						if want := (nettest.Answer{Server: "web-1", Client: tt.seen}); got != want {
							t.Errorf("got %+v, want %+v", got, want)
						}
					})
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	n := newNetwork(t, true)
	n.apply(t, service(0))
	tests := []struct {
		name    string
		from    *nettest.Namespace
		address string
	}{
		{"pod to cluster address", n.client, clusterIP + ":80"},
		{"pod to another port of it", n.client, clusterIP + ":81"},
		{"pod to a cluster address that no Service has", n.client, "10.96.99.99:80"},
		{"pod to node port", n.client, nodeIP + ":30080"},
		{"node to cluster address", n.node, clusterIP + ":80"},
		{"node to node port", n.node, nodeIP + ":30080"},
		{"outside to node port", n.outside, nodeIP + ":30080"},
		{"outside to external address", n.outside, externalIP + ":80"},
	}
	for _, tt := range tests {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(tt.name+" over "+proto, func(t *testing.T) {
				_, err := tt.from.Ask(proto, tt.address)
				// The kernel tells a local sender of a datagram that it may not.
				refused := errors.Is(err, syscall.ECONNREFUSED) || proto == "udp" && errors.Is(err, syscall.EPERM)
				if !refused {
					t.Errorf("got %v, want connection refused", err)
				}
			})
		}
	}
}

func TestServicesOfAnotherRange(t *testing.T) {
	const other = "198.51.100.7"
	n := newNetwork(t, true)
	state := service(0, web1)
	state.Targets[frontend(other, corev1.ProtocolTCP, 80)] = state.Targets[frontend(clusterIP, corev1.ProtocolTCP, 80)]
	n.apply(t, state)
	// Who is not of the pods' network is hidden, as with the first range.
	asOutside := func(address, seen string) {
		t.Helper()
		want := nettest.Answer{Server: "web-1", Client: seen}
		if got, err := n.outside.Ask("tcp", address+":80"); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", address, got, err, want)
		}
	}
	asOutside(clusterIP, bridgeIP)
	asOutside(other, outsideIP)
	n.table.SetServices([]netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("198.51.100.0/24")})
	n.apply(t, state)
	asOutside(clusterIP, bridgeIP)
	asOutside(other, bridgeIP)
	for _, address := range []string{"198.51.100.9:80", "10.96.99.99:80"} {
		if _, err := n.client.Ask("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s, which no Service has: %v", address, err)
		}
	}
}

func TestLocalPolicy(t *testing.T) {
	n := newNetwork(t, true)
	n.web1.Sysctl("net/ipv4/ip_forward", "0")
	state := service(0, web1)
	// Clients outside get the local group, those inside all backends.
	local := routes.Group{Name: "local/default/web/TCP", Addrs: []netip.AddrPort{netip.MustParseAddrPort(web2 + ":8080")}}
	state.Groups[local.Name] = local
	for _, f := range []routes.Frontend{frontend(externalIP, corev1.ProtocolTCP, 80), frontend("0.0.0.0", corev1.ProtocolTCP, 30080)} {
		state.Inside[f] = state.Targets[f]
		state.Targets[f] = routes.Target{Action: routes.Forward, Group: local.Name}
		delete(state.Masquerade, f)
	}
	n.apply(t, state)
	tests := []struct {
		name    string
		from    *nettest.Namespace
		address string
		want    nettest.Answer
	}{
		{"outside keeps its address", n.outside, nodeIP + ":30080", nettest.Answer{Server: "web-2", Client: outsideIP}},
		{"outside to external address", n.outside, externalIP + ":80", nettest.Answer{Server: "web-2", Client: outsideIP}},
		{"pod", n.client, externalIP + ":80", nettest.Answer{Server: "web-1", Client: clientIP}},
		{"node", n.node, nodeIP + ":30080", nettest.Answer{Server: "web-1", Client: nodeIP}},
		{"node on 127.0.0.1", n.node, "127.0.0.1:30080", nettest.Answer{Server: "web-1", Client: bridgeIP}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.from.Ask("tcp", tt.address)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestBackendsShareConnections(t *testing.T) {
	n := newNetwork(t, true)
	n.apply(t, service(0, web1, web2))
	seen := make(map[string]int)
	for range 64 { // all to one backend: once in 2^63
		got, err := n.client.Ask("tcp", clusterIP+":80")
		if err != nil {
			t.Fatal(err)
		}
		seen[got.Server]++
	}
	if seen["web-1"] == 0 || seen["web-2"] == 0 {
		t.Errorf("one backend got no connection: %v", seen)
	}
}

func TestAffinity(t *testing.T) {
	n := newNetwork(t, true)
	n.apply(t, service(time.Hour, web1, web2))
	stays := func(when, want string) string {
		t.Helper()
		for range 16 {
			for _, address := range []string{clusterIP + ":80"} {
				got, err := n.client.Ask("tcp", address)
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				if want == "" {
					want = got.Server
				}
				if got.Server != want {
					t.Fatalf("%s: moved from %s to %s", when, want, got.Server)
				}
			}
		}
		return want
	}
	first := stays("at first", "")
	// A third backend, refusing every connection, must not attract the client.
	n.apply(t, service(time.Hour, web1, web2, "10.244.0.99"))
	stays("after a backend was added", first)
	n.apply(t, service(time.Hour, web1, web2))
	stays("after another backend was removed", first)
	n.table.Forget()
	n.apply(t, service(time.Hour, web1, web2))
	stays("after the table was replaced", first)
	other, otherIP := "web-2", web2
	if first == other {
		other, otherIP = "web-1", web1
	}
	n.apply(t, service(time.Hour, otherIP))
	stays("after its backend was removed", other)
	n.apply(t, service(0, web1, web2))
	n.apply(t, service(time.Minute, web1, web2))
	stays("after affinity was turned off and on", "")
}

// TestNoConnectionFails changes the backends, and replaces the whole table,
// while connections are made; both backends serve all the time.
func TestNoConnectionFails(t *testing.T) {
	n := newNetwork(t, true)
	n.apply(t, service(0, web1, web2))
	done := make(chan struct{})
	var clients sync.WaitGroup
	defer clients.Wait()
	stop := sync.OnceFunc(func() { close(done) })
	defer stop()
	made := make([]int, 3)
	for i, from := range []*nettest.Namespace{n.client, n.node, n.outside} {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := from.Ask("tcp", clusterIP+":80"); err != nil {
					t.Errorf("%s: %v", from.Name, err)
					return
				}
				made[i]++
			}
		})
	}
	sets := [][]string{{web1}, {web1, web2}, {web2}, {web2, web1}}
	for i := range 100 {
		if i%10 == 0 {
			n.table.Forget()
		}
		n.apply(t, service(time.Duration(i%3)*time.Minute, sets[i%len(sets)]...))
	}
	stop()
	clients.Wait()
	if slices.Min(made) == 0 {
		t.Errorf("no connection was made while the table changed: %v", made)
	}
}

func TestManyServices(t *testing.T) {
	n := newNetwork(t, true)
	const services = 1500
	build := func(skip int) *routes.State {
		state := service(0, web1)
		for i := range services {
			if i == skip {
				continue
			}
			name := fmt.Sprintf("cluster/a-namespace-with-a-long-name/a-service-with-a-long-name-%d/tcp/http", i)
			g := routes.Group{Name: name}
			for b := range 3 {
				g.Addrs = append(g.Addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(b)}), uint16(i)))
			}
			state.Groups[name] = g
			ip := netip.AddrFrom4([4]byte{10, 96, byte(1 + i>>8), byte(i)})
			state.Targets[routes.Frontend{Addr: ip, Protocol: corev1.ProtocolTCP, Port: 80}] = routes.Target{Action: routes.Forward, Group: name}
		}
		return state
	}
	for _, skip := range []int{-1, 7, 8, -1} {
		start := time.Now()
		n.apply(t, build(skip))
		t.Logf("applied in %v", time.Since(start))
		if _, err := n.client.Ask("tcp", clusterIP+":80"); err != nil {
			t.Fatal(err)
		}
	}
	n.table.Forget()
	n.apply(t, build(-1))
	n.apply(t, routes.NewState())
	n.apply(t, service(0, web1))
	if _, err := n.client.Ask("tcp", clusterIP+":80"); err != nil {
		t.Fatal(err)
	}
}

// TestLargeGroup has more backends than fit into one netlink message.
func TestLargeGroup(t *testing.T) {
	n := newNetwork(t, true)
	state := service(0, web1)
	g := state.Groups["cluster/default/web/TCP"]
	for i := range 5000 {
		g.Addrs = append(g.Addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(1 + i>>8), byte(i)}), 8080))
	}
	state.Groups[g.Name] = g
	n.apply(t, state)
}

func TestDelete(t *testing.T) {
	n := newNetwork(t, true)
	if err := n.table.Delete(); err != nil {
		t.Errorf("delete without a table: %v", err)
	}
	n.apply(t, service(0, web1))
	if exists, err := n.table.Exists(); err != nil || !exists {
		t.Errorf("after Apply: exists %v, %v", exists, err)
	}
	if err := n.table.Delete(); err != nil {
		t.Error(err)
	}
	if exists, err := n.table.Exists(); err != nil || exists {
		t.Errorf("after Delete: exists %v, %v", exists, err)
	}
}

// TestRecovers changes a table that somebody else has removed.
func TestRecovers(t *testing.T) {
	n := newNetwork(t, true)
	n.apply(t, service(0, web1))
	if err := nftables.New(options(n.node)).Delete(); err != nil {
		t.Fatal(err)
	}
	if err := n.table.Apply(service(0, web2)); err == nil {
		t.Fatal("changing a table that is gone succeeded")
	}
	n.apply(t, service(0, web2))
	if got, err := n.client.Ask("tcp", clusterIP+":80"); err != nil || got.Server != "web-2" {
		t.Errorf("got %+v, %v", got, err)
	}
}

package network

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
)

// farNode is a node in a namespace of its own, behind a router that knows
// nothing of pods.
type farNode struct {
	*Network
	name  string
	addr  netip.Addr
	cidr  netip.Prefix
	netns string
}

// newFarNode makes a node with an address, whose default route is the router:
// the test's own namespace.
func newFarNode(t *testing.T, name, addr, router, cidr string) *farNode {
	t.Helper()
	n := &farNode{
		name: name, addr: netip.MustParseAddr(addr), cidr: netip.MustParsePrefix(cidr),
		netns: filepath.Join(t.TempDir(), name),
	}
	if err := makeNetNS(n.netns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = removeNetNS(n.netns) })
	f, err := os.Open(n.netns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "to-" + name, MTU: 1500}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(f.Fd())),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	give(t, veth.Name, router)
	n.do(t, func() error {
		give(t, "eth0", addr)
		_, all, _ := net.ParseCIDR("0.0.0.0/0")
		return netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP(router)})
	})
	n.Network, err = New(Config{
		ClusterID: "test", NodeName: name, StateDir: t.TempDir(), BinDir: filepath.Join(os.Getenv("NAVARCH_BIN_DIR"), "cni"),
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, NodeIP: n.addr, VXLANPort: 8472,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.do(t, func() error { return Purge(context.Background(), n.cfg, n.log) })
	})
	n.do(t, func() error { return n.SetPodCIDRs(t.Context(), []netip.Prefix{n.cidr}) })
	return n
}

func (n *farNode) do(t *testing.T, f func() error) {
	t.Helper()
	if err := InNetNS(n.netns, f); err != nil {
		t.Fatalf("on %s: %v", n.name, err)
	}
}

func (n *farNode) attach(t *testing.T, pod string) (a Attachment) {
	t.Helper()
	n.do(t, func() (err error) {
		a, err = n.Attach(t.Context(), PodRef{"default", pod, "uid-" + pod}, nil)
		return err
	})
	return a
}

// join makes routes to the other nodes' pods.
func (n *farNode) join(t *testing.T, others ...*farNode) {
	t.Helper()
	var peers []Peer
	for _, o := range others {
		peers = append(peers, Peer{Name: o.name, Addr: o.addr, PodCIDRs: []netip.Prefix{o.cidr}})
	}
	n.do(t, func() error { return n.SyncRoutes(t.Context(), peers) })
}

// give gives a link of the calling thread's namespace an address of a /24.
func give(t *testing.T, link, address string) {
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Error(err)
		return
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address).To4(), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(l, addr); err != nil {
		t.Error(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Error(err)
	}
}

// Pods of nodes that share no link reach each other through the tunnel, by
// their own addresses, with more than fits a packet.
func TestTrafficThroughTheTunnel(t *testing.T) {
	if os.Getuid() != 0 || os.Getenv("NAVARCH_BIN_DIR") == "" {
		t.Skip("needs root, and the CNI plugins in NAVARCH_BIN_DIR/cni")
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	left := newFarNode(t, "left", "198.51.100.1", "198.51.100.254", "10.244.1.0/24")
	right := newFarNode(t, "right", "203.0.113.1", "203.0.113.254", "10.244.2.0/24")
	left.join(t, right)
	right.join(t, left)
	client, server := left.attach(t, "client"), right.attach(t, "server")
	serve(t, server.NetNS, 80)
	if got := ask(t, client.NetNS, server.IPs[0].String()+":80"); got != client.IPs[0].String() {
		t.Errorf("the server saw %s, want the pod's own address %s", got, client.IPs[0])
	}
	const size = 1 << 20
	if got := receive(t, client.NetNS, server, size); got != size {
		t.Errorf("%d of %d bytes came through", got, size)
	}
}

// receive returns how many of the bytes sent by a pod arrived.
func receive(t *testing.T, client string, server Attachment, size int) int64 {
	t.Helper()
	var listener net.Listener
	if err := InNetNS(server.NetNS, func() (err error) {
		listener, err = net.Listen("tcp4", "0.0.0.0:81")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Write(make([]byte, size))
			_ = conn.Close()
		}
	}()
	var n int64
	if err := InNetNS(client, func() error {
		conn, err := net.Dial("tcp4", server.IPs[0].String()+":81")
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		n, err = io.Copy(io.Discard, conn)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

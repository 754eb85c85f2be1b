//go:build linux

// Package nettest builds small networks out of network namespaces for tests:
// a node with a bridge, pods on the bridge, and neighbours of the node.
//
//	outside ── veth ── node ── bridge ── veth ── pod
//
// It needs root. Everything goes away with the test.
package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Namespace is a network namespace.
type Namespace struct {
	t      testing.TB
	Name   string
	handle netns.NsHandle
	links  *netlink.Handle
}

// New makes an empty namespace whose loopback link is up.
func New(t testing.TB, name string) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ns := &Namespace{t: t, Name: name, handle: newNamespace(t)}
	t.Cleanup(func() { _ = ns.handle.Close() })
	links, err := netlink.NewHandleAt(ns.handle)
	if err != nil {
		t.Fatalf("open netlink in %s: %v", name, err)
	}
	ns.links = links
	t.Cleanup(links.Close)
	ns.up("lo")
	return ns
}

// newNamespace makes a namespace on a thread of its own, which dies with it.
func newNamespace(t testing.TB) netns.NsHandle {
	type made struct {
		handle netns.NsHandle
		err    error
	}
	result := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not be reused
		handle, err := netns.New()
		result <- made{handle, err}
	}()
	m := <-result
	if m.err != nil {
		t.Fatalf("make a network namespace: %v", m.err)
	}
	return m.handle
}

// FD returns the namespace's descriptor.
func (ns *Namespace) FD() int { return int(ns.handle) }

// Path returns a path that opens the namespace.
func (ns *Namespace) Path() string { return fmt.Sprintf("/proc/self/fd/%d", ns.handle) }

// Do runs f in the namespace. Sockets that f opens stay there.
func (ns *Namespace) Do(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not be reused
		if err := netns.Set(ns.handle); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// Sysctl sets a setting such as "net/ipv4/ip_forward".
func (ns *Namespace) Sysctl(name, value string) {
	ns.t.Helper()
	err := ns.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
	if err != nil {
		ns.t.Fatalf("set %s in %s: %v", name, ns.Name, err)
	}
}

// GetSysctl reads a setting.
func (ns *Namespace) GetSysctl(name string) string {
	ns.t.Helper()
	var value []byte
	err := ns.Do(func() (err error) { value, err = os.ReadFile("/proc/sys/" + name); return err })
	if err != nil {
		ns.t.Fatalf("read %s in %s: %v", name, ns.Name, err)
	}
	return string(value[:1])
}

// Bridge adds a bridge with an address, which makes the namespace a node.
func (ns *Namespace) Bridge(name, cidr string) {
	ns.t.Helper()
	ns.must("add bridge", ns.links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}))
	ns.Address(name, cidr)
	ns.up(name)
	ns.Sysctl("net/ipv4/ip_forward", "1")
}

// Plug joins peer to the bridge. The peer has the address, and its default
// route by gateway. hairpin lets packets leave by the port they came in by.
func (ns *Namespace) Plug(bridge string, peer *Namespace, cidr, gateway string, hairpin bool) {
	ns.t.Helper()
	port := ns.Connect(peer)
	master, err := ns.links.LinkByName(bridge)
	ns.must("find the bridge", err)
	ns.must("join the bridge", ns.links.LinkSetMaster(port, master))
	ns.must("set hairpin", ns.links.LinkSetHairpin(port, hairpin))
	peer.Address("eth0", cidr)
	peer.DefaultRoute(gateway)
}

// Connect joins two namespaces by a veth pair: "eth0" in peer, and a link
// named for the peer here, which is returned.
func (ns *Namespace) Connect(peer *Namespace) netlink.Link {
	ns.t.Helper()
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: peer.Name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(peer.FD()),
	}
	ns.must("add veth", ns.links.LinkAdd(pair))
	ns.up(peer.Name)
	peer.up("eth0")
	link, err := ns.links.LinkByName(peer.Name)
	ns.must("find veth", err)
	return link
}

// Address gives a link an address.
func (ns *Namespace) Address(link, cidr string) {
	ns.t.Helper()
	addr, err := netlink.ParseAddr(cidr)
	ns.must("parse address", err)
	l, err := ns.links.LinkByName(link)
	ns.must("find link", err)
	ns.must("add address", ns.links.AddrAdd(l, addr))
}

// DefaultRoute sends everything else to a gateway.
func (ns *Namespace) DefaultRoute(gateway string) { ns.Route("0.0.0.0/0", gateway) }

// Route sends a destination to a gateway.
func (ns *Namespace) Route(cidr, gateway string) {
	ns.t.Helper()
	_, dst, err := net.ParseCIDR(cidr)
	ns.must("parse route", err)
	ns.must("add route", ns.links.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(gateway)}))
}

// Addresses returns a link's addresses.
func (ns *Namespace) Addresses(link string) []netip.Prefix {
	ns.t.Helper()
	l, err := ns.links.LinkByName(link)
	ns.must("find link", err)
	addrs, err := ns.links.AddrList(l, netlink.FAMILY_V4)
	ns.must("list addresses", err)
	out := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, netip.MustParsePrefix(a.IPNet.String()))
	}
	return out
}

func (ns *Namespace) up(link string) {
	ns.t.Helper()
	l, err := ns.links.LinkByName(link)
	ns.must("find "+link, err)
	ns.must("set "+link+" up", ns.links.LinkSetUp(l))
}

func (ns *Namespace) must(what string, err error) {
	ns.t.Helper()
	if err != nil {
		ns.t.Fatalf("%s in %s: %v", what, ns.Name, err)
	}
}

//go:build linux

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"navarch.dev/navarch/services/proxy/nftables"
)

const (
	sysctlRouteLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"
	sysctlBridgeFilter  = "/proc/sys/net/bridge/bridge-nf-call-iptables"

	// noteRouteLocalnet on a table says that route_localnet was off before.
	noteRouteLocalnet = "was-off-route_localnet"
)

// prepare sets the kernel up for the table and completes its options.
func (p *Proxy) prepare(ctx context.Context, opts *nftables.Options) error {
	if err := p.showBridgedPackets(ctx, opts); err != nil {
		return err
	}
	if !opts.LocalhostNodePorts {
		return nil
	}
	err := p.ns.do(func() error { return p.routeLocalnet(opts) })
	if unchangeable(err) {
		p.log.WarnContext(ctx, "node ports do not answer on 127.0.0.1 here", "sysctl", sysctlRouteLocalnet, "error", err)
		opts.LocalhostNodePorts, opts.Note = false, ""
		return nil
	}
	return err
}

// unchangeable says whether an error means that this kernel, or this container,
// does not let a setting be changed.
func unchangeable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}

// showBridgedPackets makes bridges show what they carry to netfilter. An answer
// from one pod to another on the same bridge never leaves the bridge; unless
// it is shown, the client sees it come from an address it never asked. Kernels
// without br_netfilter cannot; there, pods on one bridge are hidden from each
// other.
func (p *Proxy) showBridgedPackets(ctx context.Context, opts *nftables.Options) error {
	err := p.ns.do(func() error { return os.WriteFile(sysctlBridgeFilter, []byte("1"), 0o644) })
	if err == nil {
		return nil
	}
	if !unchangeable(err) {
		return fmt.Errorf("show bridged packets to netfilter: %w", err)
	}
	p.log.WarnContext(ctx, "bridged packets are not shown to netfilter: pods on one bridge that talk through a Service will not see each other's addresses",
		"sysctl", sysctlBridgeFilter, "error", err)
	opts.HideBridgedPods = true
	return nil
}

// routeLocalnet lets connections from 127.0.0.1 be led to other nodes' pods,
// and notes in the table if they could not be before.
func (p *Proxy) routeLocalnet(opts *nftables.Options) error {
	noted, err := nftables.Noted(opts.NetNS, tablePrefix, noteRouteLocalnet)
	if err != nil {
		return err
	}
	value, err := os.ReadFile(sysctlRouteLocalnet)
	if err != nil {
		return fmt.Errorf("read a kernel setting: %w", err)
	}
	if on := strings.TrimSpace(string(value)) == "1"; noted || !on {
		opts.Note = noteRouteLocalnet
		if err := os.WriteFile(sysctlRouteLocalnet, []byte("1"), 0o644); err != nil {
			return fmt.Errorf("let node ports answer on 127.0.0.1: %w", err)
		}
	}
	return nil
}

// addDNSAddress gives the loopback link the name server's address. Its scope
// keeps the kernel from choosing it as the source of packets that leave.
func addDNSAddress(kernel *netlink.Handle, addr netip.Addr) error {
	link, err := kernel.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback link: %w", err)
	}
	if err := kernel.LinkSetUp(link); err != nil {
		return fmt.Errorf("set the loopback link up: %w", err)
	}
	if err := kernel.AddrAdd(link, dnsAddressOnLink(addr)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s for DNS: %w", addr, err)
	}
	return nil
}

func dnsAddressOnLink(addr netip.Addr) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())},
		Scope: unix.RT_SCOPE_HOST,
	}
}

// dnsSockets are where the name server listens.
type dnsSockets struct {
	packets  net.PacketConn
	listener net.Listener
}

// listenDNS listens on port 53 of the name server's address or, where another
// server has taken port 53 of every address, on any other; the table leads
// connections to port 53 there.
func (p *Proxy) listenDNS(ctx context.Context) (dnsSockets, uint16, error) {
	var s dnsSockets
	var port uint16
	err := p.ns.do(func() (err error) {
		if s, err = listenBoth(ctx, netip.AddrPortFrom(p.set.dns, 53)); errors.Is(err, unix.EADDRINUSE) {
			p.log.InfoContext(ctx, "port 53 is taken; DNS listens on another port", "address", p.set.dns)
			s, err = listenBoth(ctx, netip.AddrPortFrom(p.set.dns, 0))
		}
		return err
	})
	if err == nil {
		port = s.listener.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	return s, port, err
}

// listenBoth listens on one port over UDP and TCP. For port 0, that is one
// that happens to be free for both.
func listenBoth(ctx context.Context, at netip.AddrPort) (dnsSockets, error) {
	const attempts = 16
	var config net.ListenConfig
	var err error
	for range attempts {
		var s dnsSockets
		if s.listener, err = config.Listen(ctx, "tcp", at.String()); err != nil {
			return s, fmt.Errorf("listen for DNS: %w", err)
		}
		if s.packets, err = config.ListenPacket(ctx, "udp", s.listener.Addr().String()); err == nil {
			return s, nil
		}
		_ = s.listener.Close() // never used
		if at.Port() != 0 {
			break
		}
	}
	return dnsSockets{}, fmt.Errorf("listen for DNS: %w", err)
}

// listenNode listens at a TCP port of all of the node's addresses.
func (p *Proxy) listenNode(ctx context.Context, port uint16) (net.Listener, error) {
	var listener net.Listener
	err := p.ns.do(func() (err error) {
		var config net.ListenConfig
		listener, err = config.Listen(ctx, "tcp4", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
		return err
	})
	return listener, err
}

// Cleanup removes what a stopped proxy leaves in its network namespace.
func Cleanup(ctx context.Context, cfg Config, log *slog.Logger) error {
	set, err := cfg.settings()
	if err != nil {
		return fmt.Errorf("remove a proxy's traces: %w", err)
	}
	ns, err := openNamespace(cfg.NetNS)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // all that was in it is gone with it
	}
	if err != nil {
		return err
	}
	defer ns.close()
	table := nftables.New(nftables.Options{Name: set.table, NetNS: ns.fd()})
	noted, err := nftables.Noted(ns.fd(), set.table, noteRouteLocalnet)
	if err != nil {
		return err
	}
	if err := table.Delete(); err != nil {
		return err
	}
	others, err := nftables.Names(ns.fd())
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "removed the routes of Services", "table", set.table)
	return errors.Join(restoreSysctl(ns, noted, others), removeDNSAddress(ns, cfg, set, others))
}

// restoreSysctl turns route_localnet off again if it was, and no other proxy
// needs it.
func restoreSysctl(ns *namespace, noted bool, tables []string) error {
	if !noted || anyHasPrefix(tables, tablePrefix) {
		return nil
	}
	return ns.do(func() error { return os.WriteFile(sysctlRouteLocalnet, []byte("0"), 0o644) })
}

func removeDNSAddress(ns *namespace, cfg Config, set settings, tables []string) error {
	if anyHasPrefix(tables, cfg.clusterTables()) {
		return nil
	}
	link, err := ns.kernel.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback link: %w", err)
	}
	if err := ns.kernel.AddrDel(link, dnsAddressOnLink(set.dns)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %s: %w", set.dns, err)
	}
	return nil
}

func anyHasPrefix(names []string, prefix string) bool {
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

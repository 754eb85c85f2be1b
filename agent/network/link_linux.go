package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// hostLink is the name of the node's end of a pod's link.
func hostLink(uid string) string { return "veth" + shortHash(uid, 11) }

// connect joins a pod's namespace to the node by a link of its own, over which
// the node routes the pod's addresses. gateways are the node's addresses on it,
// one for each of ips.
func connect(uid, path string, ips, gateways []netip.Addr, mtu int) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open the pod's network namespace: %w", err)
	}
	defer ns.Close()
	link := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: hostLink(uid), MTU: mtu, Flags: net.FlagUp},
		PeerName:  ifName, PeerNamespace: netlink.NsFd(ns),
	}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("make the pod's link: %w", err)
	}
	for i, ip := range ips {
		if err := addAddress(&netlink.Handle{}, link, gateways[i]); err != nil {
			return fmt.Errorf("give the node's end of the pod's link an address: %w", err)
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: hostNet(ip), Scope: netlink.SCOPE_LINK, Src: gateways[i].AsSlice()}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route the pod's address %s: %w", ip, err)
		}
	}
	return setUpPodEnd(ns, ips, gateways)
}

// setUpPodEnd gives the link inside the pod its addresses and makes the node the
// way to everywhere.
func setUpPodEnd(ns netns.NsHandle, ips, gateways []netip.Addr) error {
	pod, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter the pod's network namespace: %w", err)
	}
	defer pod.Close()
	link, err := pod.LinkByName(ifName)
	if err != nil {
		return fmt.Errorf("find the pod's end of its link: %w", err)
	}
	for _, ip := range ips {
		if err := addAddress(pod, link, ip); err != nil {
			return fmt.Errorf("give the pod the address %s: %w", ip, err)
		}
	}
	if err := pod.LinkSetUp(link); err != nil {
		return fmt.Errorf("set the pod's link up: %w", err)
	}
	for i, gw := range gateways {
		index := link.Attrs().Index
		for _, route := range []*netlink.Route{
			{LinkIndex: index, Dst: hostNet(gw), Scope: netlink.SCOPE_LINK, Src: ips[i].AsSlice()},
			{LinkIndex: index, Dst: everywhere(gw), Gw: gw.AsSlice(), Src: ips[i].AsSlice()},
		} {
			if err := pod.RouteAdd(route); err != nil {
				return fmt.Errorf("give the pod a route to %s: %w", route.Dst, err)
			}
		}
	}
	return nil
}

// addAddress adds an address of its own network. There is nobody on the link to
// dispute an IPv6 one, so it need not be probed for.
func addAddress(h *netlink.Handle, link netlink.Link, ip netip.Addr) error {
	addr := &netlink.Addr{IPNet: hostNet(ip)}
	if ip.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return h.AddrAdd(link, addr)
}

func hostNet(ip netip.Addr) *net.IPNet {
	return ipNet(netip.PrefixFrom(ip, ip.BitLen()))
}

func everywhere(like netip.Addr) *net.IPNet {
	if like.Is6() {
		return ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
}

// disconnect removes a pod's link, with what was routed over it. One that is not
// there is fine.
func disconnect(uid string) error {
	link, err := netlink.LinkByName(hostLink(uid))
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the pod's link: %w", err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the pod's link: %w", err)
	}
	return nil
}

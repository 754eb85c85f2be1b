package network

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks the routes that this package made, so that it removes
// no others.
const routeProtocol = netlink.RouteProtocol(0xd7)

// Peer is another node: its address and the networks of its pods.
type Peer struct {
	Name     string
	Addr     netip.Addr
	PodCIDRs []netip.Prefix
}

// SyncRoutes makes the routes to the pods of the other nodes be those of
// peers: directly to a node on a shared link, through a VXLAN tunnel to any
// other. The ends of the tunnels need not tell each other anything: a node's
// link address is derived from the cluster's and the node's names.
func (n *Network) SyncRoutes(ctx context.Context, peers []Peer) error {
	n.routesMu.Lock()
	defer n.routesMu.Unlock()
	var errs []error
	wanted := make(map[string]bool)
	tunnelled := make(map[string]bool) // by the tunnel's link address
	for _, p := range peers {
		route, err := n.routeTo(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, cidr := range p.PodCIDRs {
			if cidr.Addr().Is4() != p.Addr.Is4() {
				continue
			}
			r := route(cidr)
			wanted[routeKey(&r)] = true
			if r.Flags&int(netlink.FLAG_ONLINK) != 0 {
				tunnelled[n.tunnelMAC(p.Name).String()] = true
				errs = append(errs, n.joinTunnel(p, cidr, r.LinkIndex))
			}
			if err := netlink.RouteReplace(&r); err != nil {
				errs = append(errs, fmt.Errorf("route %s to node %s: %w", cidr, p.Name, err))
			}
		}
	}
	errs = append(errs, n.removeRoutes(wanted), n.leaveTunnels(tunnelled))
	return errors.Join(errs...)
}

// routeTo says how pods of a node are reached.
func (n *Network) routeTo(p Peer) (func(netip.Prefix) netlink.Route, error) {
	found, err := netlink.RouteGet(p.Addr.AsSlice())
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("find the way to node %s at %s: %w", p.Name, p.Addr, err)
	}
	if found[0].Gw == nil {
		return func(cidr netip.Prefix) netlink.Route {
			return netlink.Route{Dst: ipNet(cidr), Gw: p.Addr.AsSlice(), LinkIndex: found[0].LinkIndex, Protocol: routeProtocol}
		}, nil
	}
	link, err := n.tunnel()
	if err != nil {
		return nil, err
	}
	return func(cidr netip.Prefix) netlink.Route {
		return netlink.Route{
			Dst: ipNet(cidr), Gw: cidr.Masked().Addr().AsSlice(), LinkIndex: link.Attrs().Index,
			Flags: int(netlink.FLAG_ONLINK), Protocol: routeProtocol,
		}
	}, nil
}

// tunnel returns the VXLAN device, making it if need be.
func (n *Network) tunnel() (netlink.Link, error) {
	name := n.cfg.vxlanName()
	if link, err := netlink.LinkByName(name); err == nil {
		return link, nil
	}
	under, err := linkWith(n.cfg.NodeIP)
	if err != nil {
		return nil, fmt.Errorf("make the tunnel device: %w", err)
	}
	link := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: n.tunnelMAC(n.cfg.NodeName), MTU: n.linkMTU()},
		VxlanId:   n.cfg.vni(), VtepDevIndex: under.Index, SrcAddr: n.cfg.NodeIP.AsSlice(), Port: n.cfg.VXLANPort,
	}
	if err := netlink.LinkAdd(link); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make the tunnel device %s: %w", name, err)
	}
	made, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find the tunnel device %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(made); err != nil {
		return nil, fmt.Errorf("set the tunnel device %s up: %w", name, err)
	}
	return made, nil
}

// joinTunnel enters a node's tunnel address: the next hop's link address, and
// the node behind it.
func (n *Network) joinTunnel(p Peer, cidr netip.Prefix, link int) error {
	mac := n.tunnelMAC(p.Name)
	if err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link, State: netlink.NUD_PERMANENT, IP: cidr.Masked().Addr().AsSlice(), HardwareAddr: mac,
	}); err != nil {
		return fmt.Errorf("enter the tunnel's neighbour %s: %w", p.Name, err)
	}
	if err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: p.Addr.AsSlice(), HardwareAddr: mac,
	}); err != nil {
		return fmt.Errorf("enter the tunnel to node %s: %w", p.Name, err)
	}
	return nil
}

// leaveTunnels removes the entries of nodes that are no longer reached by the
// tunnel, and the device with the last of them.
func (n *Network) leaveTunnels(keep map[string]bool) error {
	link, err := netlink.LinkByName(n.cfg.vxlanName())
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the tunnel device: %w", err)
	}
	if len(keep) == 0 {
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove the tunnel device: %w", err)
		}
		return nil
	}
	var errs []error
	for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET} {
		entries, err := netlink.NeighList(link.Attrs().Index, family)
		if err != nil {
			errs = append(errs, fmt.Errorf("list the tunnel's neighbours: %w", err))
		}
		for _, e := range entries {
			if keep[e.HardwareAddr.String()] || e.State&netlink.NUD_PERMANENT == 0 {
				continue
			}
			if err := netlink.NeighDel(&e); err != nil {
				errs = append(errs, fmt.Errorf("remove a neighbour of the tunnel: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// removeRoutes removes the package's routes that are not wanted. Routes of
// another cluster's agent in the same network namespace are told apart by the
// cluster's networks.
func (n *Network) removeRoutes(wanted map[string]bool) error {
	have, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list the routes: %w", err)
	}
	var errs []error
	for _, r := range have {
		if wanted[routeKey(&r)] || !n.ours(&r) {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove the route to %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func (n *Network) ours(r *netlink.Route) bool {
	if r.Dst == nil {
		return false
	}
	ip, ok := netip.AddrFromSlice(r.Dst.IP)
	if !ok {
		return false
	}
	for _, c := range n.cfg.ClusterCIDRs {
		if c.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// routeKey identifies a route by all that SyncRoutes decides of it.
func routeKey(r *netlink.Route) string {
	return fmt.Sprintf("%s via %s dev %d", r.Dst, r.Gw, r.LinkIndex)
}

// tunnelMAC is the link address of a node's end of the tunnel.
func (n *Network) tunnelMAC(node string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("vtep/" + n.cfg.ClusterID + "/" + node))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	return mac
}

// vni is the cluster's VXLAN network identifier.
func (c Config) vni() int {
	sum := sha256.Sum256([]byte("vni/" + c.ClusterID))
	return int(binary.BigEndian.Uint32(sum[:4])&0xffffff | 1)
}

func ipNet(p netip.Prefix) *net.IPNet {
	m := p.Masked()
	return &net.IPNet{IP: m.Addr().AsSlice(), Mask: net.CIDRMask(m.Bits(), m.Addr().BitLen())}
}

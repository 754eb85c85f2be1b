package network

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// errNoAddress says that all addresses of a pod CIDR are in use.
var errNoAddress = errors.New("no free address in the node's pod CIDR")

// Addresses hands out the addresses of a node's pod CIDRs. What is in use is
// what the pods' records say, so that nothing can leak.
type Addresses struct {
	inUse map[netip.Addr]string // the pod's UID
	last  map[netip.Prefix]netip.Addr
}

// NewAddresses returns addresses of which none is in use.
func NewAddresses() *Addresses {
	return &Addresses{inUse: make(map[netip.Addr]string), last: make(map[netip.Prefix]netip.Addr)}
}

// gateway is the node's own address among its pods: the first of the network.
func gateway(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next() }

// Reserve notes addresses that a pod has.
func (a *Addresses) Reserve(uid string, ips []netip.Addr) {
	for _, ip := range ips {
		a.inUse[ip] = uid
	}
}

// Take gives a pod one address of each network, or none at all.
func (a *Addresses) Take(uid string, cidrs []netip.Prefix) ([]netip.Addr, error) {
	ips := make([]netip.Addr, 0, len(cidrs))
	for _, cidr := range cidrs {
		ip, err := a.next(cidr)
		if err != nil {
			return nil, err
		}
		ips = append(ips, ip)
	}
	for i, ip := range ips {
		a.inUse[ip], a.last[cidrs[i]] = uid, ip
	}
	return ips, nil
}

// next is the first free address after the last one given, so that one that has
// just become free rests as long as possible.
func (a *Addresses) next(cidr netip.Prefix) (netip.Addr, error) {
	first := gateway(cidr).Next()
	start := first
	if last, ok := a.last[cidr]; ok {
		start = last.Next()
	}
	for _, from := range []netip.Addr{start, first} {
		for ip := from; usable(cidr, ip); ip = ip.Next() {
			if _, taken := a.inUse[ip]; !taken {
				return ip, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%w %s", errNoAddress, cidr)
}

// usable leaves out the broadcast address, the last one of an IPv4 network.
func usable(cidr netip.Prefix, ip netip.Addr) bool {
	return cidr.Contains(ip) && (ip.Is6() || cidr.Contains(ip.Next()))
}

// Free takes a pod's addresses back.
func (a *Addresses) Free(uid string) {
	for ip, owner := range a.inUse {
		if owner == uid {
			delete(a.inUse, ip)
		}
	}
}

// PodCIDRs returns the ranges of addresses that a Node has for its pods.
func PodCIDRs(n *corev1.Node) []netip.Prefix {
	list := n.Spec.PodCIDRs
	if len(list) == 0 && n.Spec.PodCIDR != "" {
		list = []string{n.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

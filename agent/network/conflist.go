package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/containernetworking/cni/libcni"
)

// loadConflist returns the administrator's configuration, the first by name;
// nil if there is none.
func (n *Network) loadConflist() (*libcni.NetworkConfigList, error) {
	if n.cfg.ConfDir == "" {
		return nil, nil
	}
	files, err := libcni.ConfFiles(n.cfg.ConfDir, []string{".conflist"})
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("look for CNI configurations in %s: %w", n.cfg.ConfDir, err)
	}
	if len(files) == 0 {
		return nil, nil
	}
	slices.Sort(files)
	list, err := libcni.ConfListFromFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("read the CNI configuration %s: %w", files[0], err)
	}
	return list, nil
}

// vxlanOverhead is what an encapsulated packet is longer than the inner one.
const vxlanOverhead = 50

// linkMTU returns the pods' MTU: what is configured, or what fits the node's link
// even when tunnelled.
func (n *Network) linkMTU() int {
	if n.cfg.MTU > 0 {
		return n.cfg.MTU
	}
	link, err := linkWith(n.cfg.NodeIP)
	if err != nil || link.MTU <= vxlanOverhead+576 || link.Flags&net.FlagLoopback != 0 {
		return 0
	}
	return link.MTU - vxlanOverhead
}

// linkWith returns the interface that has an address.
func linkWith(addr netip.Addr) (net.Interface, error) {
	links, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, fmt.Errorf("list the links: %w", err)
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == addr {
				return l, nil
			}
		}
	}
	return net.Interface{}, fmt.Errorf("no link has the address %s", addr)
}

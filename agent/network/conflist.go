package network

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"

	"navarch.dev/navarch/internal/atomicfile"
)

// cniVersion is the version of the CNI specification that is spoken.
const cniVersion = "1.0.0"

// writeConflist writes the node's own CNI configuration.
func (n *Network) writeConflist(cidrs []netip.Prefix, bridged bool) error {
	b, err := json.MarshalIndent(n.conflist(cidrs, bridged), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the CNI configuration: %w", err)
	}
	if err := atomicfile.Replace(n.conflistPath(), b, 0o600); err != nil {
		return fmt.Errorf("write the CNI configuration: %w", err)
	}
	return nil
}

func (n *Network) conflist(cidrs []netip.Prefix, bridged bool) map[string]any {
	ranges := make([][]map[string]string, 0, len(cidrs))
	routes := make([]map[string]string, 0, len(cidrs))
	for _, c := range cidrs {
		ranges = append(ranges, []map[string]string{{"subnet": c.String()}})
		dst := "0.0.0.0/0"
		if c.Addr().Is6() {
			dst = "::/0"
		}
		routes = append(routes, map[string]string{"dst": dst})
	}
	plugin := map[string]any{
		"type": "ptp",
		"ipam": map[string]any{
			"type": "host-local", "ranges": ranges, "routes": routes,
			"dataDir": filepath.Join(n.cfg.StateDir, "ipam"),
		},
	}
	if bridged {
		plugin["type"] = "bridge"
		plugin["bridge"] = n.cfg.BridgeName()
		plugin["isGateway"] = true
		// A pod may reach itself through its Service.
		plugin["hairpinMode"] = true
	}
	if mtu := n.mtu(); mtu > 0 {
		plugin["mtu"] = mtu
	}
	return map[string]any{
		"cniVersion": cniVersion, "name": "navarch-" + shortHash(n.cfg.ClusterID+"/"+n.cfg.NodeName, 11),
		"plugins": []any{plugin},
	}
}

// loadConflist returns the administrator's configuration, the first by name,
// or the node's own.
func (n *Network) loadConflist() (*libcni.NetworkConfigList, error) {
	if n.cfg.ConfDir != "" {
		files, err := libcni.ConfFiles(n.cfg.ConfDir, []string{".conflist"})
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("look for CNI configurations in %s: %w", n.cfg.ConfDir, err)
		}
		if len(files) > 0 {
			slices.Sort(files)
			return readConflist(files[0])
		}
	}
	return readConflist(n.conflistPath())
}

func readConflist(path string) (*libcni.NetworkConfigList, error) {
	list, err := libcni.ConfListFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the CNI configuration %s: %w", path, err)
	}
	return list, nil
}

// vxlanOverhead is what an encapsulated packet is longer than the inner one.
const vxlanOverhead = 50

// mtu returns the pods' MTU: what is configured, or what fits the node's link
// even when tunnelled.
func (n *Network) mtu() int {
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

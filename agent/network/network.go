// Package network connects a node's pods: a network namespace per pod, joined
// to the node by a link of its own or through an administrator's CNI plugins,
// routes to the other nodes' pods, and the address translation that traffic to
// the world outside needs.
//
// # What is where
//
//	<state dir>/netns/<pod uid>   a pod's network namespace (a bind mount)
//	<state dir>/pods/<pod uid>    its addresses and host ports, JSON
//	<state dir>/cni/              libcni's cache of what it added
//
// Links are named veth<hash> (the node's end of a pod's link) and nv<hash> (the
// VXLAN device), the nftables table navarch-<cluster>-<node>-agent, so that
// several clusters, and several nodes, can live in one kernel network namespace.
//
// # Traffic between pods of one node
//
// A pod has a single address on its link, and the node's at the other end is its
// way to everywhere: every packet is routed, and so passes conntrack. On a bridge
// a pod's answer to a connection that was translated for a Service would take
// the short cut at layer 2 and never be translated back, unless the kernel has
// br_netfilter. The links are made over netlink by the agent itself: a plugin is
// a program to be run per pod, and one for the address, which took as much
// processor time as half of the container's own start.
//
// # CNI
//
// An administrator's configuration list in ConfDir replaces all of that: then
// pods are connected by its plugins, through libcni.
//
// # Host ports
//
// The portmap plugin runs iptables or nft programs, which a node need not
// have. Host ports are therefore rules of the agent's own table, written over
// netlink.
package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/containernetworking/cni/libcni"
	corev1 "k8s.io/api/core/v1"
)

// Config says where a node's network lives and what the cluster's looks like.
type Config struct {
	ClusterID string
	NodeName  string
	// StateDir is the folder of this package's state.
	StateDir string
	// ConfDir may hold an administrator's CNI configuration list, used in place
	// of the node's own network; BinDir holds its plugins.
	BinDir, ConfDir string
	// ClusterCIDRs are the networks inside the cluster (pods and services):
	// what pods send there keeps its source address.
	ClusterCIDRs []netip.Prefix
	// NodeIP is the node's address, the VXLAN tunnel's local end.
	NodeIP netip.Addr
	// MTU of the pods' links; 0 is that of the link that has NodeIP.
	MTU int
	// VXLANPort is the tunnels' UDP port.
	VXLANPort int
}

// Network is the network of one node. It is safe for concurrent use.
type Network struct {
	cfg Config
	log *slog.Logger
	cni libcni.CNI

	ready     chan struct{}
	readyOnce sync.Once

	mu    sync.Mutex // guards the fields below, and writes to nftables
	cidrs []netip.Prefix
	mtu   int // of the pods' links; 0 is the kernel's default
	taken *Addresses
	list  *libcni.NetworkConfigList // an administrator's, nil if there is none

	routesMu sync.Mutex // serializes SyncRoutes
}

// PodRef names a pod.
type PodRef struct {
	Namespace, Name, UID string
}

// Attachment is a pod's place in the network.
type Attachment struct {
	// NetNS is the path of the namespace.
	NetNS string `json:"netns"`
	// IPs are the pod's addresses, the first being its main one.
	IPs []netip.Addr `json:"ips"`
	// Plugins says that CNI plugins made it.
	Plugins bool `json:"plugins,omitempty"`
	// HostPorts are the ports of the node that lead to the pod.
	HostPorts []HostPort `json:"hostPorts,omitempty"`
}

// HostPort is one port of the node that leads to a pod's.
type HostPort struct {
	HostIP        string          `json:"hostIP,omitempty"`
	HostPort      int32           `json:"hostPort"`
	ContainerPort int32           `json:"containerPort"`
	Protocol      corev1.Protocol `json:"protocol"`
}

// ErrNotReady says that the node has no pod CIDR yet.
var ErrNotReady = errors.New("the node has no pod CIDR yet")

// New returns the network of a node, in which the pods of an earlier run keep
// their places.
func New(cfg Config, log *slog.Logger) (*Network, error) {
	for _, dir := range []string{"netns", "pods", "cni"} {
		if err := os.MkdirAll(filepath.Join(cfg.StateDir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make the network's state folder: %w", err)
		}
	}
	n := &Network{
		cfg: cfg, log: log, ready: make(chan struct{}), taken: NewAddresses(),
		cni: libcni.NewCNIConfigWithCacheDir([]string{cfg.BinDir}, filepath.Join(cfg.StateDir, "cni"), nil),
	}
	uids, err := n.known()
	if err != nil {
		return nil, err
	}
	for _, uid := range uids {
		if a, _, err := n.Attachment(uid); err == nil { // else it is connected anew
			n.taken.Reserve(uid, a.IPs)
		}
	}
	if n.list, err = n.loadConflist(); err != nil {
		log.Warn("the CNI configuration cannot be used", "error", err)
	}
	return n, nil
}

// Ready is closed once pods can be connected.
func (n *Network) Ready() <-chan struct{} { return n.ready }

// SetPodCIDRs prepares the node for its pod networks: the kernel's settings,
// an administrator's CNI configuration and the masquerading of what leaves the cluster. It
// does nothing if they are unchanged.
func (n *Network) SetPodCIDRs(ctx context.Context, cidrs []netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(cidrs) == 0 || equalPrefixes(cidrs, n.cidrs) {
		return nil
	}
	n.prepareKernel(ctx)
	list, err := n.loadConflist()
	if err != nil {
		return err
	}
	ports, err := n.allHostPorts()
	if err != nil {
		return err
	}
	if err := n.writeTable(cidrs, ports); err != nil {
		return err
	}
	n.list, n.cidrs, n.mtu = list, cidrs, n.linkMTU()
	n.readyOnce.Do(func() { close(n.ready) })
	n.log.InfoContext(ctx, "pod network ready", "podCIDRs", cidrs, "plugins", list != nil)
	return nil
}

// prepareKernel switches on what routing needs, and for bridges that an
// administrator's plugins may make, service translation.
func (n *Network) prepareKernel(ctx context.Context) {
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := writeSysctl(path, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			n.log.WarnContext(ctx, "forwarding cannot be switched on", "sysctl", path, "error", err)
		}
	}
	for _, path := range []string{"/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"} {
		if err := writeSysctl(path, "1"); err != nil {
			n.log.DebugContext(ctx, "bridged packets bypass conntrack here", "sysctl", path, "error", err)
		}
	}
}

func writeSysctl(path, value string) error {
	if have, err := os.ReadFile(path); err == nil && len(have) > 0 && string(have[:1]) == value {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0o644)
}

// linkName returns the name of one of the node's links, at most 15 bytes.
func (c Config) linkName(prefix string) string {
	return prefix + shortHash(c.ClusterID+"/"+c.NodeName, 11)
}

func (c Config) vxlanName() string { return c.linkName("nv") }

func (c Config) tableName() string {
	return "navarch-" + c.ClusterID + "-" + c.NodeName + "-agent"
}

func shortHash(s string, digits int) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:digits]
}

func equalPrefixes(a, b []netip.Prefix) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

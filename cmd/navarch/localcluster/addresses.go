package localcluster

import (
	"fmt"
	"net/netip"
)

// maxSlots is how many clusters can run on one machine at once: the ranges
// below stay clear of each other for as many.
const maxSlots = 10

// maxNodes is how many nodes a cluster on one machine can have; the node
// range and the share of the machine set the bound.
const maxNodes = 100

// PodCIDR is the range of all pods.
func (s *State) PodCIDR() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(244 + s.Slot), 0, 0}), 16)
}

// ServiceCIDR is the range of Services' cluster IPs.
func (s *State) ServiceCIDR() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(96 + s.Slot), 0, 0}), 16)
}

// DNSAddress is the cluster IP of the cluster's DNS.
func (s *State) DNSAddress() netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(96 + s.Slot), 0, 10})
}

// NodeCIDR is the range of the private bridge of a cluster of several nodes.
func (s *State) NodeCIDR() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, byte(s.Slot), 0}), 24)
}

// HostAddress is the host's address on the private bridge.
func (s *State) HostAddress() netip.Addr { return s.NodeCIDR().Addr().Next() }

// nodeAddress is the address of node i, counted from 1, on the private bridge.
func (s *State) nodeAddress(i int) netip.Addr {
	a := s.NodeCIDR().Addr().As4()
	a[3] = byte(10 + i)
	return netip.AddrFrom4(a)
}

// node is one node of the cluster.
type node struct {
	name    string
	index   int // among the nodes of the machine, from 0
	address netip.Addr
	// namespace is the path of its network namespace; empty is the host's.
	namespace string
}

// nodes lists the cluster's nodes. hostAddress is the address of the host as a
// node.
func (s *State) nodes(hostAddress netip.Addr) []node {
	if s.Nodes == 1 {
		return []node{{name: s.Host, address: hostAddress}}
	}
	all := make([]node, s.Nodes)
	for i := range all {
		name := fmt.Sprintf("node-%d", i+1)
		all[i] = node{name: name, index: i, address: s.nodeAddress(i + 1), namespace: s.namespacePath(name)}
	}
	return all
}

// schedulerPort is where the Scheduler is served.
func (s *State) schedulerPort() int {
	if s.SchedulerPort != 0 {
		return s.SchedulerPort
	}
	return s.StorePort
}

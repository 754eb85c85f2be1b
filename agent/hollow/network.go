package hollow

import (
	"context"
	"net/netip"
	"sync"

	"navarch.dev/navarch/agent/network"
)

// hollowNetwork implements podworker.Network: it gives pods addresses, and
// nothing behind them.
type hollowNetwork struct {
	// cidrs are the node's pod CIDRs now.
	cidrs func() []netip.Prefix
	ready chan struct{}

	mu    sync.Mutex // guards what follows
	taken *network.Addresses
	pods  map[string][]netip.Addr // by UID
}

func newNetwork(cidrs func() []netip.Prefix) *hollowNetwork {
	n := &hollowNetwork{cidrs: cidrs, ready: make(chan struct{}), taken: network.NewAddresses(), pods: make(map[string][]netip.Addr)}
	close(n.ready)
	return n
}

// Ready implements podworker.Network.
func (n *hollowNetwork) Ready() <-chan struct{} { return n.ready }

// MakeNamespace implements podworker.Network.
func (*hollowNetwork) MakeNamespace(string) (string, error) { return "", nil }

// AdoptNamespace implements podworker.Network.
func (*hollowNetwork) AdoptNamespace(string, int) (string, error) { return "", nil }

// Attach implements podworker.Network.
func (n *hollowNetwork) Attach(_ context.Context, pod network.PodRef, _ []network.HostPort) (network.Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ips, ok := n.pods[pod.UID]
	if !ok {
		var err error
		if ips, err = n.taken.Take(pod.UID, n.cidrs()); err != nil {
			return network.Attachment{}, err
		}
		n.pods[pod.UID] = ips
	}
	return network.Attachment{IPs: ips}, nil
}

// reserve notes the addresses of a pod that runs already.
func (n *hollowNetwork) reserve(uid string, ips []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken.Reserve(uid, ips)
	n.pods[uid] = ips
}

// Detach implements podworker.Network.
func (n *hollowNetwork) Detach(_ context.Context, pod network.PodRef) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken.Free(pod.UID)
	delete(n.pods, pod.UID)
	return nil
}

// Attachment implements podworker.Network.
func (n *hollowNetwork) Attachment(uid string) (network.Attachment, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ips, ok := n.pods[uid]
	return network.Attachment{IPs: ips}, ok, nil
}

// CollectGarbage implements podworker.Network.
func (*hollowNetwork) CollectGarbage(context.Context, func(uid string) bool) error { return nil }

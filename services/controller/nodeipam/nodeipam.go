// Package nodeipam gives every node its part of the cluster's pod address
// range (spec.podCIDR). What is taken is read from the nodes themselves, so
// nothing can be lost or given out twice over a restart.
package nodeipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// Config says what is shared out.
type Config struct {
	// ClusterCIDR is divided into parts of NodeMaskSize bits.
	ClusterCIDR  netip.Prefix
	NodeMaskSize int
}

type reconciler struct {
	cfg    Config
	client *client.Client
	events runner.EventRecorder
	nodes  *client.Informer[*corev1.Node]

	mu sync.Mutex // guards given
	// given are the prefixes written to nodes whose informer may not show them
	// yet, by the node's uid.
	given map[types.UID]netip.Prefix
}

// New returns the controller of the nodes' pod CIDRs.
func New(deps runner.Deps, cfg Config) (*runner.Controller, error) {
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		cfg: cfg, client: deps.Client, nodes: nodes, given: make(map[types.UID]netip.Prefix),
		events: deps.Events("cidrAllocator"),
	}
	// One worker: two must not choose at the same time.
	c := runner.New("nodeipam", r, deps, runner.Options{Workers: 1, Trace: nodes.TraceContext})
	nodes.AddHandler(client.Handler[*corev1.Node]{
		OnAdd: func(n *corev1.Node) { c.Enqueue(n.Name) },
		OnUpdate: func(_, n *corev1.Node) {
			if n.Spec.PodCIDR == "" {
				c.Enqueue(n.Name)
			}
		},
		OnDelete: func(n *corev1.Node) {
			r.forget(n.UID)
			for _, other := range nodes.List() { // one of them may have waited for this part
				if other.Spec.PodCIDR == "" {
					c.Enqueue(other.Name)
				}
			}
		},
	})
	return c, nil
}

// Reconcile gives a node that has no pod CIDR the lowest free one.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	node, ok := r.nodes.GetByKey(key)
	if !ok || node.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	if node.Spec.PodCIDR != "" {
		r.forget(node.UID)
		return runner.Done(), nil
	}
	prefix, ok := r.choose(node)
	if !ok {
		r.events.Event(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node "+node.Name+" status is now: CIDRNotAvailable")
		return runner.Done(), runner.Terminal(fmt.Errorf("no part of %s is free", r.cfg.ClusterCIDR))
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": prefix.String(), "podCIDRs": []string{prefix.String()}},
	})
	if err != nil {
		return runner.Done(), fmt.Errorf("encode the pod CIDR: %w", err)
	}
	patched := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
	if err := r.client.Patch(ctx, patched, types.MergePatchType, patch, ""); err != nil {
		// The prefix stays given: the write may have been made all the same.
		return runner.Done(), fmt.Errorf("give node %s the pod CIDR %s: %w", node.Name, prefix, err)
	}
	return runner.Done(), nil
}

// choose returns the prefix already given to a node, or the lowest free one.
func (r *reconciler) choose(node *corev1.Node) (netip.Prefix, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.given[node.UID]; ok {
		return p, true
	}
	taken := r.taken()
	p, ok := firstFree(r.cfg, taken)
	if ok {
		r.given[node.UID] = p
	}
	return p, ok
}

// taken returns every prefix that a node has. r.mu is held.
func (r *reconciler) taken() []netip.Prefix {
	var taken []netip.Prefix
	for _, p := range r.given {
		taken = append(taken, p)
	}
	for _, n := range r.nodes.List() {
		for _, s := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
			if p, err := netip.ParsePrefix(s); err == nil {
				taken = append(taken, p)
			}
		}
	}
	return taken
}

func (r *reconciler) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.given, uid)
}

// firstFree returns the lowest part of the range that overlaps nothing taken.
func firstFree(cfg Config, taken []netip.Prefix) (netip.Prefix, bool) {
	used := make(map[netip.Prefix]bool, len(taken))
	var odd []netip.Prefix // of another size than ours
	for _, p := range taken {
		if p.Bits() == cfg.NodeMaskSize {
			used[p.Masked()] = true
		} else {
			odd = append(odd, p)
		}
	}
	for p := netip.PrefixFrom(cfg.ClusterCIDR.Masked().Addr(), cfg.NodeMaskSize); cfg.ClusterCIDR.Contains(p.Addr()); {
		if !used[p] && !overlapsAny(p, odd) {
			return p, true
		}
		next, ok := after(p)
		if !ok {
			break
		}
		p = next
	}
	return netip.Prefix{}, false
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if p.Overlaps(o) {
			return true
		}
	}
	return false
}

// after returns the prefix of the same size that follows p.
func after(p netip.Prefix) (netip.Prefix, bool) {
	b := p.Addr().AsSlice()
	bit := p.Bits()
	if bit == 0 {
		return p, false
	}
	// Add one at the last bit of the prefix, with carry.
	i, add := (bit-1)/8, 1<<((8-bit%8)%8)
	for ; i >= 0; i-- {
		sum := int(b[i]) + add
		b[i] = byte(sum)
		if add = sum >> 8; add == 0 {
			break
		}
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.PrefixFrom(addr, bit), ok && i >= 0
}

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

	mu sync.Mutex // guards the fields below
	// parts knows what is given, and what the informer's nodes have.
	parts *parts
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
		cfg: cfg, client: deps.Client, nodes: nodes, parts: newParts(cfg), given: make(map[types.UID]netip.Prefix),
		events: deps.Events("cidrAllocator"),
	}
	// One worker: two must not choose at the same time.
	c := runner.New("nodeipam", r, deps, runner.Options{Workers: 1, Trace: nodes.TraceContext})
	nodes.AddHandler(client.Handler[*corev1.Node]{
		OnAdd: func(n *corev1.Node) {
			r.has(nil, n)
			c.Enqueue(n.Name)
		},
		OnUpdate: func(old, n *corev1.Node) {
			r.has(old, n)
			if n.Spec.PodCIDR == "" {
				c.Enqueue(n.Name)
			}
		},
		OnDelete: func(n *corev1.Node) {
			r.has(n, nil)
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
	p, ok := r.parts.lowest()
	if ok {
		r.parts.take(p)
		r.given[node.UID] = p
	}
	return p, ok
}

// has notes which prefixes a node has now; before and now are nil for a node
// that is new or gone. What was given to a node counts until it is seen there.
func (r *reconciler) has(before, now *corev1.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range prefixesOf(now) {
		r.parts.take(p)
	}
	for _, p := range prefixesOf(before) {
		r.parts.release(p)
	}
	switch {
	case now == nil:
		r.forget(before.UID)
	case now.Spec.PodCIDR != "":
		r.forget(now.UID)
	}
}

// forget takes back what was given to a node. r.mu is held.
func (r *reconciler) forget(uid types.UID) {
	if p, ok := r.given[uid]; ok {
		r.parts.release(p)
		delete(r.given, uid)
	}
}

// prefixesOf returns the pod CIDRs of a node; nil has none.
func prefixesOf(node *corev1.Node) (all []netip.Prefix) {
	if node == nil {
		return nil
	}
	for _, s := range append([]string{node.Spec.PodCIDR}, node.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(s); err == nil {
			all = append(all, p)
		}
	}
	return all
}

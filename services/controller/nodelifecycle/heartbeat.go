package nodelifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// heartbeats remembers when each node was last heard of, by our own clock: the
// nodes' clocks may differ, and a controller that has just started must give
// every node its full grace period.
type heartbeats struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (h *heartbeats) heard(node string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last[node] = now
}

// lastOf returns when a node was last heard of; one never heard of is given
// its time from now on.
func (h *heartbeats) lastOf(node string, now time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := h.last[node]; ok {
		return t
	}
	h.last[node] = now
	return now
}

const (
	// askTime bounds the question whether a node lives; retryAsk is when it is
	// asked again if nobody answers.
	askTime  = 2 * time.Second
	retryAsk = 500 * time.Millisecond
	// shortestStay is how long a Store that does not answer is kept at least when it
	// has just been gone to.
	shortestStay = 5 * time.Second
)

// heardMeanwhile says whether a node that seems silent has renewed its Lease all
// the same: our copy is as old as the watch of it is late, and where there are
// several Stores ours may have died, or hang, while the nodes talk to others. So
// the Lease is read anew before a node is taken for silent.
func (r *reconciler) heardMeanwhile(ctx context.Context, node *corev1.Node, now time.Time) (bool, error) {
	if !setUnknown(node.Status.DeepCopy(), node.CreationTimestamp, now) {
		return false, nil // it is taken for silent already
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	lease := &coordinationv1.Lease{}
	err := r.client.Get(ctx, corev1.NamespaceNodeLease, node.Name, lease)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the Lease of node %s: %w", node.Name, err)
	}
	r.stores.Succeeded()
	if !r.renewals.readNew(lease) {
		return false, nil
	}
	r.heartbeats.heard(node.Name, now)
	return true, nil
}

func (h *heartbeats) forget(node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, node)
}

// statusPosted says whether an update of a node came from its agent, which
// sends a new heartbeat time with every status.
func statusPosted(old, node *corev1.Node) bool {
	a, b := condition(old, corev1.NodeReady), condition(node, corev1.NodeReady)
	if b == nil || (a == nil && b.Status == corev1.ConditionUnknown) {
		return false // the latter is what we write about a node that never posted
	}
	return a == nil || !a.LastHeartbeatTime.Equal(&b.LastHeartbeatTime)
}

func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// nodeReady returns the status of the node's Ready condition. A node that has
// never posted one is not ready.
func nodeReady(n *corev1.Node) corev1.ConditionStatus {
	if c := condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return corev1.ConditionFalse
}

// Package nodelifecycle watches the nodes' heartbeats. A node that has been
// silent for the grace period becomes Ready=Unknown, is tainted, its pods are
// taken out of service at once and evicted when their tolerations end.
//
//	nodelifecycle.go  what is watched; one reconcile from start to end
//	heartbeat.go      when a node was last heard of
//	health.go         conditions of a silent node, and of its pods
//	taints.go         the taints that follow from a node's conditions
//	eviction.go       deleting pods that do not tolerate the node's taints
package nodelifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// DefaultGracePeriod is how long a node may be silent before it counts as
// gone.
const DefaultGracePeriod = 40 * time.Second

// byNode is the index of pods by the node they are assigned to.
const byNode = "node"

type reconciler struct {
	client     *client.Client
	events     runner.EventRecorder
	nodes      *client.Informer[*corev1.Node]
	pods       *client.Informer[*corev1.Pod]
	heartbeats heartbeats
	grace      time.Duration

	mu sync.Mutex // guards dark and lightSince
	// dark says that no node is Ready. Then nobody can tell dead nodes from a
	// cut network, and nothing is evicted. lightSince is when that ended last.
	dark       bool
	lightSince time.Time
}

// New returns the controller. Its keys name nodes.
func New(deps runner.Deps, grace time.Duration) (*runner.Controller, error) {
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	leases, err := client.InformerFor[*coordinationv1.Lease](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, cache.Indexers{byNode: nodeOf})
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		client: deps.Client, nodes: nodes, pods: pods, grace: grace,
		events:     deps.Events("node-controller"),
		heartbeats: heartbeats{last: make(map[string]time.Time)},
	}
	c := runner.New("nodelifecycle", r, deps, runner.Options{Trace: nodes.TraceContext})
	r.watchNodes(c)
	leases.AddHandler(client.Handler[*coordinationv1.Lease]{
		OnAdd: func(l *coordinationv1.Lease) { r.onLease(c, nil, l) },
		OnUpdate: func(old, l *coordinationv1.Lease) {
			r.onLease(c, old, l)
		},
	})
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{
		Keys: r.onTaintedNode,
		Changed: func(old, pod *corev1.Pod) bool {
			return old.Spec.NodeName != pod.Spec.NodeName || isReady(old) != isReady(pod)
		},
	})
	return c, nil
}

func nodeOf(v any) ([]string, error) {
	pod, ok := v.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a Pod", v)
	}
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	return []string{pod.Spec.NodeName}, nil
}

// watchNodes looks at a node when it changes, and at all of them when one
// becomes ready or stops being so: whether anything is evicted depends on it.
func (r *reconciler) watchNodes(c *runner.Controller) {
	r.nodes.AddHandler(client.Handler[*corev1.Node]{
		OnAdd: func(n *corev1.Node) {
			r.heartbeats.heard(n.Name, time.Now())
			c.Enqueue(n.Name)
		},
		OnUpdate: func(old, n *corev1.Node) {
			if statusPosted(old, n) {
				r.heartbeats.heard(n.Name, time.Now())
			}
			c.Enqueue(n.Name)
			if nodeReady(old) != nodeReady(n) {
				for _, other := range r.nodes.List() {
					c.Enqueue(other.Name)
				}
			}
		},
		OnDelete: func(n *corev1.Node) { r.heartbeats.forget(n.Name) },
	})
}

// onLease notes a heartbeat. A node that is healthy needs no look for it: the
// timer set at its last one finds the newer.
func (r *reconciler) onLease(c *runner.Controller, old, l *coordinationv1.Lease) {
	if l.Namespace != corev1.NamespaceNodeLease || (old != nil && old.Spec.RenewTime.Equal(l.Spec.RenewTime)) {
		return
	}
	r.heartbeats.heard(l.Name, time.Now())
	if n, ok := r.nodes.GetByKey(l.Name); ok && nodeReady(n) == corev1.ConditionUnknown {
		c.Enqueue(l.Name)
	}
}

// onTaintedNode returns a pod's node if something is to be done about pods
// there.
func (r *reconciler) onTaintedNode(pod *corev1.Pod) []string {
	n, ok := r.nodes.GetByKey(pod.Spec.NodeName)
	if !ok || (len(noExecute(n)) == 0 && nodeReady(n) != corev1.ConditionUnknown) {
		return nil
	}
	return []string{n.Name}
}

// Reconcile judges one node.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	node, ok := r.nodes.GetByKey(key)
	if !ok || node.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	now := time.Now()
	silence := now.Sub(r.heartbeats.lastOf(key, now))
	next := runner.RequeueAfter(r.grace - silence)
	if silence >= r.grace {
		next = runner.Done() // the next heartbeat brings it back
		var err error
		if node, err = r.markUnknown(ctx, node, now); err != nil {
			return runner.Done(), err
		}
	}
	node, err := r.ensureTaints(ctx, node, now)
	if err != nil {
		return runner.Done(), err
	}
	pods, err := r.pods.ByIndex(byNode, key)
	if err != nil {
		return runner.Done(), err
	}
	if nodeReady(node) == corev1.ConditionUnknown {
		if err := r.markPodsNotReady(ctx, node, pods, now); err != nil {
			return runner.Done(), err
		}
	}
	evict, err := r.evict(ctx, node, pods, now)
	return next.Sooner(evict), err
}

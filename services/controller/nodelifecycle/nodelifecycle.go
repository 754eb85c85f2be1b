// Package nodelifecycle watches the nodes' heartbeats. A node that has been
// silent for the grace period becomes Ready=Unknown, is tainted, its pods are
// taken out of service at once and evicted when their tolerations end.
//
//	nodelifecycle.go  what is watched; one reconcile from start to end
//	heartbeat.go      when a node was last heard of
//	suspicion.go      nodes whose heartbeat stream has broken
//	health.go         conditions of a silent node, and of its pods
//	taints.go         the taints that follow from a node's conditions
//	zones.go          how fast silent nodes are emptied
//	eviction.go       deleting pods that do not tolerate the node's taints
//	fencing.go        replacing pods that their agent has stopped by itself
package nodelifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// byNode is the index of pods by the node they are assigned to.
const byNode = "node"

type reconciler struct {
	client     *client.Client
	events     runner.EventRecorder
	nodes      *client.Informer[*corev1.Node]
	pods       *client.Informer[*corev1.Pod]
	heartbeats heartbeats
	renewals   renewals
	zones      *zones
	grace      time.Duration
	log        *slog.Logger

	fastFailover bool
	fenceMargin  time.Duration
	suspects     suspects

	stores *client.Switcher

	mu sync.Mutex // guards dark and lightSince
	// dark says that no node is Ready. Then nobody can tell dead nodes from a
	// cut network, and nothing is evicted. lightSince is when that ended last.
	dark       bool
	lightSince time.Time
}

// New returns the controller. Its keys name nodes.
func New(deps runner.Deps, cfg Config) (*runner.Controller, error) {
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
		client: deps.Client, nodes: nodes, pods: pods, grace: cfg.GracePeriod, zones: newZones(cfg),
		events: deps.Events("node-controller"), log: deps.Telemetry.Log.With("controller", "nodelifecycle"),
		heartbeats: heartbeats{last: make(map[string]time.Time)}, renewals: renewals{byNode: make(map[string]renewal), read: make(map[string]*metav1.MicroTime)},
		fastFailover: cfg.FastFailover, fenceMargin: cfg.FenceMargin, stores: client.NewSwitcher(cfg.OtherStore, shortestStay, 0),
	}
	c := runner.New("nodelifecycle", r, deps, runner.Options{Trace: nodes.TraceContext})
	r.watchNodes(c)
	leases.AddHandler(client.Handler[*coordinationv1.Lease]{
		OnAdd: func(l *coordinationv1.Lease) { r.onLease(c, nil, l) },
		OnUpdate: func(old, l *coordinationv1.Lease) {
			r.onLease(c, old, l)
		},
		OnDelete: func(l *coordinationv1.Lease) {
			if l.Namespace == corev1.NamespaceNodeLease {
				r.renewals.forget(l.Name)
			}
		},
	})
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{
		Keys: r.onTaintedNode,
		Changed: func(old, pod *corev1.Pod) bool {
			return old.Spec.NodeName != pod.Spec.NodeName || isReady(old) != isReady(pod) ||
				old.DeletionTimestamp == nil && pod.DeletionTimestamp != nil
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

// watchNodes looks at a node when it changes, and at all of them when what may
// be done about any of them changes.
func (r *reconciler) watchNodes(c *runner.Controller) {
	r.nodes.AddHandler(client.Handler[*corev1.Node]{
		OnAdd: func(n *corev1.Node) {
			r.heartbeats.heard(n.Name, time.Now())
			c.Enqueue(n.Name)
			r.count(c, n, false)
		},
		OnUpdate: func(old, n *corev1.Node) {
			if statusPosted(old, n) {
				r.heartbeats.heard(n.Name, time.Now())
			}
			c.Enqueue(n.Name)
			r.count(c, n, false)
		},
		OnDelete: func(n *corev1.Node) {
			r.heartbeats.forget(n.Name)
			r.suspects.forget(n.Name)
			r.count(c, n, true)
		},
	})
}

// count notes what a node is to its zone.
func (r *reconciler) count(c *runner.Controller, n *corev1.Node, gone bool) {
	changed, moved := r.zones.observe(n, gone)
	for _, m := range moved {
		r.log.Info("a zone changed its state", "zone", m.zone, "state", m.state)
	}
	if !changed {
		return
	}
	for _, other := range r.nodes.List() {
		c.Enqueue(other.Name)
	}
}

// onLease notes a heartbeat. A node that is healthy needs no look for it: the
// timer set at its last one finds the newer.
func (r *reconciler) onLease(c *runner.Controller, old, l *coordinationv1.Lease) {
	if l.Namespace != corev1.NamespaceNodeLease {
		return
	}
	now := time.Now()
	if r.renewals.saw(l, now) {
		c.Enqueue(l.Name) // its timers are other ones now
	}
	if old != nil && old.Spec.RenewTime.Equal(l.Spec.RenewTime) {
		return
	}
	r.heartbeats.heard(l.Name, now)
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
	if !ok {
		return runner.Done(), nil
	}
	now := time.Now()
	silence, grace := now.Sub(r.heartbeats.lastOf(key, now)), r.grace
	last, fast := r.fast(key)
	if fast {
		grace = min(grace, last.grace())
	}
	suspicion := r.suspect(node, now)
	if silence >= grace {
		heard, err := r.heardMeanwhile(ctx, node, now)
		if err != nil {
			r.log.WarnContext(ctx, "whether a silent node lives could not be asked", "node", key, "error", err)
			r.stores.Failed(err)
			return runner.RequeueAfter(retryAsk), nil
		}
		if heard {
			silence = 0
		}
	}
	next := runner.RequeueAfter(grace - silence)
	if silence >= grace {
		next = runner.Done() // the next heartbeat brings it back
		var err error
		if node, err = r.markUnknown(ctx, node, now); err != nil {
			return runner.Done(), err
		}
	}
	node, wait, err := r.ensureTaints(ctx, node, now)
	if err != nil {
		return runner.Done(), err
	}
	if wait > 0 {
		next = next.Sooner(runner.RequeueAfter(wait))
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
	evict, err := r.evict(ctx, node, last, pods, now)
	return next.Sooner(evict).Sooner(suspicion), err
}

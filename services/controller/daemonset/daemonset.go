// Package daemonset runs a pod of each DaemonSet on every node that it fits.
//
//	daemonset.go  what is watched; one reconcile from start to end
//	nodes.go      which nodes a set's pods may be on
//	pods.go       what a pod for a node is made of
//	rollout.go    which pods to make and to delete
//	status.go     the status
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/history"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// settleTimeout is the longest wait for the informer to show our own writes
// before looking again.
const settleTimeout = time.Second

type reconciler struct {
	client  *client.Client
	sets    *client.Informer[*appsv1.DaemonSet]
	pods    *client.Informer[*corev1.Pod]
	nodes   *client.Informer[*corev1.Node]
	history *history.History
	control *podset.Control
	tracker *podset.Tracker
}

// New returns the controller of DaemonSets.
func New(deps runner.Deps) (*runner.Controller, error) {
	sets, err := client.InformerFor[*appsv1.DaemonSet](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	revisions, err := client.InformerFor[*appsv1.ControllerRevision](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	tracker := podset.NewTracker(pods)
	r := &reconciler{
		client: deps.Client, sets: sets, pods: pods, nodes: nodes, tracker: tracker,
		history: &history.History{Client: deps.Client, Revisions: revisions},
		control: &podset.Control{Client: deps.Client, Events: deps.Events("daemonset-controller"), Tracker: tracker},
	}
	selector := func(s *appsv1.DaemonSet) (labels.Selector, error) {
		return metav1.LabelSelectorAsSelector(s.Spec.Selector)
	}
	c := runner.New("daemonset", r, deps, runner.Options{Trace: sets.TraceContext})
	runner.Primary(c, sets)
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{Keys: ownership.Keys[*corev1.Pod](sets, selector)})
	runner.Watch(c, revisions, runner.Input[*appsv1.ControllerRevision]{Keys: ownership.Keys[*appsv1.ControllerRevision](sets, selector)})
	runner.Watch(c, nodes, runner.Input[*corev1.Node]{
		Keys: func(*corev1.Node) []string {
			var keys []string
			for _, s := range sets.List() {
				keys = append(keys, runner.Self(s)...)
			}
			return keys
		},
		Changed: func(old, n *corev1.Node) bool {
			return !maps.Equal(old.Labels, n.Labels) || !equality.Semantic.DeepEqual(old.Spec.Taints, n.Spec.Taints)
		},
	})
	return c, nil
}

// Reconcile takes the next step of one DaemonSet.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	shared, ok := r.sets.GetByKey(key)
	if !ok {
		r.tracker.Forget(key)
		return runner.Done(), nil
	}
	if shared.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	if !r.tracker.Settled(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	set := shared.DeepCopy()
	newest, all, err := r.history.Sync(ctx, history.Workload{
		Owner: set, Kind: r.sets.Kind(), Selector: set.Spec.Selector, Template: &set.Spec.Template, Collisions: set.Status.CollisionCount,
	})
	var collision history.CollisionError
	if errors.As(err, &collision) {
		set.Status.CollisionCount = ptr.To(ptr.Deref(set.Status.CollisionCount, 0) + 1)
		return runner.Done(), errors.Join(err, r.writeStatus(ctx, set, set.Status))
	}
	if err != nil {
		return runner.Done(), err
	}
	pods, err := r.claim(ctx, set)
	if err != nil {
		return runner.Done(), err
	}
	ro := &rollout{reconciler: r, set: set, hash: history.Hash(newest), pods: pods, now: time.Now()}
	ro.place()
	if err := r.writeStatus(ctx, set, ro.status()); err != nil {
		return runner.Done(), err
	}
	if err := ro.act(ctx); err != nil {
		return runner.Done(), err
	}
	return ro.nextAvailable(), r.history.CleanUp(ctx, all, set.Spec.RevisionHistoryLimit, ro.hashesInUse())
}

func (r *reconciler) claim(ctx context.Context, set *appsv1.DaemonSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, runner.Terminal(fmt.Errorf("read the selector: %w", err))
	}
	candidates, err := ownership.Candidates(r.pods, set)
	if err != nil {
		return nil, err
	}
	return ownership.Claim(ctx, ownership.Claimer{Client: r.client, Owner: set, Selector: selector}, candidates)
}

// writeStatus stores a status unless the stored one is the same.
func (r *reconciler) writeStatus(ctx context.Context, set *appsv1.DaemonSet, status appsv1.DaemonSetStatus) error {
	stored, ok := r.sets.Get(set.Namespace, set.Name)
	if ok && stored.UID == set.UID && equality.Semantic.DeepEqual(stored.Status, status) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = status
	if err := r.client.UpdateStatus(ctx, changed); err != nil {
		return fmt.Errorf("update the status: %w", err)
	}
	set.ResourceVersion = changed.ResourceVersion
	return nil
}

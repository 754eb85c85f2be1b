// Package daemonset runs a pod of each DaemonSet on every node that it fits.
//
//	daemonset.go  what is watched; one reconcile from start to end
//	nodes.go      which nodes a set's pods may be on
//	pods.go       what a pod for a node is made of
//	rollout.go    which pods to make and to delete
//	ended.go      when those that have ended are replaced
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
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/history"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client  *client.Client
	sets    *client.Informer[*appsv1.DaemonSet]
	nodes   *client.Informer[*corev1.Node]
	history *history.History
	control *podset.Control
	// backoff is about nodes where pods fail.
	backoff *flowcontrol.Backoff
}

// New returns the controller of DaemonSets.
func New(deps runner.Deps) (*runner.Controller, error) {
	sets, err := client.InformerFor[*appsv1.DaemonSet](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	selector := func(s *appsv1.DaemonSet) (labels.Selector, error) {
		return metav1.LabelSelectorAsSelector(s.Spec.Selector)
	}
	revisions, err := history.New(deps, sets, selector)
	if err != nil {
		return nil, err
	}
	control, err := podset.NewControl(deps, "daemonset-controller", sets, selector)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, sets: sets, nodes: nodes, history: revisions, control: control, backoff: newBackoff()}
	c := podset.NewController("daemonset", r, deps, control, sets)
	revisions.Watch(c)
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
		r.control.Forget(key)
		return runner.Done(), nil
	}
	if shared.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	if wait, settled := r.control.Settled(key); !settled {
		return wait, nil
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
	pods, err := r.control.Claim(ctx, set, set.Spec.Selector, nil)
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

// Package statefulset runs StatefulSets: pods with stable names, made, updated
// and removed one after the other, each with claims of its own.
//
//	statefulset.go  what is watched; one reconcile from start to end
//	pods.go         what a pod of an ordinal is made of
//	claims.go       the claims of a pod, and with whom they end
//	rollout.go      creating, removing and updating pods in order
//	status.go       the status
package statefulset

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/history"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client  *client.Client
	events  runner.EventRecorder
	sets    *client.Informer[*appsv1.StatefulSet]
	claims  *client.Informer[*corev1.PersistentVolumeClaim]
	history *history.History
	control *podset.Control
	// claimed holds a set back until the claims that it made or gave an owner are
	// seen: a pod must not go while nobody knows which claims go with it.
	claimed *runner.Barrier[*corev1.PersistentVolumeClaim]
}

// settleTimeout is the longest wait for that. Usually the claims' events wake the key
// much sooner.
const settleTimeout = time.Second

// New returns the controller of StatefulSets.
func New(deps runner.Deps) (*runner.Controller, error) {
	sets, err := client.InformerFor[*appsv1.StatefulSet](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	claims, err := client.InformerFor[*corev1.PersistentVolumeClaim](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	selector := func(s *appsv1.StatefulSet) (labels.Selector, error) {
		return metav1.LabelSelectorAsSelector(s.Spec.Selector)
	}
	revisions, err := history.New(deps, sets, selector)
	if err != nil {
		return nil, err
	}
	control, err := podset.NewControl(deps, "statefulset-controller", sets, selector)
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		client: deps.Client, events: control.Events, sets: sets, claims: claims, history: revisions, control: control,
		claimed: runner.NewBarrier(claims),
	}
	c := podset.NewController("statefulset", r, deps, control, sets)
	revisions.Watch(c)
	runner.Watch(c, claims, runner.Input[*corev1.PersistentVolumeClaim]{
		Keys: r.claimants,
		Changed: func(old, claim *corev1.PersistentVolumeClaim) bool {
			return !equality.Semantic.DeepEqual(old.OwnerReferences, claim.OwnerReferences) || old.UID != claim.UID
		},
	})
	return c, nil
}

// Reconcile takes the next step of one StatefulSet.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	shared, ok := r.sets.GetByKey(key)
	if !ok {
		r.control.Forget(key)
		return runner.Done(), nil
	}
	if wait, settled := r.control.Settled(key); !settled {
		return wait, nil
	}
	if !r.claimed.Passed(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	set := shared.DeepCopy()
	if set.DeletionTimestamp != nil {
		return runner.Done(), r.countDeleted(ctx, set)
	}
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
	ro := &rollout{reconciler: r, set: set, update: newest, current: newest, now: time.Now()}
	for _, rev := range all {
		if rev.Name == set.Status.CurrentRevision {
			ro.current = rev
		}
	}
	ro.place(pods)
	return ro.run(ctx, all)
}

// countDeleted keeps the status of a set right that is being deleted and waits for
// its pods. Its revisions are going as well, and are not made again to compare
// with: their names in the status will do.
func (r *reconciler) countDeleted(ctx context.Context, set *appsv1.StatefulSet) error {
	pods, err := r.claim(ctx, set)
	if err != nil {
		return err
	}
	named := func(name string) *appsv1.ControllerRevision {
		return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			appsv1.ControllerRevisionHashLabelKey: strings.TrimPrefix(name, set.Name+"-"),
		}}}
	}
	ro := &rollout{
		reconciler: r, set: set, current: named(set.Status.CurrentRevision), update: named(set.Status.UpdateRevision), now: time.Now(),
	}
	ro.place(pods)
	return r.writeStatus(ctx, set, ro.status())
}

// claim returns the set's pods. An orphan of another name is none of ours.
func (r *reconciler) claim(ctx context.Context, set *appsv1.StatefulSet) ([]*corev1.Pod, error) {
	return r.control.Claim(ctx, set, set.Spec.Selector, func(pod *corev1.Pod) bool {
		_, ours := ordinalOf(set, pod.Name)
		return !ours && metav1.GetControllerOfNoCopy(pod) == nil
	})
}

// writeStatus stores a status unless the stored one is the same.
func (r *reconciler) writeStatus(ctx context.Context, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) error {
	stored, ok := r.sets.Get(set.Namespace, set.Name)
	if ok && stored.UID == set.UID && equality.Semantic.DeepEqual(stored.Status, status) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = status
	if err := r.client.UpdateStatus(ctx, changed); err != nil {
		return fmt.Errorf("update the status: %w", err)
	}
	return nil
}

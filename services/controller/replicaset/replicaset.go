// Package replicaset keeps as many pods of a template as a ReplicaSet, or a
// ReplicationController, asks for.
//
// Both kinds share one engine, which works on ReplicaSets; what differs is in
// a source: how an object is read, and how its status is written.
package replicaset

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// source is where the engine's objects come from.
type source struct {
	// get returns the object twice: as the engine sees it, and as the owner
	// that events and references name.
	get func(key string) (rs *appsv1.ReplicaSet, owner kinds.Object, ok bool)
	// writeStatus stores rs.Status.
	writeStatus func(ctx context.Context, rs *appsv1.ReplicaSet, owner kinds.Object) error
	// ownedBy returns the uids of the objects whose controller has the uid.
	ownedBy func(types.UID) ([]types.UID, error)
	kind    *kinds.Kind
	// countsTerminating says whether the kind's status has terminatingReplicas.
	countsTerminating bool
}

// reconciler is the engine.
type reconciler struct {
	source  source
	control *podset.Control
}

// New returns the controller of ReplicaSets.
func New(deps runner.Deps) (*runner.Controller, error) {
	sets, err := client.InformerFor[*appsv1.ReplicaSet](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	src := source{
		kind: sets.Kind(), countsTerminating: true,
		get: func(key string) (*appsv1.ReplicaSet, kinds.Object, bool) {
			rs, ok := sets.GetByKey(key)
			return rs, rs, ok
		},
		writeStatus: func(ctx context.Context, rs *appsv1.ReplicaSet, _ kinds.Object) error {
			return deps.Client.UpdateStatus(ctx, rs)
		},
		ownedBy: ownedBy(sets),
	}
	return assemble(deps, "replicaset", src, sets, func(rs *appsv1.ReplicaSet) (labels.Selector, error) {
		return metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	})
}

// ownedBy is the source's function of an informer that is indexed by owners.
func ownedBy[T kinds.Object](sets *client.Informer[T]) func(types.UID) ([]types.UID, error) {
	return func(owner types.UID) (uids []types.UID, err error) {
		owned, err := ownership.Owned(sets, owner)
		for _, set := range owned {
			uids = append(uids, set.GetUID())
		}
		return uids, err
	}
}

// assemble makes the engine for objects of type T and declares its inputs.
func assemble[T kinds.Object](deps runner.Deps, name string, src source, owners *client.Informer[T], selector podset.Selects[T]) (*runner.Controller, error) {
	control, err := podset.NewControl(deps, name+"-controller", owners, selector)
	if err != nil {
		return nil, err
	}
	return podset.NewController(name, &reconciler{source: src, control: control}, deps, control, owners), nil
}

// Reconcile makes the number of active pods what the spec says and reports
// what there is.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	rs, owner, ok := r.source.get(key)
	if !ok {
		r.control.Forget(key)
		return runner.Done(), nil
	}
	if wait, settled := r.control.Settled(key); !settled {
		return wait, nil
	}
	claimed, err := r.control.Claim(ctx, owner, rs.Spec.Selector, podset.IsFinished)
	if err != nil {
		return runner.Done(), err
	}
	var manageErr error
	if rs.DeletionTimestamp == nil {
		manageErr = r.manage(ctx, rs, owner, slices.DeleteFunc(slices.Clone(claimed), isTerminating))
	}
	now := time.Now()
	if err := r.updateStatus(ctx, rs, owner, claimed, manageErr, now); err != nil {
		return runner.Done(), err
	}
	return nextAvailable(rs, claimed, now), manageErr
}

func isTerminating(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil }

// manage creates what is missing or deletes what is too many.
func (r *reconciler) manage(ctx context.Context, rs *appsv1.ReplicaSet, owner kinds.Object, active []*corev1.Pod) error {
	missing := int(replicas(rs)) - len(active)
	switch {
	case missing > 0:
		pods := make([]*corev1.Pod, min(missing, podset.BurstLimit))
		for i := range pods {
			pods[i] = podset.FromTemplate(&rs.Spec.Template, rs, r.source.kind.GVK())
		}
		_, err := r.control.Create(ctx, owner, pods)
		return err
	case missing < 0:
		siblings, err := r.siblings(rs, active)
		if err != nil {
			return err
		}
		podset.SortForDeletion(active, siblings, time.Now())
		return r.control.Delete(ctx, owner, active[:min(-missing, podset.BurstLimit)])
	}
	return nil
}

// siblings returns the pods of the whole workload: those of all the sets with
// the same controller, so that scaling down during a rollout spreads the pods
// that stay.
func (r *reconciler) siblings(rs *appsv1.ReplicaSet, own []*corev1.Pod) ([]*corev1.Pod, error) {
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil {
		return own, nil
	}
	sets, err := r.source.ownedBy(ref.UID)
	if err != nil {
		return nil, err
	}
	var all []*corev1.Pod
	for _, set := range sets {
		pods, err := ownership.Owned(r.control.Pods, set)
		if err != nil {
			return nil, err
		}
		all = append(all, pods...)
	}
	return all, nil
}

// nextAvailable asks to be called when the next ready pod becomes available.
func nextAvailable(rs *appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) runner.Outcome {
	outcome := runner.Done()
	for _, pod := range pods {
		if wait, ready := podset.AvailableIn(pod, rs.Spec.MinReadySeconds, now); ready {
			outcome = outcome.Sooner(runner.RequeueAfter(wait))
		}
	}
	return outcome
}

func replicas(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

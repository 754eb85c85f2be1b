package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// Delete removes an object, or marks it for deletion while a grace period or
// finalizers hold it. removed says which.
func (r *Registry) Delete(ctx context.Context, w Write, opts *storev1.DeleteOptions) (v *cache.Version, removed bool, err error) {
	return r.modify(ctx, w, func(stored *cache.Version) (outcome, error) {
		cur, err := stored.As(w.Kind)
		if err != nil {
			return outcome{}, err
		}
		if err := checkPreconditions(w, opts, cur.Object()); err != nil {
			return outcome{}, err
		}
		request := w.request(admission.Delete, nil, cur.Object())
		request.Options = deletion(w, opts)
		if err := r.admission.Mutate(ctx, request); err != nil {
			return outcome{}, err
		}
		if err := r.admission.Validate(ctx, request); err != nil {
			return outcome{}, err
		}
		obj := cur.Object().DeepCopyObject().(kinds.Object)
		if !markDeleted(w.Kind, obj, opts, time.Now()) {
			return r.removal(cur.Object()), nil
		}
		trace := cur.Trace
		if cur.Object().GetDeletionTimestamp() == nil {
			trace = client.TraceOf(ctx)
		}
		return outcome{object: obj, trace: trace}, nil
	})
}

// removal is the outcome that removes an object and gives back its addresses.
func (r *Registry) removal(obj kinds.Object) outcome {
	return outcome{ops: r.releases(obj)}
}

// checkPreconditions says which precondition of a deletion is not met.
func checkPreconditions(w Write, opts *storev1.DeleteOptions, obj kinds.Object) error {
	if uid := opts.GetUid(); uid != "" && uid != string(obj.GetUID()) {
		return unmet(w, obj, "UID", uid, string(obj.GetUID()), "deleted and then recreated")
	}
	if rv := opts.GetResourceVersion(); rv != "" && rv != obj.GetResourceVersion() {
		return unmet(w, obj, "ResourceVersion", rv, obj.GetResourceVersion(), "modified")
	}
	return nil
}

// unmet names the kind, not the resource, as Kubernetes does; of namespaces that
// tells in other words.
func unmet(w Write, obj kinds.Object, field, wanted, is, become string) error {
	if _, ok := obj.(*corev1.Namespace); ok {
		text := fmt.Sprintf("Precondition failed: %[1]s in precondition: %[2]s, %[1]s in object meta: %[3]s", field, wanted, is)
		return apierrors.NewConflict(w.Kind.GroupResource(), w.Name, errors.New(text))
	}
	return apierrors.NewConflict(schema.GroupResource{Group: w.Kind.Group, Resource: w.Kind.Kind}, w.Name,
		fmt.Errorf("the %[1]s in the precondition (%[2]s) does not match the %[1]s in record (%[3]s). The object might have been %[4]s", field, wanted, is, become))
}

// markDeleted marks obj as being deleted. It returns false if nothing holds
// the object, so that it can go at once.
func markDeleted(kind *kinds.Kind, obj kinds.Object, opts *storev1.DeleteOptions, now time.Time) bool {
	setDeletionFinalizers(kind, obj, opts.GetPropagationPolicy())
	grace := gracePeriod(kind, obj, opts)
	if obj.GetDeletionTimestamp() != nil {
		shorten(obj, grace, opts.GracePeriodSeconds != nil)
	} else {
		at := metav1.NewTime(now.Add(time.Duration(grace) * time.Second).Truncate(time.Second))
		obj.SetDeletionTimestamp(&at)
		obj.SetDeletionGracePeriodSeconds(&grace)
		if obj.GetGeneration() > 0 {
			obj.SetGeneration(obj.GetGeneration() + 1)
		}
		if ns, ok := obj.(*corev1.Namespace); ok { // which has no grace: its content holds it
			ns.DeletionGracePeriodSeconds = nil
			ns.Status.Phase = corev1.NamespaceTerminating
		}
		if mark := kind.Strategy.MarkDeleted; mark != nil {
			mark(obj)
		}
	}
	return !deletionComplete(obj)
}

// gracePeriod returns the seconds that an object may linger.
func gracePeriod(kind *kinds.Kind, obj kinds.Object, opts *storev1.DeleteOptions) int64 {
	if kind.Strategy.GracePeriod == nil {
		return 0
	}
	grace := kind.Strategy.GracePeriod(obj)
	switch {
	case grace == nil:
		return 0
	case opts.GracePeriodSeconds == nil:
		return *grace
	case opts.GetGracePeriodSeconds() < 0:
		return 1
	}
	return opts.GetGracePeriodSeconds()
}

// shorten lets an object that is being deleted go earlier, never later. A
// deletion that names no grace period changes nothing.
func shorten(obj kinds.Object, grace int64, requested bool) {
	old := obj.GetDeletionGracePeriodSeconds()
	if !requested || old == nil || grace >= *old {
		return
	}
	at := metav1.NewTime(obj.GetDeletionTimestamp().Add(time.Duration(grace-*old) * time.Second))
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&grace)
}

// setDeletionFinalizers makes the garbage collector orphan or delete the
// dependents first, where the policy says so.
func setDeletionFinalizers(kind *kinds.Kind, obj kinds.Object, policy storev1.PropagationPolicy) {
	if _, event := obj.(*corev1.Event); event { // nothing belongs to one
		return
	}
	var want string
	switch policy {
	case storev1.PropagationPolicy_PROPAGATION_POLICY_UNSPECIFIED:
		if !orphansByDefault(kind) || hasDeletionFinalizer(obj) {
			return
		}
		want = metav1.FinalizerOrphanDependents
	case storev1.PropagationPolicy_PROPAGATION_POLICY_ORPHAN:
		want = metav1.FinalizerOrphanDependents
	case storev1.PropagationPolicy_PROPAGATION_POLICY_FOREGROUND:
		want = metav1.FinalizerDeleteDependents
	}
	finalizers := slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), isDeletionFinalizer)
	if want != "" {
		finalizers = append(finalizers, want)
	}
	obj.SetFinalizers(finalizers)
}

// orphansByDefault says whether the dependents of a kind stay where a request does not
// say what becomes of them: what the first versions of these kinds promised before
// there were policies.
func orphansByDefault(kind *kinds.Kind) bool {
	switch kind.GroupResource() {
	case schema.GroupResource{Resource: "replicationcontrollers"}, schema.GroupResource{Group: "batch", Resource: "jobs"}:
		return true
	}
	return false
}

func isDeletionFinalizer(f string) bool {
	return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
}

func hasDeletionFinalizer(obj kinds.Object) bool {
	return slices.ContainsFunc(obj.GetFinalizers(), isDeletionFinalizer)
}

// releases returns the operations that give back what an object holds.
func (r *Registry) releases(obj kinds.Object) []backend.Op {
	svc, ok := obj.(*corev1.Service)
	if !ok || r.Services == nil {
		return nil
	}
	return r.Services.Release(svc)
}

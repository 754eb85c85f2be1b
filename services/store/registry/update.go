package registry

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/cache"
)

// Update replaces an object by obj, or with the subresource "status" its
// status by obj's. Of some kinds it makes the object if there is none and
// mayCreate allows it; nil allows everything.
func (r *Registry) Update(ctx context.Context, w Write, obj kinds.Object, mayCreate func() error) (v *cache.Version, created bool, err error) {
	if err := placeNamed(w, obj); err != nil {
		return nil, false, err
	}
	for range conflictAttempts {
		v, err = r.Change(ctx, w, func(*cache.Version) (kinds.Object, error) {
			return obj.DeepCopyObject().(kinds.Object), nil
		})
		var absent absentError
		if !errors.As(err, &absent) || w.Subresource != "" || !w.Kind.CreateOnUpdate {
			return v, false, err
		}
		v, err = r.createAbsent(ctx, w, obj.DeepCopyObject().(kinds.Object), mayCreate)
		if !apierrors.IsAlreadyExists(err) {
			return v, err == nil, err
		}
	}
	return v, false, err
}

// createAbsent makes an object that was to be updated and is not there. Which
// version its writer has seen does not matter, as in Kubernetes, but it is not
// the object that a uid means.
func (r *Registry) createAbsent(ctx context.Context, w Write, obj kinds.Object, mayCreate func() error) (*cache.Version, error) {
	if uid := obj.GetUID(); uid != "" {
		return nil, otherUID(w, uid, "")
	}
	if rv := obj.GetResourceVersion(); rv != "" {
		if _, err := strconv.ParseUint(rv, 10, 64); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.resourceVersion %q is not a number", rv))
		}
		obj.SetResourceVersion("")
	}
	if mayCreate != nil {
		if err := mayCreate(); err != nil {
			return nil, err
		}
	}
	return r.Create(ctx, w, obj)
}

// Change replaces an object by what compute makes of its present version. If
// the result names a resourceVersion, it must be the present one; otherwise a
// change that loses to another is computed again.
func (r *Registry) Change(ctx context.Context, w Write, compute func(cur *cache.Version) (kinds.Object, error)) (*cache.Version, error) {
	v, _, err := r.modify(ctx, w, func(stored *cache.Version) (outcome, error) {
		cur, err := stored.As(w.Kind)
		if err != nil {
			return outcome{}, err
		}
		obj, err := compute(cur)
		if err != nil {
			return outcome{}, err
		}
		return r.settle(ctx, w, obj, cur)
	})
	return v, err
}

// settle takes a changed object through metadata rules, strategy, admission
// and validation.
func (r *Registry) settle(ctx context.Context, w Write, obj kinds.Object, cur *cache.Version) (outcome, error) {
	old := cur.Object()
	if err := prepareChanged(w, obj, old); err != nil {
		return outcome{}, err
	}
	obj.SetResourceVersion(old.GetResourceVersion())
	runDefault(w.Kind, obj)
	if err := r.tracker.track(w, obj, old); err != nil { // also of what is set back
		return outcome{}, err
	}
	r.prepareUpdate(w, obj, old)
	request := w.request(admission.Update, obj, old)
	request.Options = w.updating()
	if err := r.admission.Mutate(ctx, request); err != nil {
		return outcome{}, err
	}
	if request.Rounds.Changed() {
		soundManagedFields(w, request.Object, obj.GetManagedFields())
		obj = request.Object
		restoreSystemMetadata(obj, old)
		r.prepareUpdate(w, obj, old)
	}
	countChange(w, obj, old)
	errs := append(validateMetadataUpdate(w.Kind, obj, old), validateChanged(w, obj, old)...)
	if err := invalid(w.Kind, w.Name, errs); err != nil {
		return outcome{}, err
	}
	runCanonicalize(w.Kind, obj)
	tell(ctx, w, obj, old)
	if err := r.admission.Validate(ctx, request); err != nil {
		return outcome{}, err
	}
	return r.outcomeOf(ctx, w, obj, cur)
}

// prepareUpdate restores what the written subresource may not change. It takes
// that from a copy: defaults and admission go on changing obj, and everybody
// reads the present version.
func (r *Registry) prepareUpdate(w Write, obj, old kinds.Object) {
	old = old.DeepCopyObject().(kinds.Object)
	switch w.Subresource {
	case "status":
		runPrepareForStatusUpdate(w.Kind, obj, old)
		restoreSystemMetadata(obj, old)
		runDefault(w.Kind, obj)
		return
	case "finalize":
		prepareFinalize(obj, old)
		return
	}
	if part, ok := w.Kind.Strategy.Parts[w.Subresource]; ok {
		part.Prepare(obj, old)
		w.Kind.DropDisabled(obj, old)
		restoreSystemMetadata(obj, old)
	} else {
		runPrepareForUpdate(w.Kind, obj, old)
	}
	runDefault(w.Kind, obj)
}

// countChange raises the generation of an object whose desired state has
// changed, be it by the writer or by admission.
func countChange(w Write, obj, old kinds.Object) {
	if w.Subresource == "status" || w.Subresource == "finalize" {
		return
	}
	if changed := w.Kind.Strategy.SpecChanged; changed != nil && changed(obj, old) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// validateChanged returns the kind's rules that a change breaks.
func validateChanged(w Write, obj, old kinds.Object) field.ErrorList {
	if w.Subresource == "status" {
		return runValidateStatusUpdate(w.Kind, obj, old)
	}
	if part, ok := w.Kind.Strategy.Parts[w.Subresource]; ok {
		return runValidatePart(w.Kind, part, obj, old)
	}
	return runValidateUpdate(w.Kind, obj, old)
}

// prepareFinalize keeps everything but a Namespace's spec.finalizers.
func prepareFinalize(obj, old kinds.Object) {
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		return
	}
	finalizers := ns.Spec.Finalizers
	old.(*corev1.Namespace).DeepCopyInto(ns)
	ns.Spec.Finalizers = finalizers
}

// outcomeOf decides whether a changed object is stored or, having lost the
// last thing that held it back from deletion, removed.
func (r *Registry) outcomeOf(ctx context.Context, w Write, obj kinds.Object, cur *cache.Version) (outcome, error) {
	if deletionComplete(obj) {
		return r.removal(cur.Object()), nil
	}
	out := outcome{object: obj, trace: client.TraceOf(ctx)}
	if w.Subresource == "status" {
		out.trace = cur.Trace
	}
	ops, err := r.claims(ctx, w, obj, cur.Object())
	if err != nil {
		return out, err
	}
	out.ops = ops
	out.charge, err = r.quotas.charge(ctx, w, obj, cur.Object())
	return out, err
}

// deletionComplete says whether nothing holds an object back any longer.
func deletionComplete(obj kinds.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := obj.(*corev1.Namespace); ok {
		return len(ns.Spec.Finalizers) == 0
	}
	grace := obj.GetDeletionGracePeriodSeconds()
	return grace != nil && *grace == 0
}

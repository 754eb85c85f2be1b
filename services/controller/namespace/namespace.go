// Package namespace empties namespaces that are being deleted and lets them go
// once nothing is left, saying until then in their conditions what remains.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/runner"
)

// settleTime is when a namespace is looked at again whose last objects the
// Store and the inventory disagree about.
const settleTime = time.Second

type reconciler struct {
	client     *client.Client
	namespaces *client.Informer[*corev1.Namespace]
	inventory  *inventory.Inventory
}

// New returns the controller of namespaces' deletion.
func New(deps runner.Deps, inv *inventory.Inventory) (*runner.Controller, error) {
	namespaces, err := client.InformerFor[*corev1.Namespace](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, namespaces: namespaces, inventory: inv}
	c := runner.New("namespace", r, deps, runner.Options{Trace: namespaces.TraceContext})
	runner.Primary(c, namespaces)
	wake := func(obj inventory.Found) {
		if ns, ok := namespaces.GetByKey(obj.Namespace); ok && ns.DeletionTimestamp != nil {
			c.Enqueue(obj.Namespace)
		}
	}
	inv.AddHandler(inventory.Handler{
		OnAdd:    wake,
		OnUpdate: func(_ *inventory.Object, obj inventory.Found) { wake(obj) },
		OnDelete: wake,
	})
	return c, nil
}

// kinds returns all that can be in a namespace.
func (r *reconciler) kinds() []*kinds.Kind {
	return slices.DeleteFunc(r.inventory.Kinds(), func(kind *kinds.Kind) bool { return !kind.Namespaced })
}

// Reconcile moves the deletion of one namespace on.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	ns, ok := r.namespaces.GetByKey(key)
	if !ok || ns.DeletionTimestamp == nil {
		return runner.Done(), nil
	}
	if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return runner.Done(), r.remove(ctx, ns)
	}
	left, failure := r.empty(ctx, key)
	if failure == nil && len(left) == 0 {
		return r.finish(ctx, ns)
	}
	if err := r.writeConditions(ctx, ns, left, failure); err != nil {
		return runner.Done(), err
	}
	return runner.Done(), failure // each object that goes brings us back
}

// empty deletes what the inventory knows in the namespace and is not being
// deleted yet, and returns what is left. Pods go first, alone: they may rely on
// the rest, as on the policies that keep others from reaching them (KEP-5080).
func (r *reconciler) empty(ctx context.Context, namespace string) (left []remaining, failure error) {
	all := r.kinds()
	pods := slices.IndexFunc(all, func(kind *kinds.Kind) bool { return kind.Kind == "Pod" && kind.Group == corev1.GroupName })
	found := r.inventory.InNamespace(all[pods], namespace)
	if len(found) == 0 {
		// One that was created just before the namespace was deleted may not be in
		// the inventory yet.
		if found, failure = r.client.ListMetadata(ctx, all[pods], namespace); failure != nil {
			return nil, fmt.Errorf("list the pods that are left: %w", failure)
		}
	}
	if len(found) > 0 {
		return []remaining{remainingOf(all[pods], found)}, r.deleteSome(ctx, all[pods], namespace, found)
	}
	var errs []error
	for _, kind := range all {
		if objs := r.inventory.InNamespace(kind, namespace); len(objs) > 0 {
			left = append(left, remainingOf(kind, objs))
			errs = append(errs, r.deleteSome(ctx, kind, namespace, objs))
		}
	}
	return left, errors.Join(errs...)
}

// deleteSome deletes what there is of a kind unless all of it is being deleted.
func (r *reconciler) deleteSome(ctx context.Context, kind *kinds.Kind, namespace string, objs []*inventory.Object) error {
	if !slices.ContainsFunc(objs, func(o *inventory.Object) bool { return o.DeletionTimestamp == nil }) {
		return nil
	}
	return r.deleteAll(ctx, kind, namespace)
}

func (r *reconciler) deleteAll(ctx context.Context, kind *kinds.Kind, namespace string) error {
	err := r.client.DeleteCollection(ctx, kind, namespace, client.DeleteOptions{Propagation: metav1.DeletePropagationBackground})
	if err != nil {
		return fmt.Errorf("delete all %s: %w", kind.GroupResource(), err)
	}
	return nil
}

// finish asks the Store, which alone knows, whether the namespace is empty,
// and takes the finalizer off if it is.
func (r *reconciler) finish(ctx context.Context, ns *corev1.Namespace) (runner.Outcome, error) {
	if err := r.inventory.Refresh(ctx); err != nil {
		return runner.Done(), err
	}
	empty := true
	for _, kind := range r.kinds() {
		objs, err := r.client.ListMetadata(ctx, kind, ns.Name)
		if err != nil {
			return runner.Done(), fmt.Errorf("list the %s that are left: %w", kind.GroupResource(), err)
		}
		if len(objs) == 0 {
			continue
		}
		if kind.Kind != "Event" { // events are in no inventory, and go at once
			empty = false
		}
		if err := r.deleteAll(ctx, kind, ns.Name); err != nil {
			return runner.Done(), err
		}
	}
	if !empty {
		return runner.RequeueAfter(settleTime), nil
	}
	finalized := ns.DeepCopy()
	finalized.Spec.Finalizers = slices.DeleteFunc(finalized.Spec.Finalizers, func(f corev1.FinalizerName) bool {
		return f == corev1.FinalizerKubernetes
	})
	err := r.client.UpdateSubresource(ctx, finalized, "finalize")
	if err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("finalize the namespace: %w", err)
	}
	return runner.Done(), nil
}

// remove deletes a namespace that has been finalized and is still there.
func (r *reconciler) remove(ctx context.Context, ns *corev1.Namespace) error {
	if len(ns.Spec.Finalizers) > 0 || len(ns.Finalizers) > 0 {
		return nil // others' finalizers
	}
	err := r.client.Delete(ctx, ns, client.DeleteOptions{UID: ns.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove the namespace: %w", err)
	}
	return nil
}

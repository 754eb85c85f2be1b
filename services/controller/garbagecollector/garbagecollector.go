// Package garbagecollector deletes what has lost its owners, and lets owners
// go once their dependents allow it.
//
// An object is deleted in one of three ways, which the Store notes on it:
//
//   - background: it goes at once; then its dependents are found without an
//     owner and are deleted here.
//   - foreground: it gets the finalizer foregroundDeletion; its dependents are
//     deleted first, and when none is left that blocks it, the finalizer is
//     taken off here.
//   - orphan: it gets the finalizer orphan; its dependents' references to it
//     are taken off, then the finalizer.
//
// An owner is known by its uid: one of the same name with another uid is
// another object. That an owner is absent is never concluded from the
// inventory, which may be behind, but only from the Store.
package garbagecollector

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/lru"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/runner"
)

// absentRemembered bounds the memory of owners that are gone; uids are never
// used again, so what is in it stays true.
const absentRemembered = 1000

type reconciler struct {
	client     *client.Client
	inventory  *inventory.Inventory
	controller *runner.Controller
	// absent are the uids of owners that the Store said are gone.
	absent *lru.Cache
}

// New returns the garbage collector. Its keys name any object, as
// "resource.version.group:namespace/name".
func New(deps runner.Deps, inv *inventory.Inventory) (*runner.Controller, error) {
	r := &reconciler{client: deps.Client, inventory: inv, absent: lru.New(absentRemembered)}
	r.controller = runner.New("garbagecollector", r, deps, runner.Options{})
	inv.AddHandler(inventory.Handler{OnAdd: r.onAdd, OnUpdate: r.onUpdate, OnDelete: r.onDelete})
	return r.controller, nil
}

func keyOf(kind *kinds.Kind, namespace, name string) string {
	gvr := kind.GVR()
	return gvr.Resource + "." + gvr.Version + "." + gvr.Group + ":" + cache.NewObjectName(namespace, name).String()
}

func (r *reconciler) parseKey(key string) (kind *kinds.Kind, namespace, name string, err error) {
	resource, object, _ := strings.Cut(key, ":")
	gvr, _ := schema.ParseResourceArg(resource)
	if gvr == nil {
		return nil, "", "", fmt.Errorf("key %q names no resource", key)
	}
	kind, ok := r.inventory.Kind(*gvr)
	if !ok {
		return nil, "", "", fmt.Errorf("key %q names no known resource", key)
	}
	namespace, name, err = cache.SplitMetaNamespaceKey(object)
	return kind, namespace, name, err
}

// onAdd looks at objects that depend on others, and at those that wait for
// their dependents.
func (r *reconciler) onAdd(obj inventory.Found) {
	if len(obj.OwnerReferences) > 0 || waits(obj.Object) {
		r.controller.Enqueue(keyOf(obj.Kind, obj.Namespace, obj.Name))
	}
}

func (r *reconciler) onUpdate(old *inventory.Object, obj inventory.Found) {
	refsChanged := !slices.EqualFunc(old.OwnerReferences, obj.OwnerReferences, sameReference)
	if refsChanged {
		r.enqueueOwners(obj.Namespace, old.OwnerReferences)
	}
	if refsChanged && len(obj.OwnerReferences) > 0 || waits(obj.Object) {
		r.controller.Enqueue(keyOf(obj.Kind, obj.Namespace, obj.Name))
	}
}

// onDelete looks at what depended on the object, and at owners that may have
// waited for its end.
func (r *reconciler) onDelete(obj inventory.Found) {
	dependents, err := r.inventory.Dependents(obj.UID)
	if err != nil {
		return // the index is always there
	}
	for _, d := range dependents {
		r.controller.Enqueue(keyOf(d.Kind, d.Namespace, d.Name))
	}
	r.enqueueOwners(obj.Namespace, obj.OwnerReferences)
}

// enqueueOwners has those of the owners looked at that wait for dependents.
func (r *reconciler) enqueueOwners(namespace string, refs []metav1.OwnerReference) {
	for _, ref := range refs {
		kind, ok := r.inventory.OwnerKind(ref)
		if !ok {
			continue
		}
		if owner, ok := r.inventory.Get(kind, ownerNamespace(kind, namespace), ref.Name); ok && waits(owner) {
			r.controller.Enqueue(keyOf(kind, owner.Namespace, owner.Name))
		}
	}
}

// ownerNamespace is where an owner of a dependent in the namespace is.
func ownerNamespace(kind *kinds.Kind, dependent string) string {
	if kind.Namespaced {
		return dependent
	}
	return ""
}

func sameReference(a, b metav1.OwnerReference) bool {
	return a.UID == b.UID && blocks(a) == blocks(b)
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// waits says whether an object is being deleted and waits for us.
func waits(obj *inventory.Object) bool {
	return obj.DeletionTimestamp != nil &&
		(slices.Contains(obj.Finalizers, metav1.FinalizerOrphanDependents) || deletesDependents(obj))
}

// deletesDependents says whether an object is being deleted in the foreground.
func deletesDependents(obj *inventory.Object) bool {
	return obj.DeletionTimestamp != nil && slices.Contains(obj.Finalizers, metav1.FinalizerDeleteDependents)
}

// Reconcile looks at one object.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	kind, namespace, name, err := r.parseKey(key)
	if err != nil {
		return runner.Done(), runner.Terminal(err)
	}
	obj, ok := r.inventory.Get(kind, namespace, name)
	if !ok {
		return runner.Done(), nil
	}
	found := inventory.Found{Kind: kind, Object: obj}
	switch {
	case obj.DeletionTimestamp != nil && slices.Contains(obj.Finalizers, metav1.FinalizerOrphanDependents):
		return runner.Done(), r.orphan(ctx, found)
	case deletesDependents(obj):
		return runner.Done(), r.deleteDependents(ctx, found)
	case obj.DeletionTimestamp != nil:
		return runner.Done(), nil
	default:
		return r.collect(ctx, found)
	}
}

// wasAbsent and noteAbsent remember owners that are gone.
func (r *reconciler) wasAbsent(uid types.UID) bool {
	_, ok := r.absent.Get(uid)
	return ok
}

func (r *reconciler) noteAbsent(uid types.UID) { r.absent.Add(uid, struct{}{}) }

package garbagecollector

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/runner"
)

// owners sorts an object's owner references by what has become of the owners.
type owners struct {
	// solid owners are there and keep the object.
	solid []metav1.OwnerReference
	// waiting owners are being deleted in the foreground.
	waiting []metav1.OwnerReference
	// dangling references name owners that are gone.
	dangling []metav1.OwnerReference
	// again is when to look at the object again, since nobody will tell of the end
	// of one of its owners; 0 is never.
	again time.Duration
}

const (
	// unseenPeriod is longer than it takes, as a rule, to see what the Store knows.
	unseenPeriod = 5 * time.Second
	// unknownPeriod is how often kinds are looked for that there were not.
	unknownPeriod = 10 * time.Second
)

// collect deletes an object without an owner, and takes references to owners
// that are gone, or on their way, off one that has another.
func (r *reconciler) collect(ctx context.Context, obj inventory.Found) (runner.Outcome, error) {
	if len(obj.OwnerReferences) == 0 {
		return runner.Done(), nil
	}
	o, err := r.classify(ctx, obj)
	if err != nil {
		return runner.Done(), err
	}
	outcome := runner.RequeueAfter(o.again)
	lost := slices.Concat(o.dangling, o.waiting)
	switch {
	case len(o.solid) > 0 && len(lost) > 0:
		return outcome, r.dropReferences(ctx, obj, lost)
	case len(o.solid) > 0:
		return outcome, nil
	case len(o.waiting) > 0:
		return outcome, r.deleteInForeground(ctx, obj)
	default:
		return outcome, r.delete(ctx, obj, propagation(obj))
	}
}

// propagation keeps the way of deletion that an object's finalizers ask for.
func propagation(obj inventory.Found) metav1.DeletionPropagation {
	switch {
	case slices.Contains(obj.Finalizers, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(obj.Finalizers, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	default:
		return metav1.DeletePropagationBackground
	}
}

// deleteInForeground deletes a dependent of an owner that waits: with
// dependents of its own, it in turn waits for them.
func (r *reconciler) deleteInForeground(ctx context.Context, obj inventory.Found) error {
	dependents, err := r.inventory.Dependents(obj.UID)
	if err != nil {
		return err
	}
	if len(dependents) > 0 {
		return r.delete(ctx, obj, metav1.DeletePropagationForeground)
	}
	return r.delete(ctx, obj, propagation(obj))
}

// delete deletes the very version that was judged: if its references have
// changed meanwhile it may not be garbage any more.
func (r *reconciler) delete(ctx context.Context, obj inventory.Found, p metav1.DeletionPropagation) error {
	err := r.client.DeleteNamed(ctx, obj.Kind, obj.Namespace, obj.Name, client.DeleteOptions{UID: obj.UID, ResourceVersion: obj.ResourceVersion, Propagation: p})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s/%s: %w", obj.Kind.Resource, obj.Namespace, obj.Name, err)
	}
	return nil
}

func (r *reconciler) classify(ctx context.Context, obj inventory.Found) (owners, error) {
	var o owners
	for _, ref := range obj.OwnerReferences {
		owner, found, err := r.owner(ctx, obj.Namespace, ref)
		switch {
		case err != nil:
			return o, err
		case found == unknown:
			o.solid, o.again = append(o.solid, ref), max(o.again, unknownPeriod)
		case owner == nil:
			o.dangling = append(o.dangling, ref)
		case deletesDependents(owner):
			o.waiting = append(o.waiting, ref)
		case found == unseen:
			o.solid, o.again = append(o.solid, ref), max(o.again, unseenPeriod)
		default:
			o.solid = append(o.solid, ref)
		}
	}
	return o, nil
}

// sight says how much is known of an owner.
type sight int

const (
	// unknown owners are of a kind that this cluster does not have: nothing can be
	// said of them, for now.
	unknown sight = iota
	// unseen owners are there, as the Store says, and not in the inventory yet. They
	// may be gone before they are, without a word.
	unseen
	// seen owners are in the inventory, or will never be, or are gone.
	seen
)

// owner returns the owner that a reference names, nil if it is gone.
func (r *reconciler) owner(ctx context.Context, namespace string, ref metav1.OwnerReference) (*inventory.Object, sight, error) {
	kind, ok := r.inventory.OwnerKind(ref)
	if !ok {
		return nil, unknown, nil
	}
	if kind.Namespaced && namespace == "" {
		return nil, unknown, nil // no object outside namespaces can be owned by one inside
	}
	namespace = ownerNamespace(kind, namespace)
	if owner, ok := r.inventory.Get(kind, namespace, ref.Name); ok && owner.UID == ref.UID {
		return owner, seen, nil
	}
	if r.wasAbsent(ref.UID) {
		return nil, seen, nil
	}
	owner, err := r.client.GetMetadata(ctx, kind, namespace, ref.Name)
	if apierrors.IsNotFound(err) || (err == nil && owner.UID != ref.UID) {
		r.noteAbsent(ref.UID)
		return nil, seen, nil
	}
	if err != nil {
		return nil, unseen, fmt.Errorf("look for owner %s %s/%s: %w", kind.Resource, namespace, ref.Name, err)
	}
	if !r.inventory.Follows(kind) {
		return owner, seen, nil
	}
	return owner, unseen, nil
}

// deleteDependents has the dependents of an owner that is being deleted in the
// foreground looked at, and lets the owner go when none blocks it. One that waits
// for the owner in turn, in a circle, is made to block nobody.
func (r *reconciler) deleteDependents(ctx context.Context, owner inventory.Found) error {
	dependents, err := r.inventory.Dependents(owner.UID)
	if err != nil {
		return err
	}
	blocked := false
	for _, d := range dependents {
		if d.DeletionTimestamp == nil {
			r.controller.Enqueue(keyOf(d.Kind, d.Namespace, d.Name))
		}
		if !blocksOwner(d, owner.UID) {
			continue
		}
		blocked = true
		circle, err := r.waitsFor(d, owner.UID, make(map[types.UID]bool))
		if err != nil {
			return err
		}
		if circle {
			return r.unblock(ctx, d) // which brings us back
		}
	}
	if blocked {
		return nil // the end of each dependent brings us back
	}
	return r.dropFinalizer(ctx, owner, metav1.FinalizerDeleteDependents)
}

func blocksOwner(obj inventory.Found, owner types.UID) bool {
	return slices.ContainsFunc(obj.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == owner && blocks(ref) })
}

// waitsFor says whether an object that is being deleted waits for the end of
// another, over any number of others. seen are those that were looked at.
func (r *reconciler) waitsFor(obj inventory.Found, other types.UID, seen map[types.UID]bool) (bool, error) {
	if !deletesDependents(obj.Object) || seen[obj.UID] {
		return false, nil
	}
	seen[obj.UID] = true
	dependents, err := r.inventory.Dependents(obj.UID)
	if err != nil {
		return false, err
	}
	for _, d := range dependents {
		if !blocksOwner(d, obj.UID) {
			continue
		}
		if d.UID == other {
			return true, nil
		}
		if found, err := r.waitsFor(d, other, seen); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// orphan frees an owner's dependents, then the owner.
func (r *reconciler) orphan(ctx context.Context, owner inventory.Found) error {
	dependents, err := r.inventory.Dependents(owner.UID)
	if err != nil {
		return err
	}
	for _, d := range dependents {
		if err := r.dropReferences(ctx, d, []metav1.OwnerReference{{UID: owner.UID}}); err != nil {
			return err
		}
	}
	return r.dropFinalizer(ctx, owner, metav1.FinalizerOrphanDependents)
}

func hasUID(refs []metav1.OwnerReference, uid types.UID) bool {
	return slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool { return r.UID == uid })
}

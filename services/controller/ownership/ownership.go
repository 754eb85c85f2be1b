// Package ownership decides which objects belong to an owner: those whose
// controller reference names it, and those without one that its selector
// matches, which it adopts. An object that has left the selector is released.
package ownership

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// index is the name of the index by the uid of the controller.
const index = "controller"

// Indexers returns what an informer needs for Owned.
func Indexers() cache.Indexers {
	return cache.Indexers{index: func(v any) ([]string, error) {
		obj, ok := v.(metav1.Object)
		if !ok {
			return nil, fmt.Errorf("index a %T by its controller: not an API object", v)
		}
		if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
			return []string{string(ref.UID)}, nil
		}
		return nil, nil
	}}
}

// Owned returns the objects whose controller has the uid.
func Owned[T kinds.Object](informer *client.Informer[T], uid types.UID) ([]T, error) {
	return informer.ByIndex(index, string(uid))
}

// Claimer adopts and releases on behalf of one owner.
type Claimer struct {
	Client   *client.Client
	Owner    kinds.Object
	Selector labels.Selector
	// Finalizer is what objects that are adopted get, in the same write; "" is
	// none.
	Finalizer string
}

// Claim returns the candidates that belong to the owner, after adopting and
// releasing where needed. Objects that vanish meanwhile are skipped.
func Claim[T kinds.Object](ctx context.Context, c Claimer, candidates []T) ([]T, error) {
	owner, err := kinds.Default().ForObject(c.Owner)
	if err != nil {
		return nil, err
	}
	var claimed []T
	var verified bool // the owner was read from the Store, once for all adoptions
	for _, obj := range candidates {
		ref := metav1.GetControllerOfNoCopy(obj)
		matches := c.Selector.Matches(labels.Set(obj.GetLabels()))
		switch {
		case ref != nil && ref.UID != c.Owner.GetUID():
		case ref != nil && matches:
			claimed = append(claimed, obj)
		case ref != nil:
			if c.Owner.GetDeletionTimestamp() == nil {
				if err := release(ctx, c, obj); err != nil {
					return nil, err
				}
			}
		case !matches || c.Owner.GetDeletionTimestamp() != nil || obj.GetDeletionTimestamp() != nil:
		default:
			if !verified {
				if err := verifyOwner(ctx, c, owner); err != nil {
					return nil, err
				}
				verified = true
			}
			adopted, ok, err := adopt(ctx, c, owner, obj)
			if err != nil {
				return nil, err
			}
			if ok {
				claimed = append(claimed, adopted)
			}
		}
	}
	return claimed, nil
}

// verifyOwner asks the Store whether the owner still is, and is not being
// deleted: an adoption on behalf of a dead owner would be a death sentence for
// the adopted.
func verifyOwner(ctx context.Context, c Claimer, kind *kinds.Kind) error {
	fresh, err := c.Client.GetMetadata(ctx, kind, c.Owner.GetNamespace(), c.Owner.GetName())
	if err != nil {
		return fmt.Errorf("verify the owner before an adoption: %w", err)
	}
	if fresh.GetUID() != c.Owner.GetUID() || fresh.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s %s/%s is gone or being deleted: it adopts nothing",
			kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName())
	}
	return nil
}

func adopt[T kinds.Object](ctx context.Context, c Claimer, owner *kinds.Kind, obj T) (adopted T, ok bool, err error) {
	adopted, ok = obj.DeepCopyObject().(T)
	if !ok {
		return adopted, false, fmt.Errorf("a copy of a %T has another type", obj)
	}
	adopted.SetOwnerReferences(append(adopted.GetOwnerReferences(), *metav1.NewControllerRef(c.Owner, owner.GVK())))
	if finalizers := adopted.GetFinalizers(); c.Finalizer != "" && !slices.Contains(finalizers, c.Finalizer) {
		adopted.SetFinalizers(append(finalizers, c.Finalizer))
	}
	err = c.Client.Update(ctx, adopted)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return adopted, false, nil
	}
	if err != nil {
		return adopted, false, fmt.Errorf("adopt %s: %w", cache.MetaObjectToName(obj), err)
	}
	return adopted, true, nil
}

func release(ctx context.Context, c Claimer, obj kinds.Object) error {
	free, ok := obj.DeepCopyObject().(kinds.Object)
	if !ok {
		return fmt.Errorf("a copy of a %T has another type", obj)
	}
	free.SetOwnerReferences(slices.DeleteFunc(free.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return r.UID == c.Owner.GetUID()
	}))
	err := c.Client.Update(ctx, free)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release %s: %w", cache.MetaObjectToName(obj), err)
	}
	return nil
}

package garbagecollector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/inventory"
)

// dropReferences takes references, known by their uids, off an object.
func (r *reconciler) dropReferences(ctx context.Context, obj inventory.Found, drop []metav1.OwnerReference) error {
	kept := slices.DeleteFunc(slices.Clone(obj.OwnerReferences), func(ref metav1.OwnerReference) bool { return hasUID(drop, ref.UID) })
	return r.patchMetadata(ctx, obj, "ownerReferences", kept)
}

// unblock lets the owners of an object go before it.
func (r *reconciler) unblock(ctx context.Context, obj inventory.Found) error {
	refs := slices.Clone(obj.OwnerReferences)
	for i := range refs {
		if blocks(refs[i]) {
			refs[i].BlockOwnerDeletion = ptr.To(false)
		}
	}
	return r.patchMetadata(ctx, obj, "ownerReferences", refs)
}

// dropFinalizer takes a finalizer off an object.
func (r *reconciler) dropFinalizer(ctx context.Context, obj inventory.Found, finalizer string) error {
	kept := slices.DeleteFunc(slices.Clone(obj.Finalizers), func(f string) bool { return f == finalizer })
	return r.patchMetadata(ctx, obj, "finalizers", kept)
}

// patchMetadata sets one list of the version that was judged; a conflict means
// that a newer one is on its way to the inventory. An object that is gone
// needs no patch.
func (r *reconciler) patchMetadata(ctx context.Context, obj inventory.Found, field string, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": obj.UID, "resourceVersion": obj.ResourceVersion, field: value,
	}})
	if err != nil {
		return fmt.Errorf("encode the new %s: %w", field, err)
	}
	err = r.client.PatchNamed(ctx, obj.Kind, obj.Namespace, obj.Name, patch)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("set %s of %s %s/%s: %w", field, obj.Kind.Resource, obj.Namespace, obj.Name, err)
	}
	return nil
}

package admission

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// storageInUse keeps volumes, claims and their attributes' classes from being removed while something
// uses them.
type storageInUse struct{ noValidation }

// Mutate implements Plugin.
func (storageInUse) Mutate(_ context.Context, r *Request) error {
	if !r.creates() {
		return nil
	}
	var finalizer string
	switch r.Object.(type) {
	case *corev1.PersistentVolume:
		finalizer = kinds.VolumeProtectionFinalizer
	case *corev1.PersistentVolumeClaim:
		finalizer = kinds.ClaimProtectionFinalizer
	case *storagev1.VolumeAttributesClass:
		finalizer = kinds.AttributesClassProtectionFinalizer
	default:
		return nil
	}
	if have := r.Object.GetFinalizers(); !slices.Contains(have, finalizer) {
		r.Object.SetFinalizers(append(have, finalizer))
	}
	return nil
}

// claimResize lets a claim grow only if it has a volume, and its storage class
// can expand volumes.
type claimResize struct {
	noMutation
	reader access.Reader
}

// Validate implements Plugin.
func (p claimResize) Validate(ctx context.Context, r *Request) error {
	claim, ok := r.Object.(*corev1.PersistentVolumeClaim)
	if !ok || r.Operation != Update || r.Subresource != "" {
		return nil
	}
	old, ok := r.Old.(*corev1.PersistentVolumeClaim)
	if !ok || claim.Spec.Resources.Requests.Storage().Cmp(*old.Spec.Resources.Requests.Storage()) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), errors.New("Only bound persistent volume claims can be expanded"))
	}
	expands, err := p.expands(ctx, claim, old)
	if err != nil {
		return err
	}
	if !expands {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
			errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}
	return nil
}

func (p claimResize) expands(ctx context.Context, claim, old *corev1.PersistentVolumeClaim) (bool, error) {
	name := volume.GetPersistentVolumeClaimClass(claim)
	if name == "" || name != volume.GetPersistentVolumeClaimClass(old) {
		return false, nil
	}
	obj, err := p.reader.Get(ctx, storageClasses(), "", name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	class, ok := obj.(*storagev1.StorageClass)
	return ok && ptr.Deref(class.AllowVolumeExpansion, false), nil
}

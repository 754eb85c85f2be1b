package persistentvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
)

// bind writes what is missing of a binding, in an order in which it can be
// taken up anywhere: the volume is taken for the claim, then shown Bound; the
// claim is given the volume, then shown Bound.
func (r *reconciler) bind(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) error {
	pv, err := r.takeVolume(ctx, claim, pv)
	if err != nil {
		return err
	}
	if err := r.showVolume(ctx, pv, corev1.VolumeBound); err != nil {
		return err
	}
	claim, err = r.giveVolume(ctx, claim, pv)
	if err != nil {
		return err
	}
	return r.showBound(ctx, claim, pv)
}

// takeVolume writes the volume's side.
func (r *reconciler) takeVolume(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	taken, dirty, err := volume.GetBindVolumeToClaim(pv, claim)
	if err != nil {
		return nil, fmt.Errorf("refer to claim %s: %w", claimKey(claim), err)
	}
	if !dirty {
		return pv, nil
	}
	if err := r.client.Update(ctx, taken); err != nil {
		return nil, fmt.Errorf("bind volume %s to claim %s: %w", pv.Name, claimKey(claim), err)
	}
	r.volumeBarrier.Wrote(claimKey(claim), taken)
	return taken, nil
}

// giveVolume writes the claim's side.
func (r *reconciler) giveVolume(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	if claim.Spec.VolumeName == pv.Name && bindCompleted(claim) {
		return claim, nil
	}
	given := claim.DeepCopy()
	if given.Spec.VolumeName != pv.Name {
		given.Spec.VolumeName = pv.Name
		metav1.SetMetaDataAnnotation(&given.ObjectMeta, volume.AnnBoundByController, "yes")
	}
	metav1.SetMetaDataAnnotation(&given.ObjectMeta, volume.AnnBindCompleted, "yes")
	if err := r.client.Update(ctx, given); err != nil {
		return nil, fmt.Errorf("bind claim %s to volume %s: %w", claimKey(claim), pv.Name, err)
	}
	r.claimBarrier.Wrote(claimKey(claim), given)
	return given, nil
}

// showBound writes the claim's status. The capacity of a claim that is bound
// already is for those to change who resize the volume.
func (r *reconciler) showBound(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) error {
	shown := claim.DeepCopy()
	shown.Status.AccessModes = pv.Spec.AccessModes
	shown.Status.CurrentVolumeAttributesClassName = pv.Spec.VolumeAttributesClassName
	if shown.Status.Phase != corev1.ClaimBound {
		shown.Status.Phase = corev1.ClaimBound
		shown.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: pv.Spec.Capacity[corev1.ResourceStorage]}
	}
	_, err := r.writeClaimStatus(ctx, claim, shown)
	return err
}

// setClaimPhase shows a claim that has no volume, and returns it as it is then.
func (r *reconciler) setClaimPhase(ctx context.Context, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase) (*corev1.PersistentVolumeClaim, error) {
	shown := claim.DeepCopy()
	shown.Status.Phase = phase
	if phase == corev1.ClaimPending {
		shown.Status.AccessModes, shown.Status.Capacity = nil, nil
	}
	return r.writeClaimStatus(ctx, claim, shown)
}

func (r *reconciler) writeClaimStatus(ctx context.Context, claim, shown *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	if equality.Semantic.DeepEqual(claim.Status, shown.Status) {
		return claim, nil
	}
	if err := r.client.UpdateStatus(ctx, shown); err != nil {
		return nil, fmt.Errorf("show claim %s as %s: %w", claimKey(claim), shown.Status.Phase, err)
	}
	r.claimBarrier.Wrote(claimKey(claim), shown)
	return shown, nil
}

// volumeOf returns a bound claim's volume, nil if there is none: the claim is
// about to be called lost, so the Store is asked.
func (r *reconciler) volumeOf(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	if pv, ok := r.volumes.Get("", claim.Spec.VolumeName); ok {
		return pv, nil
	}
	pv := &corev1.PersistentVolume{}
	err := r.client.Get(ctx, "", claim.Spec.VolumeName, pv)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the volume of claim %s: %w", claimKey(claim), err)
	}
	return pv, nil
}

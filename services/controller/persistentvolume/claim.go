package persistentvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/internal/storageclass"
)

// bindCompleted says that both sides of a claim's binding have been written.
func bindCompleted(claim *corev1.PersistentVolumeClaim) bool {
	_, ok := claim.Annotations[volume.AnnBindCompleted]
	return ok
}

func (r *reconciler) syncClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	switch {
	case bindCompleted(claim):
		return r.checkBinding(ctx, claim)
	case claim.DeletionTimestamp != nil:
		return nil // nobody is going to use it
	case claim.Spec.VolumeName != "":
		return r.bindNamed(ctx, claim)
	}
	return r.bindAny(ctx, claim)
}

// bindAny gives a claim the volume that suits it best, or has one made.
func (r *reconciler) bindAny(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	class, classKnown := r.classOf(claim)
	delayed := storageclass.IsDelayed(class)
	pv, err := r.bestMatch(claim, delayed)
	switch {
	case err != nil:
		return err
	case pv != nil:
		return r.bind(ctx, claim, pv)
	}
	if assigned, err := r.assignDefaultClass(ctx, claim); assigned || err != nil {
		return err
	}
	claim, err = r.setClaimPhase(ctx, claim, corev1.ClaimPending)
	if err != nil {
		return err
	}
	switch name := volume.GetPersistentVolumeClaimClass(claim); {
	case name == "":
		r.events.Event(claim, corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	case delayed && !volume.IsDelayBindingProvisioning(claim):
		r.events.Event(claim, corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	case !classKnown:
		r.warn(claim, "ProvisioningFailed", fmt.Sprintf("storageclass.storage.k8s.io %q not found", name))
	default:
		return r.requestVolume(ctx, claim, class)
	}
	return nil
}

// bestMatch returns the volume that is for this claim already, else the
// smallest that suits; nil if there is none. A delayed claim's volume is chosen
// by the scheduler.
func (r *reconciler) bestMatch(claim *corev1.PersistentVolumeClaim, delayed bool) (*corev1.PersistentVolume, error) {
	var fit []*corev1.PersistentVolume
	for _, place := range []string{byClaim(claimKey(claim)), byClass(volume.GetPersistentVolumeClaimClass(claim))} {
		all, err := r.volumes.ByIndex(candidatesIndex, place)
		if err != nil {
			return nil, err
		}
		for _, pv := range all {
			if volume.CheckAccessModes(claim, pv) {
				fit = append(fit, pv)
			}
		}
	}
	pv, err := volume.FindMatchingVolume(claim, fit, nil, nil, delayed, true)
	if err != nil {
		return nil, fmt.Errorf("find a volume for claim %s: %w", claimKey(claim), err)
	}
	return pv, nil
}

// bindNamed binds a claim whose user, or whose unfinished binding, names a
// volume.
func (r *reconciler) bindNamed(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	pv, ok := r.volumes.Get("", claim.Spec.VolumeName)
	switch {
	case !ok: // it may come yet
	case pv.Spec.ClaimRef == nil:
		reason := mismatch(claim, pv)
		if reason == "" {
			return r.bind(ctx, claim, pv)
		}
		r.warn(claim, "VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", pv.Name, reason))
	case volume.IsVolumeBoundToClaim(pv, claim):
		return r.bind(ctx, claim, pv)
	default:
		r.warn(claim, "FailedBinding", fmt.Sprintf("volume %q already bound to a different claim.", pv.Name))
	}
	_, err := r.setClaimPhase(ctx, claim, corev1.ClaimPending)
	return err
}

// mismatch says why a volume that a claim names does not suit it, "" if it
// does.
func mismatch(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) string {
	wanted, size := claim.Spec.Resources.Requests[corev1.ResourceStorage], pv.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case size.Cmp(wanted) < 0:
		return "requested PV is too small"
	case volume.GetPersistentVolumeClass(pv) != volume.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case ptr.Deref(pv.Spec.VolumeAttributesClassName, "") != ptr.Deref(claim.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	case volume.CheckVolumeModeMismatches(&claim.Spec, &pv.Spec):
		return "incompatible volumeMode"
	case !volume.CheckAccessModes(claim, pv):
		return "incompatible accessMode"
	}
	return ""
}

// checkBinding looks whether a bound claim still has its volume.
func (r *reconciler) checkBinding(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName == "" {
		return r.lose(ctx, claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	pv, err := r.volumeOf(ctx, claim)
	switch {
	case err != nil:
		return err
	case pv == nil:
		return r.lose(ctx, claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID == claim.UID:
		r.noteExpansion(claim, pv)
		return r.bind(ctx, claim, pv)
	}
	return r.lose(ctx, claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// noteExpansion says who has to enlarge the volume of a claim that has grown.
func (r *reconciler) noteExpansion(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
	wanted, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], pv.Spec.Capacity[corev1.ResourceStorage]
	if wanted.Cmp(have) > 0 && !localpath.Provisioned(pv) && claim.Status.Phase == corev1.ClaimBound {
		r.events.Event(claim, corev1.EventTypeNormal, "ExternalExpanding", "waiting for an external controller to expand this PVC")
	}
}

func (r *reconciler) lose(ctx context.Context, claim *corev1.PersistentVolumeClaim, reason, message string) error {
	if claim.Status.Phase == corev1.ClaimLost {
		return nil
	}
	if _, err := r.setClaimPhase(ctx, claim, corev1.ClaimLost); err != nil {
		return err
	}
	r.warn(claim, reason, message)
	return nil
}

func (r *reconciler) warn(claim *corev1.PersistentVolumeClaim, reason, message string) {
	r.events.Event(claim, corev1.EventTypeWarning, reason, message)
}

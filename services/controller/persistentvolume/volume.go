package persistentvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// syncVolume shows a volume in the phase that it is in, and sees to it once its
// claim is gone.
func (r *reconciler) syncVolume(ctx context.Context, pv *corev1.PersistentVolume) error {
	ref := pv.Spec.ClaimRef
	if ref == nil || ref.UID == "" { // free, or kept free by its user for a claim to come
		return r.showVolume(ctx, pv, corev1.VolumeAvailable)
	}
	claim, err := r.claimOf(ctx, pv)
	switch {
	case err != nil:
		return err
	case claim == nil:
		return r.release(ctx, pv)
	case claim.Spec.VolumeName == "":
		// The claim's own reconcile goes on with the binding, if it can.
		if volume.CheckVolumeModeMismatches(&claim.Spec, &pv.Spec) {
			message := fmt.Sprintf("Cannot bind PersistentVolume %q to requested PersistentVolumeClaim %q due to incompatible volumeMode.", pv.Name, claim.Name)
			r.events.Event(pv, corev1.EventTypeWarning, "VolumeMismatch", message)
			r.warn(claim, "VolumeMismatch", message)
		}
		return nil
	case claim.Spec.VolumeName == pv.Name:
		return r.showVolume(ctx, pv, corev1.VolumeBound)
	case pv.Annotations[volume.AnnDynamicallyProvisioned] != "" && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return r.release(ctx, pv) // made for the claim, which has taken another
	}
	return r.unbind(ctx, pv)
}

// claimOf returns the claim that a volume is for; nil if that is gone. The data
// may be removed then, so the Store is asked.
func (r *reconciler) claimOf(ctx context.Context, pv *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	ref := pv.Spec.ClaimRef
	if claim, ok := r.claims.Get(ref.Namespace, ref.Name); ok && claim.UID == ref.UID {
		return claim, nil
	}
	if pv.Status.Phase == corev1.VolumeReleased || pv.Status.Phase == corev1.VolumeFailed {
		return nil, nil
	}
	claim := &corev1.PersistentVolumeClaim{}
	err := r.client.Get(ctx, ref.Namespace, ref.Name, claim)
	switch {
	case apierrors.IsNotFound(err), err == nil && claim.UID != ref.UID:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the claim of volume %s: %w", pv.Name, err)
	}
	return claim, nil
}

// unbind makes a volume free again whose claim has taken another one. What its
// user wrote of the claim stays.
func (r *reconciler) unbind(ctx context.Context, pv *corev1.PersistentVolume) error {
	freed := pv.DeepCopy()
	if _, ours := freed.Annotations[volume.AnnBoundByController]; ours {
		freed.Spec.ClaimRef = nil
		delete(freed.Annotations, volume.AnnBoundByController)
	} else {
		freed.Spec.ClaimRef.UID = ""
		freed.Spec.ClaimRef.ResourceVersion = ""
	}
	if err := r.client.Update(ctx, freed); err != nil {
		return fmt.Errorf("unbind volume %s: %w", pv.Name, err)
	}
	return r.showVolume(ctx, freed, corev1.VolumeAvailable)
}

// release shows that a volume's claim is gone, and does what the reclaim policy
// asks for as far as it is not the provisioner's.
func (r *reconciler) release(ctx context.Context, pv *corev1.PersistentVolume) error {
	provisioned := pv.Annotations[volume.AnnDynamicallyProvisioned] != ""
	switch policy := pv.Spec.PersistentVolumeReclaimPolicy; {
	case policy == corev1.PersistentVolumeReclaimRecycle:
		return r.fail(ctx, pv, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
	case policy == corev1.PersistentVolumeReclaimDelete && !provisioned:
		return r.fail(ctx, pv, "VolumeFailedDelete",
			fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", pv.Name))
	case pv.Status.Phase == corev1.VolumeFailed:
		return nil // its provisioner says why
	}
	return r.showVolume(ctx, pv, corev1.VolumeReleased)
}

// fail shows that a released volume could not be reclaimed.
func (r *reconciler) fail(ctx context.Context, pv *corev1.PersistentVolume, reason, message string) error {
	if pv.Status.Phase == corev1.VolumeFailed && pv.Status.Message == message {
		return nil
	}
	if err := r.writeVolumeStatus(ctx, pv, corev1.PersistentVolumeStatus{Phase: corev1.VolumeFailed, Message: message}); err != nil {
		return err
	}
	r.events.Event(pv, corev1.EventTypeWarning, reason, message)
	return nil
}

func (r *reconciler) showVolume(ctx context.Context, pv *corev1.PersistentVolume, phase corev1.PersistentVolumePhase) error {
	if pv.Status.Phase == phase && pv.Status.Message == "" {
		return nil
	}
	return r.writeVolumeStatus(ctx, pv, corev1.PersistentVolumeStatus{Phase: phase})
}

// writeVolumeStatus also notes when the phase changed, as the Store does not.
func (r *reconciler) writeVolumeStatus(ctx context.Context, pv *corev1.PersistentVolume, status corev1.PersistentVolumeStatus) error {
	shown := pv.DeepCopy()
	status.LastPhaseTransitionTime = pv.Status.LastPhaseTransitionTime
	if pv.Status.Phase != status.Phase {
		status.LastPhaseTransitionTime = ptr.To(metav1.Now())
	}
	shown.Status = status
	if err := r.client.UpdateStatus(ctx, shown); err != nil {
		return fmt.Errorf("show volume %s as %s: %w", pv.Name, status.Phase, err)
	}
	return nil
}

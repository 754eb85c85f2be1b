package persistentvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/storageclass"
)

func (r *reconciler) classOf(claim *corev1.PersistentVolumeClaim) (*storagev1.StorageClass, bool) {
	name := volume.GetPersistentVolumeClaimClass(claim)
	if name == "" {
		return nil, false
	}
	return r.classes.GetByKey(name)
}

// assignDefaultClass gives a claim that says nothing of its class the default
// one, also one that was made before there was a default. A claim that asks for
// the class "" wants none.
func (r *reconciler) assignDefaultClass(ctx context.Context, claim *corev1.PersistentVolumeClaim) (assigned bool, err error) {
	if volume.PersistentVolumeClaimHasClass(claim) {
		return false, nil
	}
	class := r.defaultClass()
	if class == nil {
		return false, nil
	}
	given := claim.DeepCopy()
	given.Spec.StorageClassName = ptr.To(class.Name)
	if err := r.client.Update(ctx, given); err != nil {
		return false, fmt.Errorf("give claim %s the default class %s: %w", claimKey(claim), class.Name, err)
	}
	return true, nil
}

// defaultClass returns the newest of the classes that are marked as default;
// nil if none is.
func (r *reconciler) defaultClass() *storagev1.StorageClass {
	var newest *storagev1.StorageClass
	for _, class := range r.classes.List() {
		if !storageclass.IsDefault(class) {
			continue
		}
		if newest == nil || newer(class, newest) {
			newest = class
		}
	}
	return newest
}

func newer(a, b *storagev1.StorageClass) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return b.CreationTimestamp.Before(&a.CreationTimestamp)
}

// requestVolume asks the class's provisioner for a volume, by an annotation
// that it watches for.
func (r *reconciler) requestVolume(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	if class.Provisioner == volume.NotSupportedProvisioner {
		r.warn(claim, "ProvisioningFailed", "no volume plugin matched")
		return nil
	}
	if claim.Annotations[volume.AnnStorageProvisioner] != class.Provisioner {
		asking := claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&asking.ObjectMeta, volume.AnnStorageProvisioner, class.Provisioner)
		metav1.SetMetaDataAnnotation(&asking.ObjectMeta, volume.AnnBetaStorageProvisioner, class.Provisioner)
		if err := r.client.Update(ctx, asking); err != nil {
			return fmt.Errorf("ask %s for a volume for claim %s: %w", class.Provisioner, claimKey(claim), err)
		}
	}
	r.events.Event(claim, corev1.EventTypeNormal, "ExternalProvisioning", fmt.Sprintf(
		"Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner))
	return nil
}

package nodevolumelimits

import (
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	csitranslation "k8s.io/csi-translation-lib"

	"navarch.dev/navarch/services/scheduler/storage"
)

// migrated returns what a volume of a built-in kind is to its driver; nil if no
// driver attaches it.
func migrated(pv *corev1.PersistentVolume) *corev1.CSIPersistentVolumeSource {
	if storage.MigratedKind(pv) == "" {
		return nil
	}
	translated, err := storage.Migrated(pv)
	if err != nil {
		return nil // it is not counted, as its driver will not attach it
	}
	return translated.Spec.CSI
}

// handleOfInline returns the volume of a built-in kind that a pod names itself;
// false if it is none that a driver attaches.
func handleOfInline(v *corev1.Volume, namespace string) (handle, bool) {
	if v.AWSElasticBlockStore == nil && v.GCEPersistentDisk == nil && v.AzureDisk == nil && v.Cinder == nil && v.PortworxVolume == nil {
		return handle{}, false
	}
	translated, err := csitranslation.New().TranslateInTreeInlineVolumeToCSI(logr.Discard(), v, namespace)
	if err != nil || translated.Spec.CSI == nil {
		return handle{}, false
	}
	return handle{driver: translated.Spec.CSI.Driver, volume: translated.Spec.CSI.VolumeHandle}, true
}

// driverFor returns the driver that makes the volumes of a provisioner, which may
// be the name of a built-in kind.
func driverFor(provisioner string) string {
	if !storage.IsMigrated(provisioner) {
		return provisioner
	}
	driver, err := csitranslation.New().GetCSINameFromInTreeName(provisioner)
	if err != nil {
		return provisioner
	}
	return driver
}

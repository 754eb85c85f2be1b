package nodevolumelimits

import (
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/csi-translation-lib/plugins"
)

// migrated returns what a volume of a built-in kind is to its driver; nil if no
// driver attaches it.
func migrated(pv *corev1.PersistentVolume) *corev1.CSIPersistentVolumeSource {
	s := &pv.Spec.PersistentVolumeSource
	if s.AWSElasticBlockStore == nil && s.GCEPersistentDisk == nil && s.AzureDisk == nil && s.Cinder == nil && s.PortworxVolume == nil {
		return nil
	}
	translated, err := csitranslation.New().TranslateInTreePVToCSI(logr.Discard(), pv)
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
	if !isMigrated(provisioner) {
		return provisioner
	}
	driver, err := csitranslation.New().GetCSINameFromInTreeName(provisioner)
	if err != nil {
		return provisioner
	}
	return driver
}

// isMigrated says whether volumes of a built-in kind are counted for the driver
// that took its place: those that kube-scheduler 1.37 counts.
func isMigrated(kind string) bool {
	switch kind {
	case plugins.AWSEBSInTreePluginName, plugins.GCEPDInTreePluginName, plugins.AzureDiskInTreePluginName,
		plugins.CinderInTreePluginName, plugins.PortworxVolumePluginName:
		return true
	}
	return false
}

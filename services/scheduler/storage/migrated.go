package storage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/csi-translation-lib/plugins"
)

// IsMigrated says whether a driver took the place of a built-in kind of volumes,
// "kubernetes.io/aws-ebs" and the like, in kube-scheduler 1.37.
func IsMigrated(kind string) bool {
	switch kind {
	case plugins.AWSEBSInTreePluginName, plugins.GCEPDInTreePluginName, plugins.AzureDiskInTreePluginName,
		plugins.CinderInTreePluginName, plugins.PortworxVolumePluginName:
		return true
	}
	return false
}

// MigratedKind returns the built-in kind of a volume whose place a driver took;
// "" if it is of none.
func MigratedKind(pv *corev1.PersistentVolume) string {
	s := &pv.Spec.PersistentVolumeSource
	switch {
	case s.AWSElasticBlockStore != nil:
		return plugins.AWSEBSInTreePluginName
	case s.GCEPersistentDisk != nil:
		return plugins.GCEPDInTreePluginName
	case s.AzureDisk != nil:
		return plugins.AzureDiskInTreePluginName
	case s.Cinder != nil:
		return plugins.CinderInTreePluginName
	case s.PortworxVolume != nil:
		return plugins.PortworxVolumePluginName
	}
	return ""
}

// Migrated returns a volume of a built-in kind as its driver would have made it:
// with the driver's names of zones in its node affinity, which also has those of
// its labels.
func Migrated(pv *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	migrated, err := csitranslation.New().TranslateInTreePVToCSI(logr.Discard(), pv)
	if err != nil {
		return nil, fmt.Errorf("persistentvolume %q as a volume of its CSI driver: %w", pv.Name, err)
	}
	return migrated, nil
}

// MigratedOn says whether a node leaves volumes of a built-in kind to the driver
// that took their place. Its CSINode says so, which may be nil.
func MigratedOn(node *storagev1.CSINode, kind string) bool {
	return node != nil && slices.Contains(strings.Split(node.Annotations[corev1.MigratedPluginsAnnotationKey], ","), kind)
}

// Package localpath is what the parts of the built-in provisioner agree on. It
// provisions PersistentVolumes that are folders of a node:
//
//   - a node's agent says in an annotation of its Node where it keeps them;
//   - the controller makes a PersistentVolume for a claim: a local volume below
//     that folder, kept to the node by its node affinity;
//   - the agent makes the folder when a pod first mounts the volume, and
//     removes it when the volume is deleted, which its finalizer waits for.
//
// What the agent may see and touch is told by the volume's label NodeLabel.
package localpath

import (
	"errors"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

const (
	// Provisioner is the name in StorageClasses.
	Provisioner = "navarch.dev/local-path"
	// ClassName is the StorageClass that every cluster has.
	ClassName = "local-path"
	// Finalizer keeps a deleted volume until its node has removed the data.
	Finalizer = "navarch.dev/local-path"
	// NodeLabel is the label of a volume that names its node.
	NodeLabel = "navarch.dev/node"
	// DirAnnotation is the annotation of a Node with the folder of its volumes.
	DirAnnotation = "navarch.dev/local-path-dir"
)

// isDefaultClass marks the class of claims that name none.
const isDefaultClass = "storageclass.kubernetes.io/is-default-class"

// Class is the StorageClass that every cluster begins with, its default.
func Class() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta:           metav1.ObjectMeta{Name: ClassName, Annotations: map[string]string{isDefaultClass: "true"}},
		Provisioner:          Provisioner,
		ReclaimPolicy:        ptr.To(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode:    ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
		AllowVolumeExpansion: ptr.To(true),
	}
}

// Provisioned says whether a volume is one of this provisioner's.
func Provisioned(pv *corev1.PersistentVolume) bool {
	return pv.Annotations[volume.AnnDynamicallyProvisioned] == Provisioner && pv.Spec.Local != nil
}

// Folder returns where a volume's data are on its node, whose volumes are in
// dir. What is elsewhere is not the provisioner's to make or remove.
func Folder(pv *corev1.PersistentVolume, dir string) (string, error) {
	if !Provisioned(pv) {
		return "", errors.New("the volume was not made by the provisioner " + Provisioner)
	}
	path := pv.Spec.Local.Path
	if filepath.Clean(path) != path || filepath.Dir(path) != filepath.Clean(dir) || filepath.Base(path) != pv.Name {
		return "", fmt.Errorf("the path %q of the volume is not %q, where this node keeps it", path, filepath.Join(dir, pv.Name))
	}
	return path, nil
}

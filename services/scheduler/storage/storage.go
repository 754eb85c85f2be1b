// Package storage is what scheduler plugins see of claims and volumes.
//
//	storage.go   claims, volumes, classes and drivers
//	migrated.go  volumes of built-in kinds whose place a driver took
package storage

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Reader shows claims, volumes, classes and drivers as the watches have them. What it
// returns is shared and must not be changed.
type Reader interface {
	Claim(namespace, name string) (*corev1.PersistentVolumeClaim, bool)
	Volume(name string) (*corev1.PersistentVolume, bool)
	// Candidates returns the free volumes of a class, and those that are taken
	// for the claim.
	Candidates(class string, claim types.NamespacedName) []*corev1.PersistentVolume
	Class(name string) (*storagev1.StorageClass, bool)
	// CSINode returns what the storage drivers of a node can do.
	CSINode(node string) (*storagev1.CSINode, bool)
	CSIDriver(name string) (*storagev1.CSIDriver, bool)
	// Capacities returns what drivers tell of the space that they have for volumes
	// of a class.
	Capacities(class string) []*storagev1.CSIStorageCapacity
	// Attachments returns the volumes that are attached to a node, or are to be.
	Attachments(node string) []*storagev1.VolumeAttachment
}

// Cluster is a Reader that can also write bindings and wait for others to.
type Cluster interface {
	Reader
	// PodWaits says whether a pod is still there to be placed.
	PodWaits(pod *corev1.Pod) bool
	// UpdateClaim and UpdateVolume write an object and fill it with what was
	// stored.
	UpdateClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error
	UpdateVolume(ctx context.Context, pv *corev1.PersistentVolume) error
	// Changed returns what is closed at the next change of a claim, of a
	// volume, or of whether some pod waits.
	Changed() <-chan struct{}
}

// ClaimRef is a volume of a pod that is a claim.
type ClaimRef struct {
	Name string
	// Ephemeral says that the claim is the pod's own.
	Ephemeral bool
}

// ClaimsOf returns the claims that a pod refers to.
func ClaimsOf(pod *corev1.Pod) []ClaimRef {
	var refs []ClaimRef
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			refs = append(refs, ClaimRef{Name: v.PersistentVolumeClaim.ClaimName})
		case v.Ephemeral != nil:
			refs = append(refs, ClaimRef{Name: ephemeral.VolumeClaimName(pod, v), Ephemeral: true})
		}
	}
	return refs
}

// Uses says whether a pod refers to a claim.
func Uses(pod *corev1.Pod, namespace, name string) bool {
	return pod.Namespace == namespace && slices.ContainsFunc(ClaimsOf(pod), func(r ClaimRef) bool { return r.Name == name })
}

// IsBound says whether both sides of a claim's binding are written.
func IsBound(claim *corev1.PersistentVolumeClaim) bool {
	_, complete := claim.Annotations[volume.AnnBindCompleted]
	return claim.Spec.VolumeName != "" && complete
}

// Check returns a pod's claim, or why the pod cannot be placed with it.
func Check(reader Reader, pod *corev1.Pod, ref ClaimRef) (*corev1.PersistentVolumeClaim, error) {
	claim, ok := reader.Claim(pod.Namespace, ref.Name)
	switch {
	case !ok && ref.Ephemeral:
		return nil, fmt.Errorf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", ref.Name)
	case !ok:
		return nil, fmt.Errorf("persistentvolumeclaim %q not found", ref.Name)
	case claim.Status.Phase == corev1.ClaimLost:
		return nil, fmt.Errorf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", ref.Name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q is being deleted", ref.Name)
	case ref.Ephemeral:
		return claim, ephemeral.VolumeIsForPod(pod, claim)
	}
	return claim, nil
}

// Events are what can help a pod whose claims kept it from being placed.
func Events() []framework.EventHint {
	const changed = framework.Add | framework.Update
	return []framework.EventHint{
		{Resource: framework.PersistentVolumeClaim, Action: changed, Helps: isOfPod},
		{Resource: framework.PersistentVolume, Action: changed},
		{Resource: framework.StorageClass, Action: changed},
	}
}

// isOfPod says whether the pod uses the claim that has changed.
func isOfPod(pod *snapshot.PodInfo, e framework.Event) bool {
	claim, ok := e.New.(*corev1.PersistentVolumeClaim)
	return ok && Uses(pod.Pod, claim.Namespace, claim.Name)
}

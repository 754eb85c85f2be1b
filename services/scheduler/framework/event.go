package framework

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Resource is what an event is about.
type Resource string

const (
	// Node is a node.
	Node Resource = "Node"
	// AssignedPod is a pod on a node.
	AssignedPod Resource = "AssignedPod"
	// WaitingPod is the rejected pod itself.
	WaitingPod Resource = "WaitingPod"
	// Namespace is a namespace.
	Namespace Resource = "Namespace"
	// PersistentVolumeClaim is a claim.
	PersistentVolumeClaim Resource = "PersistentVolumeClaim"
	// PersistentVolume is a volume.
	PersistentVolume Resource = "PersistentVolume"
	// StorageClass is a class of volumes.
	StorageClass Resource = "StorageClass"
	// CSIDriver is a storage driver.
	CSIDriver Resource = "CSIDriver"
	// CSIStorageCapacity is what a storage driver can make volumes of.
	CSIStorageCapacity Resource = "CSIStorageCapacity"
	// CSINode is what the storage drivers of a node can do.
	CSINode Resource = "CSINode"
	// VolumeAttachment is a volume that is attached to a node.
	VolumeAttachment Resource = "VolumeAttachment"
	// ResourceClaim is a claim of devices.
	ResourceClaim Resource = "ResourceClaim"
	// ResourceSlice is what a driver publishes of its devices.
	ResourceSlice Resource = "ResourceSlice"
	// DeviceClass is a class of devices.
	DeviceClass Resource = "DeviceClass"
	// DeviceTaintRule taints devices.
	DeviceTaintRule Resource = "DeviceTaintRule"
)

// resources are all of them.
var resources = []Resource{
	Node, AssignedPod, WaitingPod, Namespace,
	PersistentVolumeClaim, PersistentVolume, StorageClass, CSIDriver, CSIStorageCapacity, CSINode, VolumeAttachment,
	ResourceClaim, ResourceSlice, DeviceClass, DeviceTaintRule,
}

// Action is what happened, as bits that can be combined.
type Action uint32

const (
	// Add is a new object.
	Add Action = 1 << iota
	// Delete is an object that has gone. A pod that ends counts as deleted.
	Delete
	// UpdateAllocatable is a change of what a node has for pods.
	UpdateAllocatable
	// UpdateNodeLabels is a change of a node's labels.
	UpdateNodeLabels
	// UpdateTaints is a change of a node's taints.
	UpdateTaints
	// UpdatePodLabels is a change of a pod's labels.
	UpdatePodLabels
	// ScaleDown is a pod that asks for less than before.
	ScaleDown
	// UpdateTolerations is a change of a pod's tolerations.
	UpdateTolerations
	// UpdateGates is a change of a pod's scheduling gates.
	UpdateGates
	// UpdateClaims is a change of which ResourceClaims a pod has.
	UpdateClaims
	// UpdateLabels of a namespace.
	UpdateLabels
	// Update is any change of a kind that has no finer ones.
	Update
)

// Event is something that happened in the cluster.
type Event struct {
	Resource Resource
	Action   Action
	// Old is nil on Add, New on Delete.
	Old, New kinds.Object
	// Only says which pods the event can help at all; nil is any. It must be quick
	// and must not lock.
	Only func(pod *snapshot.PodInfo) bool
}

// EventHint is an event that can help a pod that a plugin rejected.
type EventHint struct {
	Resource Resource
	Action   Action
	// Helps looks closer; nil is always. It must be quick and must not lock.
	Helps func(pod *snapshot.PodInfo, e Event) bool
}

// Covers says whether the event can help the pod.
func (h EventHint) Covers(pod *snapshot.PodInfo, e Event) bool {
	return h.Resource == e.Resource && h.Action&e.Action != 0 && (e.Only == nil || e.Only(pod)) && (h.Helps == nil || h.Helps(pod, e))
}

// PodChanges returns what a pod's update changed that bears on scheduling.
func PodChanges(old, pod *corev1.Pod) Action {
	var a Action
	if !maps.Equal(old.Labels, pod.Labels) {
		a |= UpdatePodLabels
	}
	if len(pod.Spec.SchedulingGates) < len(old.Spec.SchedulingGates) {
		a |= UpdateGates
	}
	if !equality.Semantic.DeepEqual(old.Spec.Tolerations, pod.Spec.Tolerations) {
		a |= UpdateTolerations
	}
	if scaledDown(old, pod) {
		a |= ScaleDown
	}
	if !equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) {
		a |= UpdateClaims
	}
	return a
}

func scaledDown(old, pod *corev1.Pod) bool {
	was, is := snapshot.NewPodInfo(old).Requests, snapshot.NewPodInfo(pod).Requests
	return was.Exceeds(is)
}

// NodeChanges returns what a node's update changed that bears on scheduling.
// Heartbeats change nothing.
func NodeChanges(old, node *corev1.Node) Action {
	var a Action
	if !equality.Semantic.DeepEqual(old.Status.Allocatable, node.Status.Allocatable) {
		a |= UpdateAllocatable
	}
	if !maps.Equal(old.Labels, node.Labels) {
		a |= UpdateNodeLabels
	}
	if old.Spec.Unschedulable != node.Spec.Unschedulable || !equality.Semantic.DeepEqual(old.Spec.Taints, node.Spec.Taints) {
		a |= UpdateTaints
	}
	return a
}

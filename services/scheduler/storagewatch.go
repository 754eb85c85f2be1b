package scheduler

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/scheduler/framework"
)

// candidatesIndex has volumes that may be bound: free ones by class, and those
// that are taken by their claim.
const candidatesIndex = "scheduler-candidates"

// capacityIndex has capacities by class.
const capacityIndex = "scheduler-capacities"

// attachedIndex has attachments by node.
const attachedIndex = "scheduler-attached"

// storageWatch follows claims, volumes, classes and drivers for the plugins. It
// implements storage.Cluster.
type storageWatch struct {
	client  *client.Client
	pods    *client.Informer[*corev1.Pod]
	claims  *client.Informer[*corev1.PersistentVolumeClaim]
	volumes *client.Informer[*corev1.PersistentVolume]
	classes *client.Informer[*storagev1.StorageClass]
	drivers *client.Informer[*storagev1.CSIDriver]
	// capacities say what drivers can make volumes of.
	capacities *client.Informer[*storagev1.CSIStorageCapacity]
	// csiNodes and attachments say what is attached to nodes, and may be.
	csiNodes    *client.Informer[*storagev1.CSINode]
	attachments *client.Informer[*storagev1.VolumeAttachment]
	// The signal is of changes of claims, of volumes, and of whether some pod waits.
	signal
}

func newStorageWatch(c *client.Client, informers *client.Informers, pods *client.Informer[*corev1.Pod]) (*storageWatch, error) {
	w := &storageWatch{client: c, pods: pods}
	var err error
	if w.claims, err = client.InformerFor[*corev1.PersistentVolumeClaim](informers, nil); err != nil {
		return nil, err
	}
	if w.volumes, err = client.InformerFor[*corev1.PersistentVolume](informers, cache.Indexers{candidatesIndex: candidateFor}); err != nil {
		return nil, err
	}
	if w.classes, err = client.InformerFor[*storagev1.StorageClass](informers, nil); err != nil {
		return nil, err
	}
	if w.drivers, err = client.InformerFor[*storagev1.CSIDriver](informers, nil); err != nil {
		return nil, err
	}
	if w.capacities, err = client.InformerFor[*storagev1.CSIStorageCapacity](informers, cache.Indexers{capacityIndex: classOfCapacity}); err != nil {
		return nil, err
	}
	if w.csiNodes, err = client.InformerFor[*storagev1.CSINode](informers, nil); err != nil {
		return nil, err
	}
	if w.attachments, err = client.InformerFor[*storagev1.VolumeAttachment](informers, cache.Indexers{attachedIndex: nodeOfAttachment}); err != nil {
		return nil, err
	}
	return w, nil
}

// tell has every change that can help a pod told, and wakes those who wait. It
// must be called before the informers start.
func (w *storageWatch) tell(happened func(framework.Event)) {
	follow(w, w.claims, framework.PersistentVolumeClaim, happened)
	follow(w, w.volumes, framework.PersistentVolume, happened)
	follow(w, w.classes, framework.StorageClass, happened)
	follow(w, w.csiNodes, framework.CSINode, happened)
	// What is bound waits for neither of these.
	tellAll(w.drivers, framework.CSIDriver, func() {}, happened)
	tellAll(w.capacities, framework.CSIStorageCapacity, func() {}, happened)
	w.attachments.AddHandler(client.Handler[*storagev1.VolumeAttachment]{OnDelete: func(a *storagev1.VolumeAttachment) {
		happened(framework.Event{Resource: framework.VolumeAttachment, Action: framework.Delete, Old: a})
	}})
	w.pods.AddHandler(client.Handler[*corev1.Pod]{OnDelete: func(*corev1.Pod) { w.wake() }})
}

func follow[T kinds.Object](w *storageWatch, informer *client.Informer[T], resource framework.Resource, happened func(framework.Event)) {
	informer.AddHandler(client.Handler[T]{
		OnAdd: func(obj T) {
			happened(framework.Event{Resource: resource, Action: framework.Add, New: obj})
			w.wake()
		},
		OnUpdate: func(old, obj T) {
			happened(framework.Event{Resource: resource, Action: framework.Update, Old: old, New: obj})
			w.wake()
		},
		OnDelete: func(T) { w.wake() },
	})
}

func freeOf(class string) string { return "class:" + class }

func takenFor(claim types.NamespacedName) string { return "claim:" + claim.String() }

func candidateFor(obj any) ([]string, error) {
	pv, ok := obj.(*corev1.PersistentVolume)
	switch {
	case !ok:
		return nil, nil
	case pv.Spec.ClaimRef != nil:
		return []string{takenFor(types.NamespacedName{Namespace: pv.Spec.ClaimRef.Namespace, Name: pv.Spec.ClaimRef.Name})}, nil
	case pv.Status.Phase == corev1.VolumeAvailable:
		return []string{freeOf(volume.GetPersistentVolumeClass(pv))}, nil
	}
	return nil, nil
}

// Candidates implements storage.Reader.
func (w *storageWatch) Candidates(class string, claim types.NamespacedName) []*corev1.PersistentVolume {
	var all []*corev1.PersistentVolume
	for _, place := range []string{takenFor(claim), freeOf(class)} {
		if found, err := w.volumes.ByIndex(candidatesIndex, place); err == nil { // the index is always there
			all = append(all, found...)
		}
	}
	return all
}

// Claim implements storage.Reader.
func (w *storageWatch) Claim(namespace, name string) (*corev1.PersistentVolumeClaim, bool) {
	return w.claims.Get(namespace, name)
}

// Volume implements storage.Reader.
func (w *storageWatch) Volume(name string) (*corev1.PersistentVolume, bool) {
	return w.volumes.GetByKey(name)
}

// Class implements storage.Reader.
func (w *storageWatch) Class(name string) (*storagev1.StorageClass, bool) {
	return w.classes.GetByKey(name)
}

// CSINode implements storage.Reader.
func (w *storageWatch) CSINode(node string) (*storagev1.CSINode, bool) {
	return w.csiNodes.GetByKey(node)
}

// CSIDriver implements storage.Reader.
func (w *storageWatch) CSIDriver(name string) (*storagev1.CSIDriver, bool) {
	return w.drivers.GetByKey(name)
}

// Capacities implements storage.Reader.
func (w *storageWatch) Capacities(class string) []*storagev1.CSIStorageCapacity {
	found, _ := w.capacities.ByIndex(capacityIndex, class) // the index is always there
	return found
}

func classOfCapacity(obj any) ([]string, error) {
	if c, ok := obj.(*storagev1.CSIStorageCapacity); ok {
		return []string{c.StorageClassName}, nil
	}
	return nil, nil
}

// Attachments implements storage.Reader.
func (w *storageWatch) Attachments(node string) []*storagev1.VolumeAttachment {
	found, _ := w.attachments.ByIndex(attachedIndex, node) // the index is always there
	return found
}

func nodeOfAttachment(obj any) ([]string, error) {
	if a, ok := obj.(*storagev1.VolumeAttachment); ok {
		return []string{a.Spec.NodeName}, nil
	}
	return nil, nil
}

// PodWaits implements storage.Cluster.
func (w *storageWatch) PodWaits(pod *corev1.Pod) bool {
	return podWaits(w.pods, pod)
}

// UpdateClaim implements storage.Cluster.
func (w *storageWatch) UpdateClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	return w.client.Update(ctx, claim)
}

// UpdateVolume implements storage.Cluster.
func (w *storageWatch) UpdateVolume(ctx context.Context, pv *corev1.PersistentVolume) error {
	return w.client.Update(ctx, pv)
}

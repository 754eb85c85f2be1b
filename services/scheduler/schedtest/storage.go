package schedtest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// Storage is a storage.Cluster of the objects that were put into it. What is
// written changes it; OnWrite then plays the controllers' part.
type Storage struct {
	// OnWrite is called after each write. It may Put objects.
	OnWrite func(s *Storage)

	mu      sync.Mutex // guards all below
	claims  map[types.NamespacedName]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
	classes map[string]*storagev1.StorageClass
	drivers map[string]*storagev1.CSIDriver
	nodes   map[string]*storagev1.CSINode
	// attachments and capacities are by name.
	attachments map[string]*storagev1.VolumeAttachment
	capacities  map[string]*storagev1.CSIStorageCapacity
	gone        map[types.UID]bool
	changed     chan struct{}
	version     int
}

// NewStorage returns a Storage that holds objects.
func NewStorage(objects ...metav1.Object) *Storage {
	s := &Storage{
		claims: map[types.NamespacedName]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{},
		classes: map[string]*storagev1.StorageClass{}, drivers: map[string]*storagev1.CSIDriver{},
		nodes: map[string]*storagev1.CSINode{}, attachments: map[string]*storagev1.VolumeAttachment{},
		capacities: map[string]*storagev1.CSIStorageCapacity{}, gone: map[types.UID]bool{}, changed: make(chan struct{}),
	}
	for _, o := range objects {
		s.Put(o)
	}
	return s
}

// Put adds or replaces a claim, volume, class, driver, node of drivers,
// attachment or capacity.
func (s *Storage) Put(object metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	object.SetResourceVersion(strconv.Itoa(s.version))
	switch o := object.(type) {
	case *corev1.PersistentVolumeClaim:
		s.claims[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}] = o.DeepCopy()
	case *corev1.PersistentVolume:
		s.volumes[o.Name] = o.DeepCopy()
	case *storagev1.StorageClass:
		s.classes[o.Name] = o.DeepCopy()
	case *storagev1.CSIDriver:
		s.drivers[o.Name] = o.DeepCopy()
	case *storagev1.CSINode:
		s.nodes[o.Name] = o.DeepCopy()
	case *storagev1.VolumeAttachment:
		s.attachments[o.Name] = o.DeepCopy()
	case *storagev1.CSIStorageCapacity:
		s.capacities[o.Name] = o.DeepCopy()
	}
	s.wake()
}

// wake tells those who wait. s.mu is held.
func (s *Storage) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// DeletePod makes a pod one that is gone.
func (s *Storage) DeletePod(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[pod.UID] = true
	s.wake()
}

// Claim implements storage.Reader.
func (s *Storage) Claim(namespace, name string) (*corev1.PersistentVolumeClaim, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	claim, ok := s.claims[types.NamespacedName{Namespace: namespace, Name: name}]
	return claim, ok
}

// Volume implements storage.Reader.
func (s *Storage) Volume(name string) (*corev1.PersistentVolume, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pv, ok := s.volumes[name]
	return pv, ok
}

// Candidates implements storage.Reader; it leaves the choice to its caller.
func (s *Storage) Candidates(string, types.NamespacedName) []*corev1.PersistentVolume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.volumes))
}

// Class implements storage.Reader.
func (s *Storage) Class(name string) (*storagev1.StorageClass, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	class, ok := s.classes[name]
	return class, ok
}

// CSIDriver implements storage.Reader.
func (s *Storage) CSIDriver(name string) (*storagev1.CSIDriver, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	driver, ok := s.drivers[name]
	return driver, ok
}

// Capacities implements storage.Reader.
func (s *Storage) Capacities(class string) []*storagev1.CSIStorageCapacity {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*storagev1.CSIStorageCapacity
	for _, c := range s.capacities {
		if c.StorageClassName == class {
			out = append(out, c)
		}
	}
	return out
}

// CSINode implements storage.Reader.
func (s *Storage) CSINode(node string) (*storagev1.CSINode, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.nodes[node]
	return n, ok
}

// Attachments implements storage.Reader.
func (s *Storage) Attachments(node string) []*storagev1.VolumeAttachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*storagev1.VolumeAttachment
	for _, a := range s.attachments {
		if a.Spec.NodeName == node {
			out = append(out, a)
		}
	}
	return out
}

// PodWaits implements storage.Cluster.
func (s *Storage) PodWaits(pod *corev1.Pod) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.gone[pod.UID]
}

// Changed implements storage.Cluster.
func (s *Storage) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// UpdateClaim implements storage.Cluster.
func (s *Storage) UpdateClaim(_ context.Context, claim *corev1.PersistentVolumeClaim) error {
	s.Put(claim)
	s.written()
	return nil
}

// UpdateVolume implements storage.Cluster.
func (s *Storage) UpdateVolume(_ context.Context, pv *corev1.PersistentVolume) error {
	s.Put(pv)
	s.written()
	return nil
}

func (s *Storage) written() {
	if s.OnWrite != nil {
		s.OnWrite(s)
	}
}

// Claim is a claim in namespace default for 1Gi, ReadWriteOnce, of a class.
func Claim(name, class string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: gibibyte()},
		},
	}
}

func gibibyte() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
}

// Bound returns the claim as bound to a volume.
func Bound(claim *corev1.PersistentVolumeClaim, pv string) *corev1.PersistentVolumeClaim {
	claim.Spec.VolumeName = pv
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnBindCompleted, "yes")
	return claim
}

// Volume is a free volume of 1Gi, ReadWriteOnce, of a class, kept to a node if
// one is named.
func Volume(name, class, node string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: class, Capacity: gibibyte(),
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
	if node != "" {
		pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}
	}
	return pv
}

// Class is a StorageClass that waits for the first consumer.
func Class(name, provisioner string) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner,
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// Driver is a CSIDriver that tells of its capacity.
func Driver(name string) *storagev1.CSIDriver {
	return &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSIDriverSpec{StorageCapacity: ptr.To(true)}}
}

// Capacity is what a driver has for volumes of a class on the nodes with a
// hostname.
func Capacity(class, node, size string) *storagev1.CSIStorageCapacity {
	return &storagev1.CSIStorageCapacity{
		ObjectMeta: metav1.ObjectMeta{Namespace: "drivers", Name: class + "-" + node}, StorageClassName: class,
		NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelHostname: node}}, Capacity: ptr.To(resource.MustParse(size)),
	}
}

// Claims makes the pod use claims.
func (b *PodBuilder) Claims(names ...string) *PodBuilder {
	for _, name := range names {
		b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	return b
}

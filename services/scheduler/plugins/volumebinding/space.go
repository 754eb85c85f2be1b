package volumebinding

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// space is what the driver of a class tells of the space that it has for volumes
// of it. Drivers whose volumes are local tell it of every node by itself, so it is
// kept by one of the labels that nodes must have.
type space struct {
	byLabel map[string]map[string][]*storagev1.CSIStorageCapacity
	others  []*storagev1.CSIStorageCapacity
}

// spaceFor returns the space that a claim's volume can be made of; nil if the
// driver of its class does not tell (CSIDriver spec.storageCapacity), or the claim
// not what it needs.
// See https://kubernetes.io/docs/concepts/storage/storage-capacity/
func (p *Plugin) spaceFor(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) *space {
	if _, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]; !ok || class == nil {
		return nil
	}
	if driver, ok := p.storage.CSIDriver(class.Provisioner); !ok || !tellsSpace(driver) {
		return nil
	}
	s := &space{byLabel: map[string]map[string][]*storagev1.CSIStorageCapacity{}}
	for _, c := range p.storage.Capacities(class.Name) {
		s.add(c)
	}
	return s
}

func tellsSpace(driver *storagev1.CSIDriver) bool {
	return driver.Spec.StorageCapacity != nil && *driver.Spec.StorageCapacity
}

// add takes a capacity up, unless there is none, or no node can use it.
func (s *space) add(c *storagev1.CSIStorageCapacity) {
	switch {
	case c.NodeTopology == nil || limit(c) == nil:
	case len(c.NodeTopology.MatchLabels) == 0:
		s.others = append(s.others, c)
	default:
		key := slices.Min(slices.Collect(maps.Keys(c.NodeTopology.MatchLabels)))
		if s.byLabel[key] == nil {
			s.byLabel[key] = map[string][]*storagev1.CSIStorageCapacity{}
		}
		value := c.NodeTopology.MatchLabels[key]
		s.byLabel[key][value] = append(s.byLabel[key][value], c)
	}
}

// largest returns the capacity of which the largest volume can be made on a node;
// nil if none can be.
func (s *space) largest(node *corev1.Node) (best *storagev1.CSIStorageCapacity) {
	look := func(all []*storagev1.CSIStorageCapacity) {
		for _, c := range all {
			if reachable(c, node) && (best == nil || limit(c).Cmp(*limit(best)) > 0) {
				best = c
			}
		}
	}
	look(s.others)
	for key, byValue := range s.byLabel {
		if value, ok := node.Labels[key]; ok {
			look(byValue[value])
		}
	}
	return best
}

func reachable(c *storagev1.CSIStorageCapacity, node *corev1.Node) bool {
	selector, err := metav1.LabelSelectorAsSelector(c.NodeTopology)
	return err == nil && selector.Matches(labels.Set(node.Labels))
}

// limit is how large a volume can be; nil if none can be made. Several volumes may
// be made of one capacity, so how large one can be is told apart.
func limit(c *storagev1.CSIStorageCapacity) *resource.Quantity {
	if c.MaximumVolumeSize != nil {
		return c.MaximumVolumeSize
	}
	return c.Capacity
}

// hasMoreSpace says whether a capacity is new, or allows for larger volumes than
// before.
func hasMoreSpace(_ *snapshot.PodInfo, e framework.Event) bool {
	now, ok := e.New.(*storagev1.CSIStorageCapacity)
	if !ok || limit(now) == nil {
		return false
	}
	old, ok := e.Old.(*storagev1.CSIStorageCapacity)
	return !ok || limit(old) == nil || limit(now).Cmp(*limit(old)) > 0
}

// limitsNoMore says whether what a driver has of space counted, and does no more.
func limitsNoMore(_ *snapshot.PodInfo, e framework.Event) bool {
	old, ok := e.Old.(*storagev1.CSIDriver)
	if !ok || !tellsSpace(old) {
		return false
	}
	now, ok := e.New.(*storagev1.CSIDriver)
	return !ok || !tellsSpace(now)
}

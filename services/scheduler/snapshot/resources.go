package snapshot

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What a container without a request counts as where nodes are compared by
// load, so that such containers spread too.
const (
	defaultMilliCPU = 100
	defaultMemory   = 200 << 20
)

// Resources is a resource list in plain integers.
type Resources struct {
	MilliCPU         int64
	Memory           int64
	EphemeralStorage int64
	// Pods is how many pods a node takes; it is not used for requests.
	Pods int64
	// Scalars are extended resources and huge pages. Nil if there are none.
	Scalars map[corev1.ResourceName]int64
}

// NewResources converts a resource list. Fractions are rounded up.
func NewResources(list corev1.ResourceList) Resources {
	var r Resources
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = quantity.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = quantity.Value()
		case corev1.ResourcePods:
			r.Pods = quantity.Value()
		default:
			if r.Scalars == nil {
				r.Scalars = make(map[corev1.ResourceName]int64)
			}
			r.Scalars[name] = quantity.Value()
		}
	}
	return r
}

// Of returns the amount of one resource: thousandths of CPUs, else whole units.
// Pod places are none.
func (r *Resources) Of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return r.MilliCPU
	case corev1.ResourceMemory:
		return r.Memory
	case corev1.ResourceEphemeralStorage:
		return r.EphemeralStorage
	default:
		return r.Scalars[name]
	}
}

// names returns the resources of which there is any, pod places left out: CPU,
// memory and storage first, the others sorted.
func (r *Resources) names() []corev1.ResourceName {
	var names []corev1.ResourceName
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if r.Of(name) > 0 {
			names = append(names, name)
		}
	}
	basic := len(names)
	for name, v := range r.Scalars {
		if v > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names[basic:])
	return names
}

// IsScalar says whether a resource is one that not every node has: extended
// resources and huge pages, unlike CPU, memory and storage.
func IsScalar(name corev1.ResourceName) bool {
	return name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage
}

// Add adds o; the pod count is not a request and stays.
func (r *Resources) Add(o Resources) { r.add(o, 1) }

// Sub takes o away.
func (r *Resources) Sub(o Resources) { r.add(o, -1) }

func (r *Resources) add(o Resources, sign int64) {
	r.MilliCPU += sign * o.MilliCPU
	r.Memory += sign * o.Memory
	r.EphemeralStorage += sign * o.EphemeralStorage
	if len(o.Scalars) > 0 && r.Scalars == nil {
		r.Scalars = make(map[corev1.ResourceName]int64, len(o.Scalars))
	}
	for name, v := range o.Scalars {
		r.Scalars[name] += sign * v
	}
}

func (r Resources) clone() Resources {
	r.Scalars = maps.Clone(r.Scalars)
	return r
}

// IsZero says that nothing is requested.
func (r Resources) IsZero() bool {
	if r.MilliCPU != 0 || r.Memory != 0 || r.EphemeralStorage != 0 {
		return false
	}
	for _, v := range r.Scalars {
		if v != 0 {
			return false
		}
	}
	return true
}

// Exceeds says whether r is more than o in any resource.
func (r Resources) Exceeds(o Resources) bool {
	if r.MilliCPU > o.MilliCPU || r.Memory > o.Memory || r.EphemeralStorage > o.EphemeralStorage || r.Pods > o.Pods {
		return true
	}
	for name, v := range r.Scalars {
		if v > o.Scalars[name] {
			return true
		}
	}
	return false
}

// nonMissing are the requests assumed of containers that make none.
func nonMissing() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(defaultMilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(defaultMemory, resource.BinarySI),
	}
}

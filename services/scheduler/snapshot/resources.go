package snapshot

import (
	"maps"
	"math"

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

// Fraction returns used of capacity as a number from 0 to 1; nothing of
// nothing is full.
func Fraction(used, capacity int64) float64 {
	if capacity <= 0 {
		return 1
	}
	return math.Min(float64(used)/float64(capacity), 1)
}

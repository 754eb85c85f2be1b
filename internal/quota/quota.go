// Package quota knows what objects count for in ResourceQuotas. The Store asks
// it what a write adds, the resourcequota controller what all objects of a
// namespace add up to; that both ask here is what makes the sums agree.
package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/internal/kinds"
)

// Counts says whether objects of a kind can count for quotas: whatever is
// stored in a namespace, but for events, which come and go by themselves.
func Counts(kind *kinds.Kind) bool {
	return kind.Namespaced && kind.Stored() && kind.Kind != "Event"
}

// countName is the resource that counts a kind's objects.
func countName(kind *kinds.Kind) corev1.ResourceName {
	if kind.Group == "" {
		return corev1.ResourceName("count/" + kind.Resource)
	}
	return corev1.ResourceName("count/" + kind.Resource + "." + kind.Group)
}

// shortNames are the kinds that quotas can also count by their bare names.
func shortName(kind *kinds.Kind) (corev1.ResourceName, bool) {
	if kind.Group != "" {
		return "", false
	}
	switch name := corev1.ResourceName(kind.Resource); name {
	case corev1.ResourceConfigMaps, corev1.ResourceSecrets, corev1.ResourceReplicationControllers, corev1.ResourceQuotas,
		corev1.ResourceServices, corev1.ResourcePersistentVolumeClaims, corev1.ResourcePods:
		return name, true
	}
	return "", false
}

// Names returns which of a quota's resources objects of a kind count for, in
// order.
func Names(kind *kinds.Kind, hard corev1.ResourceList) []corev1.ResourceName {
	var names []corev1.ResourceName
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		if isOf(kind, name) {
			names = append(names, name)
		}
	}
	return names
}

func isOf(kind *kinds.Kind, name corev1.ResourceName) bool {
	if short, ok := shortName(kind); name == countName(kind) || (ok && name == short) {
		return true
	}
	switch kind.GroupResource().String() {
	case "resourceclaims.resource.k8s.io":
		return isOfDevices(name) || isOfExtended(name)
	case "pods":
		return isOfPods(name)
	case "persistentvolumeclaims":
		return isOfClaims(name)
	case "services":
		return name == corev1.ResourceServicesNodePorts || name == corev1.ResourceServicesLoadBalancers
	}
	return false
}

// Usage returns what an object counts for. devices is asked about ResourceClaims
// only.
func Usage(kind *kinds.Kind, obj kinds.Object, now time.Time, devices Devices) corev1.ResourceList {
	used := Each(kind)
	switch o := obj.(type) {
	case *corev1.Pod:
		if isSpent(o, now) {
			delete(used, corev1.ResourcePods)
			return used
		}
		addPod(used, o)
	case *corev1.PersistentVolumeClaim:
		addClaim(used, o)
	case *corev1.Service:
		addService(used, o)
	case *resourcev1.ResourceClaim:
		addDevices(used, o)
		addExtended(used, o, now, devices)
	}
	return used
}

// Each returns what every object of a kind counts for, whatever is in it.
func Each(kind *kinds.Kind) corev1.ResourceList {
	used := corev1.ResourceList{countName(kind): one()}
	if name, ok := shortName(kind); ok {
		used[name] = one()
	}
	return used
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

func addService(used corev1.ResourceList, s *corev1.Service) {
	ports := int64(0)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = int64(len(s.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		used[corev1.ResourceServicesLoadBalancers] = one()
		allocates := s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
		for _, port := range s.Spec.Ports {
			if allocates || port.NodePort != 0 {
				ports++
			}
		}
	}
	if ports > 0 {
		used[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
	}
}

// Growth returns what a change adds to some resources: the difference between
// two usages where that is positive.
func Growth(before, after corev1.ResourceList, names []corev1.ResourceName) corev1.ResourceList {
	grown := corev1.ResourceList{}
	for _, name := range names {
		more := after[name].DeepCopy()
		more.Sub(before[name])
		if more.Sign() > 0 {
			grown[name] = more
		}
	}
	return grown
}

// Add adds amounts to a list.
func Add(to, amounts corev1.ResourceList) {
	for name, amount := range amounts {
		sum := to[name].DeepCopy()
		sum.Add(amount)
		to[name] = sum
	}
}

// Charge returns what is used of a quota once more is added, or how that
// exceeds it.
func Charge(q *corev1.ResourceQuota, more corev1.ResourceList) (corev1.ResourceList, error) {
	used := q.Status.Used.DeepCopy()
	Add(used, more)
	requested, have, hard := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for name := range more {
		if sum, limit := used[name], q.Spec.Hard[name]; sum.Cmp(limit) > 0 {
			requested[name], have[name], hard[name] = more[name], q.Status.Used[name], limit
		}
	}
	if len(requested) > 0 {
		return nil, fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name, Format(requested), Format(have), Format(hard))
	}
	return used, nil
}

// Format writes amounts as "cpu=1,memory=1Gi".
func Format(list corev1.ResourceList) string {
	parts := make([]string, 0, len(list))
	for _, name := range slices.Sorted(maps.Keys(list)) {
		amount := list[name]
		parts = append(parts, string(name)+"="+amount.String())
	}
	return strings.Join(parts, ",")
}

// Equal says whether two lists hold the same amounts.
func Equal(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}

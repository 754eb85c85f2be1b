package admission

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"navarch.dev/navarch/internal/kinds"
)

// demand is what a container, a pod or a claim asks for.
type demand struct{ requests, limits corev1.ResourceList }

// outside returns how an object breaks one item of a LimitRange.
func outside(item *corev1.LimitRangeItem, obj kinds.Object) []error {
	var errs []error
	switch o := obj.(type) {
	case *corev1.Pod:
		for _, d := range podDemands(item.Type, o) {
			errs = append(errs, d.outside(item)...)
		}
	case *corev1.PersistentVolumeClaim:
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			return nil
		}
		d := demand{requests: o.Spec.Resources.Requests}
		for _, name := range slices.Sorted(maps.Keys(item.Min)) {
			errs = appendError(errs, d.below(item.Type, name, item.Min[name]))
		}
		for _, name := range slices.Sorted(maps.Keys(item.Max)) {
			errs = appendError(errs, d.requestAbove(item.Type, name, item.Max[name]))
		}
	}
	return errs
}

// podDemands returns what in a pod is of a type of limits.
func podDemands(t corev1.LimitType, pod *corev1.Pod) []demand {
	switch t {
	case corev1.LimitTypeContainer:
		var all []demand
		for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				all = append(all, demand{list[i].Resources.Requests, list[i].Resources.Limits})
			}
		}
		return all
	case corev1.LimitTypePod:
		// What the runtime needs is not the author's demand.
		options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
		return []demand{{resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options)}}
	}
	return nil
}

// outside returns how a demand breaks an item.
func (d demand) outside(item *corev1.LimitRangeItem) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		errs = appendError(errs, d.below(item.Type, name, item.Min[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		errs = appendError(errs, d.above(item.Type, name, item.Max[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		errs = appendError(errs, d.tooElastic(item.Type, name, item.MaxLimitRequestRatio[name]))
	}
	return errs
}

func appendError(errs []error, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, err)
}

func (d demand) below(t corev1.LimitType, name corev1.ResourceName, least resource.Quantity) error {
	request, requested := d.requests[name]
	limit, limited := d.limits[name]
	prefix := fmt.Sprintf("minimum %s usage per %s is %s", name, t, least.String())
	switch {
	case !requested:
		return fmt.Errorf("%s.  No request is specified", prefix)
	case request.Cmp(least) < 0:
		return fmt.Errorf("%s, but request is %s", prefix, request.String())
	case limited && limit.Cmp(least) < 0:
		return fmt.Errorf("%s, but limit is %s", prefix, limit.String())
	}
	return nil
}

func (d demand) above(t corev1.LimitType, name corev1.ResourceName, most resource.Quantity) error {
	limit, limited := d.limits[name]
	prefix := fmt.Sprintf("maximum %s usage per %s is %s", name, t, most.String())
	switch {
	case !limited:
		return fmt.Errorf("%s.  No limit is specified", prefix)
	case limit.Cmp(most) > 0:
		return fmt.Errorf("%s, but limit is %s", prefix, limit.String())
	}
	if _, requested := d.requests[name]; !requested {
		return nil
	}
	return d.requestAbove(t, name, most)
}

func (d demand) requestAbove(t corev1.LimitType, name corev1.ResourceName, most resource.Quantity) error {
	request, requested := d.requests[name]
	prefix := fmt.Sprintf("maximum %s usage per %s is %s", name, t, most.String())
	switch {
	case !requested:
		return fmt.Errorf("%s.  No request is specified", prefix)
	case request.Cmp(most) > 0:
		return fmt.Errorf("%s, but request is %s", prefix, request.String())
	}
	return nil
}

// tooElastic says whether the limit is too many times the request.
func (d demand) tooElastic(t corev1.LimitType, name corev1.ResourceName, most resource.Quantity) error {
	request, limit := d.requests[name], d.limits[name]
	prefix := fmt.Sprintf("%s max limit to request ratio per %s is %s", name, t, most.String())
	switch {
	case request.IsZero():
		return fmt.Errorf("%s, but no request is specified or request is 0", prefix)
	case limit.IsZero():
		return fmt.Errorf("%s, but no limit is specified or limit is 0", prefix)
	}
	if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > most.AsApproximateFloat64() {
		return fmt.Errorf("%s, but provided ratio is %f", prefix, ratio)
	}
	return nil
}

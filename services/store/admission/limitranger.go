package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"navarch.dev/navarch/services/store/access"
)

// limitRangerAnnotation says what a pod's author left out and a LimitRange has
// filled in.
const limitRangerAnnotation = "kubernetes.io/limit-ranger"

// resizeSubresource changes a running pod's resources.
const resizeSubresource = "resize"

// limitRanger applies a namespace's LimitRanges: it gives containers the
// resources that they do not ask for themselves, and refuses containers, pods
// and claims that ask for too much or too little.
type limitRanger struct{ reader access.Reader }

// Mutate implements Plugin.
func (p limitRanger) Mutate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || !isLimited(r) {
		return nil
	}
	ranges, err := p.ranges(ctx, r.Namespace)
	if err != nil || len(ranges) == 0 {
		return err
	}
	for _, limits := range ranges {
		filled := fillResources(pod, limits)
		if r.Operation == Create { // a resize leaves the metadata as they are
			annotateFilled(pod, filled)
		}
	}
	return nil
}

// Validate implements Plugin.
func (p limitRanger) Validate(ctx context.Context, r *Request) error {
	if !isLimited(r) {
		return nil
	}
	ranges, err := p.ranges(ctx, r.Namespace)
	if err != nil {
		return err
	}
	for _, limits := range ranges {
		var errs []error
		for i := range limits.Spec.Limits {
			errs = append(errs, outside(&limits.Spec.Limits[i], r.Object)...)
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), err)
		}
	}
	return nil
}

// isLimited says whether a write can set what LimitRanges are about. What is
// being deleted may be written whatever it asks for.
func isLimited(r *Request) bool {
	if r.Old != nil && r.Old.GetDeletionTimestamp() != nil {
		return false
	}
	switch r.Object.(type) {
	case *corev1.Pod:
		return r.creates() || (r.Operation == Update && r.Subresource == resizeSubresource)
	case *corev1.PersistentVolumeClaim:
		return r.Subresource == ""
	}
	return false
}

func (p limitRanger) ranges(ctx context.Context, namespace string) ([]*corev1.LimitRange, error) {
	objs, err := p.reader.List(ctx, schema.GroupVersionResource{Version: "v1", Resource: "limitranges"}, namespace)
	if err != nil {
		return nil, err
	}
	ranges := make([]*corev1.LimitRange, len(objs))
	for i, obj := range objs {
		ranges[i] = obj.(*corev1.LimitRange)
	}
	return ranges, nil
}

// fillResources gives a pod's containers the default resources of a
// LimitRange, and says which.
func fillResources(pod *corev1.Pod, limits *corev1.LimitRange) (filled []string) {
	requests, maxima := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range limits.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			maps.Copy(requests, item.DefaultRequest)
			maps.Copy(maxima, item.Default)
		}
	}
	fill := func(containers []corev1.Container, what string) {
		for i := range containers {
			c := &containers[i]
			if names := fillMissing(&c.Resources.Requests, requests); len(names) > 0 {
				filled = append(filled, fmt.Sprintf("%s request for %s %s", strings.Join(names, ", "), what, c.Name))
			}
			if names := fillMissing(&c.Resources.Limits, maxima); len(names) > 0 {
				filled = append(filled, fmt.Sprintf("%s limit for %s %s", strings.Join(names, ", "), what, c.Name))
			}
		}
	}
	fill(pod.Spec.Containers, "container")
	fill(pod.Spec.InitContainers, "init container")
	return filled
}

func annotateFilled(pod *corev1.Pod, filled []string) {
	if len(filled) == 0 {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(filled, "; ")
}

// fillMissing adds what list lacks of defaults, and returns its names.
func fillMissing(list *corev1.ResourceList, defaults corev1.ResourceList) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if _, has := (*list)[name]; has {
			continue
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = defaults[name].DeepCopy()
		names = append(names, string(name))
	}
	return names
}

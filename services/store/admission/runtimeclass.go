package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/store/access"
)

// runtimeClass gives a pod what its RuntimeClass says about it: what the
// runtime itself needs, and which nodes have it.
type runtimeClass struct{ reader access.Reader }

// Mutate implements Plugin.
func (p runtimeClass) Mutate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || !r.creates() {
		return nil
	}
	class, err := p.classOf(ctx, r, pod)
	if err != nil || class == nil {
		return err
	}
	if class.Overhead != nil {
		if len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return otherOverhead(r)
		}
		pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling == nil {
		return nil
	}
	if err := selectNodes(r, pod, class.Scheduling.NodeSelector); err != nil {
		return err
	}
	pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, class.Scheduling.Tolerations)
	return nil
}

// Validate implements Plugin.
func (p runtimeClass) Validate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || !r.creates() {
		return nil
	}
	class, err := p.classOf(ctx, r, pod)
	switch {
	case err != nil:
		return err
	case class == nil || class.Overhead == nil:
		if pod.Spec.Overhead != nil {
			return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
				errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
		}
	case !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead):
		return otherOverhead(r)
	}
	return nil
}

func otherOverhead(r *Request) error {
	return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
		errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
}

// classOf returns the class that a pod names, nil if it names none.
func (p runtimeClass) classOf(ctx context.Context, r *Request, pod *corev1.Pod) (*nodev1.RuntimeClass, error) {
	name := ptr.Deref(pod.Spec.RuntimeClassName, "")
	if name == "" {
		return nil, nil
	}
	obj, err := p.reader.Get(ctx, schema.GroupVersionResource{Group: nodev1.GroupName, Version: "v1", Resource: "runtimeclasses"}, "", name)
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), fmt.Errorf("pod rejected: RuntimeClass %q not found", name))
	}
	if err != nil {
		return nil, err
	}
	return obj.(*nodev1.RuntimeClass), nil
}

// selectNodes adds a class's node selector to a pod's.
func selectNodes(r *Request, pod *corev1.Pod, selector map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		if have, ok := pod.Spec.NodeSelector[key]; ok && have != selector[key] {
			return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
				fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, selector[key], key, have))
		}
	}
	if len(selector) == 0 {
		return nil
	}
	if pod.Spec.NodeSelector == nil {
		pod.Spec.NodeSelector = make(map[string]string)
	}
	maps.Copy(pod.Spec.NodeSelector, selector)
	return nil
}

// mergeTolerations returns all tolerations but those that say nothing beyond
// another.
func mergeTolerations(lists ...[]corev1.Toleration) []corev1.Toleration {
	all := slices.Concat(lists...)
	var merged []corev1.Toleration
	for i, t := range all {
		redundant := slices.ContainsFunc(merged, func(have corev1.Toleration) bool { return covers(have, t) }) ||
			slices.ContainsFunc(all[i+1:], func(later corev1.Toleration) bool { return covers(later, t) && !covers(t, later) })
		if !redundant {
			merged = append(merged, t)
		}
	}
	return merged
}

// covers says whether a tolerates all that b does.
func covers(a, b corev1.Toleration) bool {
	switch {
	case equality.Semantic.DeepEqual(a, b):
		return true
	case a.Key != b.Key && (a.Key != "" || a.Operator != corev1.TolerationOpExists):
		return false
	case a.Effect != b.Effect && a.Effect != "":
		return false
	}
	if a.Effect == corev1.TaintEffectNoExecute && a.TolerationSeconds != nil &&
		(b.TolerationSeconds == nil || *b.TolerationSeconds > *a.TolerationSeconds) {
		return false
	}
	switch a.Operator {
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpEqual, "":
		return (b.Operator == corev1.TolerationOpEqual || b.Operator == "") && a.Value == b.Value
	}
	return false
}

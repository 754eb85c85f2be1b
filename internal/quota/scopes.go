package quota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/podspec"
)

// InScope says whether a quota's scopes take an object in. Every one of them
// must; what a scope says nothing about is not in it.
func InScope(spec *corev1.ResourceQuotaSpec, obj kinds.Object) bool {
	for _, scope := range spec.Scopes {
		if !selects(corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists}, obj) {
			return false
		}
	}
	if spec.ScopeSelector == nil {
		return true
	}
	return !slices.ContainsFunc(spec.ScopeSelector.MatchExpressions, func(r corev1.ScopedResourceSelectorRequirement) bool {
		return !selects(r, obj)
	})
}

// Scoped says whether a quota has scopes at all.
func Scoped(spec *corev1.ResourceQuotaSpec) bool {
	return len(spec.Scopes) > 0 || (spec.ScopeSelector != nil && len(spec.ScopeSelector.MatchExpressions) > 0)
}

func selects(r corev1.ScopedResourceSelectorRequirement, obj kinds.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		return selectsPod(r, o)
	case *corev1.PersistentVolumeClaim:
		return r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && selectsName(r, attributesClasses(o))
	}
	return false
}

func selectsPod(r corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) bool {
	switch r.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return hasDeadline(pod)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !hasDeadline(pod)
	case corev1.ResourceQuotaScopeBestEffort:
		return isBestEffort(pod)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !isBestEffort(pod)
	case corev1.ResourceQuotaScopePriorityClass:
		var names []string
		if pod.Spec.PriorityClassName != "" {
			names = append(names, pod.Spec.PriorityClassName)
		}
		return selectsName(r, names)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return looksElsewhere(pod)
	}
	return false
}

// selectsName says whether one of an object's class names is selected. Without
// any, the operators that deny something hold.
func selectsName(r corev1.ScopedResourceSelectorRequirement, names []string) bool {
	switch r.Operator {
	case corev1.ScopeSelectorOpExists:
		return len(names) > 0
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(names) == 0
	case corev1.ScopeSelectorOpIn:
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(r.Values, n) })
	case corev1.ScopeSelectorOpNotIn:
		return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(r.Values, n) })
	}
	return false
}

func hasDeadline(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

func isBestEffort(pod *corev1.Pod) bool {
	return podspec.QOSClass(pod) == corev1.PodQOSBestEffort
}

// looksElsewhere says whether a pod's affinity is about pods of other
// namespaces.
func looksElsewhere(pod *corev1.Pod) bool {
	if pod.Spec.Affinity == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	weighted := func(list []corev1.WeightedPodAffinityTerm) {
		for _, t := range list {
			terms = append(terms, t.PodAffinityTerm)
		}
	}
	if a := pod.Spec.Affinity.PodAffinity; a != nil {
		terms = append(terms, a.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := pod.Spec.Affinity.PodAntiAffinity; a != nil {
		terms = append(terms, a.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool {
		return len(t.Namespaces) > 0 || t.NamespaceSelector != nil
	})
}

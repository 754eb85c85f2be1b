package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const immutableMessage = "pod updates may not change fields other than `spec.containers[*].image`," +
	"`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"

// ValidateUpdate returns what a change of a pod breaks: once made, only its
// images, its deadline (which may shrink), its tolerations (which may grow)
// and, while it is held by scheduling gates, its placement may change.
func ValidateUpdate(pod, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	if len(pod.Spec.Containers) != len(old.Spec.Containers) {
		return field.ErrorList{field.Forbidden(path.Child("containers"), "pod updates may not add or remove containers")}
	}
	if len(pod.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return field.ErrorList{field.Forbidden(path.Child("initContainers"), "pod updates may not add or remove containers")}
	}
	errs := validateAnnotationsUpdate(pod.Annotations, old.Annotations, field.NewPath("metadata", "annotations"))
	errs = append(errs, validateDeadlineUpdate(pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	errs = append(errs, validateTolerationsUpdate(pod.Spec.Tolerations, old.Spec.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateGatesUpdate(pod.Spec.SchedulingGates, old.Spec.SchedulingGates, path.Child("schedulingGates"))...)
	if equality.Semantic.DeepEqual(&pod.Spec, &old.Spec) {
		return errs
	}
	masked := maskMutable(pod, old)
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, maskPlacement(masked, &old.Spec)...)
	}
	if !equality.Semantic.DeepEqual(masked, &old.Spec) {
		errs = append(errs, field.Forbidden(path, immutableMessage+diff.Diff(&old.Spec, masked)))
	}
	return errs
}

// maskMutable returns the new spec with everything that may change set back
// to the old values; what then still differs may not.
func maskMutable(pod, old *corev1.Pod) *corev1.PodSpec {
	spec := pod.Spec.DeepCopy()
	for i := range spec.Containers {
		spec.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range spec.InitContainers {
		spec.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	spec.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	spec.Tolerations = old.Spec.Tolerations
	spec.SchedulingGates = old.Spec.SchedulingGates
	if deref(old.Spec.TerminationGracePeriodSeconds) < 0 && deref(spec.TerminationGracePeriodSeconds) == 1 {
		spec.TerminationGracePeriodSeconds = old.Spec.TerminationGracePeriodSeconds
	}
	return spec
}

// maskPlacement lets a gated pod's placement be narrowed, and says where it is
// widened instead.
func maskPlacement(spec, old *corev1.PodSpec) field.ErrorList {
	at := field.NewPath("spec")
	var errs field.ErrorList
	if !narrows(spec.NodeSelector, old.NodeSelector) {
		errs = append(errs, field.Invalid(at.Child("nodeSelector"), spec.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
	}
	spec.NodeSelector = old.NodeSelector
	is, was := nodeAffinityOf(spec), nodeAffinityOf(old)
	if equality.Semantic.DeepEqual(is, was) {
		return errs
	}
	errs = append(errs, validateAffinityUpdate(is, was, at.Child("affinity", "nodeAffinity", requiredTerms, "nodeSelectorTerms"))...)
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	spec.Affinity.NodeAffinity = was
	if *spec.Affinity == (corev1.Affinity{}) && old.Affinity == nil {
		spec.Affinity = nil
	}
	return errs
}

func nodeAffinityOf(spec *corev1.PodSpec) *corev1.NodeAffinity {
	if spec.Affinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity
}

// validateAffinityUpdate: terms are alternatives, so there may be neither more
// nor fewer; what a term requires may grow.
func validateAffinityUpdate(is, was *corev1.NodeAffinity, at *field.Path) field.ErrorList {
	terms, old := termsOf(is), termsOf(was)
	switch {
	case len(old) == 0:
		return nil
	case len(old) != len(terms):
		return field.ErrorList{field.Invalid(at, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i, term := range terms {
		if !extends(term.MatchExpressions, old[i].MatchExpressions) || !extends(term.MatchFields, old[i].MatchFields) ||
			(matchesNothing(old[i]) && !matchesNothing(term)) {
			errs = append(errs, field.Invalid(at.Index(i), term, "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func termsOf(n *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if n == nil || n.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// matchesNothing: a term that requires nothing matches no node, so anything
// that is added would widen it.
func matchesNothing(t corev1.NodeSelectorTerm) bool {
	return len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0
}

func extends(requirements, old []corev1.NodeSelectorRequirement) bool {
	return len(requirements) >= len(old) && equality.Semantic.DeepEqual(requirements[:len(old)], old)
}

func narrows(selector, old map[string]string) bool {
	for key, value := range old {
		if now, ok := selector[key]; !ok || now != value {
			return false
		}
	}
	return true
}

// validateAnnotationsUpdate: whether a pod is the image of a static one does
// not change.
func validateAnnotationsUpdate(annotations, old map[string]string, at *field.Path) field.ErrorList {
	const mirror = corev1.MirrorPodAnnotationKey
	is, now := annotations[mirror]
	was, before := old[mirror]
	switch {
	case before && (!now || is != was):
		return field.ErrorList{field.Forbidden(at.Key(mirror), "may not remove or update mirror pod annotation")}
	case now && !before:
		return field.ErrorList{field.Forbidden(at.Key(mirror), "may not add mirror pod annotation")}
	}
	return nil
}

func validateDeadlineUpdate(deadline, old *int64, path *field.Path) field.ErrorList {
	switch {
	case old == nil:
		return nil
	case deadline == nil:
		return field.ErrorList{field.Invalid(path, deadline, "must not update from a positive integer to nil value")}
	case *deadline > *old:
		return field.ErrorList{field.Invalid(path, *deadline, "must be less than or equal to previous value")}
	}
	return nil
}

func validateTolerationsUpdate(tolerations, old []corev1.Toleration, path *field.Path) field.ErrorList {
	for _, was := range old {
		if !slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool { return sameToleration(t, was) }) {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

func sameToleration(a, b corev1.Toleration) bool {
	return a.Key == b.Key && a.Operator == b.Operator && a.Value == b.Value && a.Effect == b.Effect
}

func validateGatesUpdate(gates, old []corev1.PodSchedulingGate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, gate := range gates {
		if !slices.Contains(old, gate) {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), "only deletion is allowed, but found new scheduling gate '"+gate.Name+"'"))
		}
	}
	return errs
}

package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
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
	errs := validateDeadlineUpdate(pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))
	errs = append(errs, validateTolerationsUpdate(pod.Spec.Tolerations, old.Spec.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateGatesUpdate(pod.Spec.SchedulingGates, old.Spec.SchedulingGates, path.Child("schedulingGates"))...)
	if len(errs) > 0 {
		return errs
	}
	masked := maskMutable(pod, old)
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
	if len(old.Spec.SchedulingGates) > 0 && old.Spec.NodeName == "" {
		maskPlacement(spec, &old.Spec)
	}
	return spec
}

// maskPlacement lets a gated pod's placement be narrowed: node selector terms
// may be added where they only restrict.
func maskPlacement(spec, old *corev1.PodSpec) {
	if narrows(spec.NodeSelector, old.NodeSelector) {
		spec.NodeSelector = old.NodeSelector
	}
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return
	}
	hard := requiredNodes(old)
	if hard != nil && !equality.Semantic.DeepEqual(hard, spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution) {
		return
	}
	spec.Affinity.NodeAffinity = nil
	if old.Affinity != nil {
		spec.Affinity.NodeAffinity = old.Affinity.NodeAffinity
	}
	if *spec.Affinity == (corev1.Affinity{}) && old.Affinity == nil {
		spec.Affinity = nil
	}
}

func requiredNodes(spec *corev1.PodSpec) *corev1.NodeSelector {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func narrows(selector, old map[string]string) bool {
	for key, value := range old {
		if selector[key] != value {
			return false
		}
	}
	return true
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

// ValidateStatusUpdate returns what a write of a pod's status breaks: an
// ended container stays ended where the pod does not restart it.
func ValidateStatusUpdate(pod, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("status")
	var errs field.ErrorList
	if old.Spec.NodeName == "" && pod.Status.NominatedNodeName != "" {
		errs = append(errs, invalids(path.Child("nominatedNodeName"), pod.Status.NominatedNodeName, validation.IsDNS1123Subdomain(pod.Status.NominatedNodeName))...)
	}
	if old.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, validateStayEnded(pod.Status.ContainerStatuses, old, path.Child("containerStatuses"))...)
	}
	return errs
}

func validateStayEnded(statuses []corev1.ContainerStatus, old *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, was := range old.Status.ContainerStatuses {
		if !finallyEnded(was, &old.Spec) {
			continue
		}
		i := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == was.Name })
		if i >= 0 && statuses[i].State.Terminated == nil {
			errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}

// finallyEnded says whether the pod's restart policy leaves a container as it
// is. A container with a policy of its own is left to the agent.
func finallyEnded(status corev1.ContainerStatus, spec *corev1.PodSpec) bool {
	ended := status.State.Terminated
	if ended == nil || (spec.RestartPolicy == corev1.RestartPolicyOnFailure && ended.ExitCode != 0) {
		return false
	}
	for _, c := range spec.Containers {
		if c.Name == status.Name {
			return c.RestartPolicy == nil && len(c.RestartPolicyRules) == 0
		}
	}
	return false
}

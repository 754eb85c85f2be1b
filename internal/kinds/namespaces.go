package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func namespaceColumns() []Column {
	return columns(
		text("Status", "The status of the namespace", func(n *corev1.Namespace) string { return string(n.Status.Phase) }),
		ageColumn(),
	)
}

func namespaceFields(n *corev1.Namespace) map[string]string {
	return map[string]string{"status.phase": string(n.Status.Phase)}
}

// namespaceStrategy: spec.finalizers, which holds a namespace until its
// content is gone, changes only through the finalize subresource.
func namespaceStrategy() Strategy {
	return statusOnly(
		func(n *corev1.Namespace) *corev1.NamespaceSpec { return &n.Spec },
		func(n *corev1.Namespace) *corev1.NamespaceStatus { return &n.Status },
		rules[*corev1.Namespace]{
			create: func(n *corev1.Namespace) {
				n.Status.Phase = corev1.NamespaceActive
				if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
					n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
				}
			},
			update: func(n, old *corev1.Namespace) { n.Spec.Finalizers = old.Spec.Finalizers },
			defaults: func(n *corev1.Namespace) {
				setDefault(&n.Status.Phase, corev1.NamespaceActive)
				if n.Name == "" {
					return
				}
				if n.Labels == nil {
					n.Labels = map[string]string{}
				}
				n.Labels[corev1.LabelMetadataName] = n.Name
			},
			validate: func(n *corev1.Namespace) field.ErrorList {
				var errs field.ErrorList
				for _, f := range n.Spec.Finalizers {
					errs = append(errs, rule.Qualified(f, specPath("finalizers"))...)
				}
				return append(errs, validateFinalizers(n.Spec.Finalizers, func(int) *field.Path { return specPath("finalizers") })...)
			},
			validateStatus: validateNamespaceStatus,
		})
}

// validateFinalizers: a finalizer without a domain is one of those that every
// cluster knows.
func validateFinalizers[T ~string](finalizers []T, at func(i int) *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range finalizers {
		known := slices.Contains([]string{string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}, string(f))
		if !known && !strings.Contains(string(f), "/") {
			errs = append(errs, field.Invalid(at(i), f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// ValidateFinalizers returns what is wrong with the names of an object's
// finalizers, beyond their form.
func ValidateFinalizers(finalizers []string, at *field.Path) field.ErrorList {
	return validateFinalizers(finalizers, at.Index)
}

func validateNamespaceStatus(n, _ *corev1.Namespace) field.ErrorList {
	at := field.NewPath("status", "Phase")
	switch ending := n.DeletionTimestamp != nil; {
	case !ending && n.Status.Phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case ending && n.Status.Phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}

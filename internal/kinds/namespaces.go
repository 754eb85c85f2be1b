package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
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
				for i, f := range n.Spec.Finalizers {
					errs = append(errs, rule.Invalids(specPath("finalizers").Index(i), f, validation.IsQualifiedName(string(f)))...)
				}
				return errs
			},
		})
}

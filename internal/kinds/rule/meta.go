package rule

import (
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TemplateMeta says that a template for claims gives them labels and annotations
// and nothing else.
func TemplateMeta(m *metav1.ObjectMeta, at *field.Path) field.ErrorList {
	return Join(
		apivalidation.ValidateAnnotations(m.Annotations, at.Child("annotations")),
		metavalidation.ValidateLabels(m.Labels, at.Child("labels")),
		Forbid(at, "cannot be set",
			Set("name", m.Name != ""), Set("generateName", m.GenerateName != ""), Set("namespace", m.Namespace != ""), Set("selfLink", m.GetSelfLink() != ""),
			Set("uID", m.UID != ""), Set("resourceVersion", m.ResourceVersion != ""),
			Set("generation", m.Generation != 0), Set("creationTimestamp", !m.CreationTimestamp.IsZero()),
			Set("deletionTimestamp", m.DeletionTimestamp != nil), Set("deletionGracePeriodSeconds", m.DeletionGracePeriodSeconds != nil),
			Set("ownerReferences", m.OwnerReferences != nil), Set("finalizers", m.Finalizers != nil),
			Set("managedFields", m.ManagedFields != nil)),
	)
}

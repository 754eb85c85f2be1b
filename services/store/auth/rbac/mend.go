package rbac

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
)

// Mend returns what a stored object must become to allow at least what the
// bootstrap object of its name does, nil if it does so already. What
// administrators have added stays; what they have taken away comes back, unless
// the object is annotated with rbac.authorization.kubernetes.io/autoupdate=false.
func Mend(stored, bootstrap kinds.Object) kinds.Object {
	if stored.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
		return nil
	}
	mended := stored.DeepCopyObject().(kinds.Object)
	mendMeta(mended, bootstrap)
	switch want := bootstrap.(type) {
	case *rbacv1.ClusterRole:
		if have, ok := mended.(*rbacv1.ClusterRole); ok {
			mendClusterRole(have, want)
		}
	case *rbacv1.Role:
		if have, ok := mended.(*rbacv1.Role); ok {
			have.Rules = append(have.Rules, Uncovered(have.Rules, want.Rules)...)
		}
	case *rbacv1.ClusterRoleBinding:
		// A binding to another role is another binding, and the role of one
		// cannot be changed.
		if have, ok := mended.(*rbacv1.ClusterRoleBinding); ok && have.RoleRef == want.RoleRef {
			have.Subjects = withSubjects(have.Subjects, want.Subjects)
		}
	case *rbacv1.RoleBinding:
		if have, ok := mended.(*rbacv1.RoleBinding); ok && have.RoleRef == want.RoleRef {
			have.Subjects = withSubjects(have.Subjects, want.Subjects)
		}
	default:
		return nil
	}
	if equality.Semantic.DeepEqual(mended, stored) {
		return nil
	}
	return mended
}

// mendMeta adds labels and annotations that are missing.
func mendMeta(have, want kinds.Object) {
	have.SetLabels(withEntries(have.GetLabels(), want.GetLabels()))
	have.SetAnnotations(withEntries(have.GetAnnotations(), want.GetAnnotations()))
}

func withEntries(have, want map[string]string) map[string]string {
	for key, value := range want {
		if _, ok := have[key]; ok {
			continue
		}
		if have == nil {
			have = make(map[string]string)
		}
		have[key] = value
	}
	return have
}

// mendClusterRole: the rules of a role that is made of others are those'.
func mendClusterRole(have, want *rbacv1.ClusterRole) {
	if want.AggregationRule == nil {
		have.Rules = append(have.Rules, Uncovered(have.Rules, want.Rules)...)
		return
	}
	if have.AggregationRule == nil {
		have.AggregationRule = &rbacv1.AggregationRule{}
	}
	for _, selector := range want.AggregationRule.ClusterRoleSelectors {
		same := func(s metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(s, selector) }
		if !slices.ContainsFunc(have.AggregationRule.ClusterRoleSelectors, same) {
			have.AggregationRule.ClusterRoleSelectors = append(have.AggregationRule.ClusterRoleSelectors, *selector.DeepCopy())
		}
	}
}

func withSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}

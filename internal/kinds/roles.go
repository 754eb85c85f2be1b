package kinds

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func roleColumns() []Column { return columns(createdColumn()) }

func bindingColumns[O Object](ref func(O) rbacv1.RoleRef, subjects func(O) []rbacv1.Subject) []Column {
	doc := rbacv1.RoleBinding{}.SwaggerDoc()
	of := func(kind string) func(O) string {
		return func(o O) string { return subjectNames(subjects(o), kind) }
	}
	return columns(
		text("Role", doc["roleRef"], func(o O) string { return ref(o).Kind + "/" + ref(o).Name }),
		ageColumn(),
		wide(text("Users", "Users in the roleBinding", of(rbacv1.UserKind))),
		wide(text("Groups", "Groups in the roleBinding", of(rbacv1.GroupKind))),
		wide(text("ServiceAccounts", "ServiceAccounts in the roleBinding", of(rbacv1.ServiceAccountKind))),
	)
}

func subjectNames(subjects []rbacv1.Subject, kind string) string {
	var names []string
	for _, s := range subjects {
		switch {
		case s.Kind != kind:
		case kind == rbacv1.ServiceAccountKind:
			names = append(names, s.Namespace+"/"+s.Name)
		default:
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ", ")
}

func roleBindingColumns() []Column {
	return bindingColumns(func(b *rbacv1.RoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.RoleBinding) []rbacv1.Subject { return b.Subjects })
}

func clusterRoleBindingColumns() []Column {
	return bindingColumns(func(b *rbacv1.ClusterRoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.ClusterRoleBinding) []rbacv1.Subject { return b.Subjects })
}

func roleStrategy() Strategy {
	return plain(rules[*rbacv1.Role]{
		canonicalize: func(r *rbacv1.Role) { noneIfEmpty(&r.Rules) },
		validate:     func(r *rbacv1.Role) field.ErrorList { return validatePolicy(r.Rules, true) },
	})
}

func clusterRoleStrategy() Strategy {
	return plain(rules[*rbacv1.ClusterRole]{
		canonicalize: func(r *rbacv1.ClusterRole) { noneIfEmpty(&r.Rules) },
		validate: func(r *rbacv1.ClusterRole) field.ErrorList {
			return append(validatePolicy(r.Rules, false), validateAggregation(r.AggregationRule, field.NewPath("aggregationRule", "clusterRoleSelectors"))...)
		},
	})
}

func validateAggregation(r *rbacv1.AggregationRule, at *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	if len(r.ClusterRoleSelectors) == 0 {
		return field.ErrorList{field.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil")}
	}
	return rule.Each(r.ClusterRoleSelectors, at, func(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
		errs := rule.Selector(s, at)
		if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
			errs = append(errs, field.Invalid(at, nil, "invalid label selector."))
		}
		return errs
	})
}

func validatePolicy(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		r, at := &rules[i], field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			errs = append(errs, field.Required(at.Child("verbs"), ""))
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
			}
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
		}
		if len(r.Resources) == 0 {
			errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
		}
	}
	return errs
}

func roleBindingStrategy() Strategy {
	return plain(rules[*rbacv1.RoleBinding]{
		defaults: func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		validate: func(b *rbacv1.RoleBinding) field.ErrorList {
			return validateBinding(b.RoleRef, b.Subjects, true, "Role", "ClusterRole")
		},
		validateUpdate: func(b, old *rbacv1.RoleBinding) field.ErrorList {
			return rule.Immutable(b.RoleRef, old.RoleRef, field.NewPath("roleRef"))
		},
	})
}

func clusterRoleBindingStrategy() Strategy {
	return plain(rules[*rbacv1.ClusterRoleBinding]{
		defaults: func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		validate: func(b *rbacv1.ClusterRoleBinding) field.ErrorList {
			return validateBinding(b.RoleRef, b.Subjects, false, "ClusterRole")
		},
		validateUpdate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			return rule.Immutable(b.RoleRef, old.RoleRef, field.NewPath("roleRef"))
		},
	})
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	setDefault(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if subjects[i].Kind == rbacv1.UserKind || subjects[i].Kind == rbacv1.GroupKind {
			setDefault(&subjects[i].APIGroup, rbacv1.GroupName)
		}
	}
}

func validateBinding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool, kinds ...string) field.ErrorList {
	at := field.NewPath("roleRef")
	errs := rule.Supported(ref.APIGroup, at.Child("apiGroup"), rbacv1.GroupName)
	if !slices.Contains(kinds, ref.Kind) {
		errs = append(errs, field.NotSupported(at.Child("kind"), ref.Kind, kinds))
	}
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, rule.Invalids(at.Child("name"), ref.Name, content.IsPathSegmentName(ref.Name))...)
	}
	for i, s := range subjects {
		errs = append(errs, validateSubject(s, namespaced, field.NewPath("subjects").Index(i))...)
	}
	return errs
}

// validateSubject returns what is wrong with a subject. A service account without a
// namespace is one of the binding's, if that has one.
func validateSubject(s rbacv1.Subject, namespaced bool, at *field.Path) field.ErrorList {
	errs := rule.Required(s.Name, at.Child("name"))
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		errs = append(errs, rule.FormIfSet(s.Name, at.Child("name"), validation.IsDNS1123Subdomain)...)
		if s.APIGroup != "" {
			errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{""}))
		}
		if namespaced {
			return errs
		}
		return rule.Join(errs, rule.Required(s.Namespace, at.Child("namespace")))
	case rbacv1.UserKind, rbacv1.GroupKind:
		return rule.Join(errs, rule.Supported(s.APIGroup, at.Child("apiGroup"), rbacv1.GroupName))
	}
	return append(errs, field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
}

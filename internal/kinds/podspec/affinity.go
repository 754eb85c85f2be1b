package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// ValidateTolerations returns what is wrong with a pod's tolerations.
func ValidateTolerations(tolerations []corev1.Toleration, at *field.Path) field.ErrorList {
	return rule.Each(tolerations, at, validateToleration)
}

func validateToleration(t *corev1.Toleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
	} else if t.Operator != corev1.TolerationOpExists {
		errs = append(errs, field.Invalid(at.Child("operator"), t.Operator,
			"operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
	}
	errs = append(errs, validateTolerationValue(t, at.Child("operator"))...)
	if t.Effect != "" {
		errs = append(errs, ValidateTaintEffect(t.Effect, at.Child("effect"))...)
	}
	return errs
}

// ValidateTaintEffect returns what is wrong with the effect of a taint.
func ValidateTaintEffect(effect corev1.TaintEffect, at *field.Path) field.ErrorList {
	return rule.OneOf(effect, at, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func validateTolerationValue(t *corev1.Toleration, at *field.Path) field.ErrorList {
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
			return field.ErrorList{field.Invalid(at, t.Value, strings.Join(messages, ";"))}
		}
		return nil
	case corev1.TolerationOpExists:
		if t.Value != "" {
			return field.ErrorList{field.Invalid(at, *t, "value must be empty when `operator` is 'Exists'")}
		}
		return nil
	}
	return field.ErrorList{field.NotSupported(at, t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists})}
}

const (
	requiredTerms  = "requiredDuringSchedulingIgnoredDuringExecution"
	preferredTerms = "preferredDuringSchedulingIgnoredDuringExecution"
)

func validateAffinity(a *corev1.Affinity, at *field.Path) field.ErrorList {
	if a == nil {
		return nil
	}
	var errs field.ErrorList
	if n := a.NodeAffinity; n != nil {
		errs = append(errs, validateNodeAffinity(n, at.Child("nodeAffinity"))...)
	}
	if p := a.PodAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution,
			p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity"))...)
	}
	if p := a.PodAntiAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution,
			p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity"))...)
	}
	return errs
}

func validateNodeAffinity(n *corev1.NodeAffinity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if hard := n.RequiredDuringSchedulingIgnoredDuringExecution; hard != nil {
		errs = append(errs, ValidateNodeSelector(hard, at.Child(requiredTerms))...)
	}
	return append(errs, rule.Each(n.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferredTerms),
		func(term *corev1.PreferredSchedulingTerm, at *field.Path) field.ErrorList {
			return rule.Join(validateWeight(term.Weight, at), validateNodeTerm(&term.Preference, at.Child("preference")))
		})...)
}

// ValidateNodeSelector returns what is wrong with a node selector.
func ValidateNodeSelector(s *corev1.NodeSelector, at *field.Path) field.ErrorList {
	terms := at.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		return field.ErrorList{field.Required(terms, "must have at least one node selector term")}
	}
	return rule.Each(s.NodeSelectorTerms, terms, func(term *corev1.NodeSelectorTerm, at *field.Path) field.ErrorList {
		return rule.Join(validateNodeTerm(term, at),
			rule.Each(term.MatchExpressions, at.Child("matchExpressions"), func(r *corev1.NodeSelectorRequirement, at *field.Path) field.ErrorList {
				return rule.Each(r.Values, at.Child("values"), func(value *string, at *field.Path) field.ErrorList {
					return rule.Form(*value, at, validation.IsValidLabelValue)
				})
			}))
	})
}

func validateNodeTerm(term *corev1.NodeSelectorTerm, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Each(term.MatchExpressions, at.Child("matchExpressions"), validateNodeRequirement),
		rule.Each(term.MatchFields, at.Child("matchFields"), validateNodeField),
	)
}

func validateNodeRequirement(r *corev1.NodeSelectorRequirement, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	values := at.Child("values")
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(values, "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	return append(errs, metavalidation.ValidateLabelName(r.Key, at.Child("key"))...)
}

// validateNodeField: the only field of nodes that can be asked for is the
// name.
func validateNodeField(r *corev1.NodeSelectorRequirement, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	default:
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	if r.Key != metav1.ObjectNameField {
		return append(errs, field.Invalid(at.Child("key"), r.Key, "not a valid field selector key"))
	}
	return append(errs, rule.Each(r.Values, at.Child("values"), func(name *string, at *field.Path) field.ErrorList { return subdomain(*name, at) })...)
}

func validatePodTerms(hard []corev1.PodAffinityTerm, soft []corev1.WeightedPodAffinityTerm, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Each(hard, at.Child(requiredTerms), validatePodTerm),
		rule.Each(soft, at.Child(preferredTerms), func(t *corev1.WeightedPodAffinityTerm, at *field.Path) field.ErrorList {
			return rule.Join(validateWeight(t.Weight, at), validatePodTerm(&t.PodAffinityTerm, at.Child("podAffinityTerm")))
		}),
	)
}

func validatePodTerm(t *corev1.PodAffinityTerm, at *field.Path) field.ErrorList {
	errs := rule.Join(rule.Selector(t.LabelSelector, at.Child("labelSelector")), rule.Selector(t.NamespaceSelector, at.Child("namespaceSelector")))
	for _, name := range t.Namespaces {
		errs = append(errs, rule.Form(name, at.Child("namespace"), validation.IsDNS1123Label)...)
	}
	errs = append(errs, validateMatchKeys(t, at)...)
	if t.TopologyKey == "" {
		errs = append(errs, field.Required(at.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, metavalidation.ValidateLabelName(t.TopologyKey, at.Child("topologyKey"))...)
}

func validateWeight(weight int32, at *field.Path) field.ErrorList {
	if weight < 1 || weight > 100 {
		return field.ErrorList{field.Invalid(at.Child("weight"), weight, "must be in the range 1-100")}
	}
	return nil
}

// validateMatchKeys: the labels whose values are to be the pod's own, or to
// differ from them, are added to the selector when the pod is made. One that
// is there twice was the author's already.
func validateMatchKeys(t *corev1.PodAffinityTerm, at *field.Path) field.ErrorList {
	match, mismatch := at.Child("matchLabelKeys"), at.Child("mismatchLabelKeys")
	errs := rule.Join(validateLabelKeys(t.MatchLabelKeys, t.LabelSelector, match), validateLabelKeys(t.MismatchLabelKeys, t.LabelSelector, mismatch))
	if t.LabelSelector != nil {
		index, seen := map[string]int{}, rule.Seen[string]{}
		for i, key := range t.MatchLabelKeys {
			index[key] = i
		}
		for key := range t.LabelSelector.MatchLabels {
			seen[key] = struct{}{}
		}
		for _, expression := range t.LabelSelector.MatchExpressions {
			if i, ok := index[expression.Key]; ok && seen.Has(expression.Key) {
				errs = append(errs, field.Invalid(at.Index(i), expression.Key, "exists in both matchLabelKeys and labelSelector"))
			}
			seen[expression.Key] = struct{}{}
		}
	}
	excluded := rule.Seen[string]{}
	for _, key := range t.MismatchLabelKeys {
		excluded[key] = struct{}{}
	}
	return append(errs, rule.Each(t.MatchLabelKeys, match, func(key *string, at *field.Path) field.ErrorList {
		if excluded.Has(*key) {
			return field.ErrorList{field.Invalid(at, *key, "exists in both matchLabelKeys and mismatchLabelKeys")}
		}
		return nil
	})...)
}

func validateLabelKeys(keys []string, selector *metav1.LabelSelector, at *field.Path) field.ErrorList {
	if len(keys) > 0 && selector == nil {
		return field.ErrorList{field.Forbidden(at, "must not be specified when labelSelector is not set")}
	}
	return rule.Each(keys, at, func(key *string, at *field.Path) field.ErrorList { return metavalidation.ValidateLabelName(*key, at) })
}

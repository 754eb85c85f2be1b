package podspec

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func validateSpread(constraints []corev1.TopologySpreadConstraint, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range constraints {
		errs = append(errs, validateConstraint(&constraints[i], constraints[i+1:], at.Index(i))...)
	}
	return errs
}

// validateConstraint: each pair of topology and action may come once.
func validateConstraint(c *corev1.TopologySpreadConstraint, rest []corev1.TopologySpreadConstraint, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.MaxSkew <= 0 {
		errs = append(errs, field.Invalid(at.Child("maxSkew"), c.MaxSkew, "must be greater than zero"))
	}
	if c.TopologyKey == "" {
		errs = append(errs, field.Required(at.Child("topologyKey"), "can not be empty"))
	}
	errs = append(errs, rule.Supported(c.WhenUnsatisfiable, at.Child("whenUnsatisfiable"), corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
	if slices.ContainsFunc(rest, func(o corev1.TopologySpreadConstraint) bool {
		return o.TopologyKey == c.TopologyKey && o.WhenUnsatisfiable == c.WhenUnsatisfiable
	}) {
		errs = append(errs, field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable)))
	}
	return rule.Join(errs,
		validateMinDomains(c, at.Child("minDomains")),
		rule.OptionalOf(c.NodeAffinityPolicy, at.Child("nodeAffinityPolicy"), corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore),
		rule.OptionalOf(c.NodeTaintsPolicy, at.Child("nodeTaintsPolicy"), corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore),
		validateSpreadKeys(c, at.Child("matchLabelKeys")),
		rule.Selector(c.LabelSelector, at.Child("labelSelector")),
	)
}

func validateMinDomains(c *corev1.TopologySpreadConstraint, at *field.Path) field.ErrorList {
	if c.MinDomains == nil {
		return nil
	}
	var errs field.ErrorList
	if *c.MinDomains <= 0 {
		errs = append(errs, field.Invalid(at, *c.MinDomains, "must be greater than zero"))
	}
	if c.WhenUnsatisfiable != corev1.DoNotSchedule {
		errs = append(errs, field.Invalid(at, *c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable)))
	}
	return errs
}

func validateSpreadKeys(c *corev1.TopologySpreadConstraint, at *field.Path) field.ErrorList {
	if len(c.MatchLabelKeys) == 0 {
		return nil
	}
	if c.LabelSelector == nil {
		return append(field.ErrorList{field.Forbidden(at, "must not be specified when labelSelector is not set")},
			rule.Each(c.MatchLabelKeys, at, func(key *string, at *field.Path) field.ErrorList { return metavalidation.ValidateLabelName(*key, at) })...)
	}
	selected := rule.Seen[string]{}
	for key := range c.LabelSelector.MatchLabels {
		selected[key] = struct{}{}
	}
	for _, expression := range c.LabelSelector.MatchExpressions {
		selected[expression.Key] = struct{}{}
	}
	return rule.Each(c.MatchLabelKeys, at, func(key *string, at *field.Path) field.ErrorList {
		errs := metavalidation.ValidateLabelName(*key, at)
		if selected.Has(*key) {
			errs = append(errs, field.Invalid(at, *key, "exists in both matchLabelKeys and labelSelector"))
		}
		return errs
	})
}

package kinds

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

const (
	maxPolicyRules      = 20
	maxPolicyExitCodes  = 255
	maxPolicyConditions = 20
	longestIndexes      = 64 * 1024
)

// requiredOf is rule.OneOf for fields whose possible values are told to who
// leaves them out.
func requiredOf[T ~string](value T, at *field.Path, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, fmt.Sprintf("valid values: %q", supported))}
	}
	return rule.Supported(value, at, supported...)
}

func validateFailurePolicy(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	if s.PodFailurePolicy == nil {
		return nil
	}
	rules := at.Child("rules")
	return rule.Join(
		rule.AtMost(len(s.PodFailurePolicy.Rules), maxPolicyRules, rules),
		rule.Each(s.PodFailurePolicy.Rules, rules, func(r *batchv1.PodFailurePolicyRule, at *field.Path) field.ErrorList {
			return validateFailureRule(r, s, at)
		}))
}

func validateFailureRule(r *batchv1.PodFailurePolicyRule, s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	action := at.Child("action")
	errs := requiredOf(r.Action, action, batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(action, r.Action, "requires the backoffLimitPerIndex to be set"))
	}
	if r.OnExitCodes != nil {
		errs = append(errs, validateExitCodes(r.OnExitCodes, &s.Template.Spec, at.Child("onExitCodes"))...)
	}
	conditions := at.Child("onPodConditions")
	errs = append(errs, rule.AtMost(len(r.OnPodConditions), maxPolicyConditions, conditions)...)
	errs = append(errs, rule.Each(r.OnPodConditions, conditions, func(p *batchv1.PodFailurePolicyOnPodConditionsPattern, at *field.Path) field.ErrorList {
		return rule.Join(
			rule.Qualified(p.Type, at.Child("type")),
			requiredOf(p.Status, at.Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown),
		)
	})...)
	switch {
	case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

func validateExitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	errs := requiredOf(r.Operator, at.Child("operator"), batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	named := func(c corev1.Container) bool { return c.Name == *r.ContainerName }
	if r.ContainerName != nil && !slices.ContainsFunc(spec.Containers, named) && !slices.ContainsFunc(spec.InitContainers, named) {
		errs = append(errs, field.Invalid(at.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template"))
	}
	values := at.Child("values")
	if len(r.Values) == 0 {
		errs = append(errs, field.Invalid(values, r.Values, "at least one value is required"))
	}
	seen := rule.Seen[int32]{}
	errs = rule.Join(errs,
		rule.AtMost(len(r.Values), maxPolicyExitCodes, values),
		rule.Each(r.Values, values, func(code *int32, at *field.Path) field.ErrorList {
			errs := seen.Once(*code, at)
			if *code == 0 && r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
				errs = append(errs, field.Invalid(at, *code, "must not be 0 for the In operator"))
			}
			return errs
		}))
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(values, r.Values, "must be ordered"))
	}
	return errs
}

func validateSuccessPolicy(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	if s.SuccessPolicy == nil {
		return nil
	}
	if deref(s.CompletionMode) != batchv1.IndexedCompletion {
		return field.ErrorList{field.Invalid(at, *s.SuccessPolicy, "requires indexed completion mode")}
	}
	rules := at.Child("rules")
	var errs field.ErrorList
	if len(s.SuccessPolicy.Rules) == 0 {
		errs = append(errs, field.Required(rules, "at least one rules must be specified when the successPolicy is specified"))
	}
	return rule.Join(errs,
		rule.AtMost(len(s.SuccessPolicy.Rules), maxPolicyRules, rules),
		rule.Each(s.SuccessPolicy.Rules, rules, func(r *batchv1.SuccessPolicyRule, at *field.Path) field.ErrorList {
			return validateSuccessRule(r, deref(s.Completions), at)
		}))
}

func validateSuccessRule(r *batchv1.SuccessPolicyRule, completions int32, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	var listed int32
	if text := r.SucceededIndexes; text != nil {
		indexes := at.Child("succeededIndexes")
		if len(*text) > longestIndexes {
			errs = append(errs, field.TooLong(indexes, *text, longestIndexes))
		}
		var err error
		if listed, err = countIndexes(*text, completions); err != nil {
			errs = append(errs, field.Invalid(indexes, *text, "error parsing succeededIndexes: "+err.Error()))
		}
	}
	if r.SucceededCount == nil {
		return errs
	}
	count, path := *r.SucceededCount, at.Child("succeededCount")
	errs = append(errs, rule.NonNegative(&count, path)...)
	if count > completions {
		errs = append(errs, field.Invalid(path, count, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
	}
	if r.SucceededIndexes != nil && count > listed {
		errs = append(errs, field.Invalid(path, count, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", listed)))
	}
	return errs
}

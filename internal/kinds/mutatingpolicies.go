package kinds

import (
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds/rule"
)

func mutatingPolicyStrategy() Strategy {
	return specOnly(
		func(p *admissionv1.MutatingAdmissionPolicy) *admissionv1.MutatingAdmissionPolicySpec { return &p.Spec },
		rules[*admissionv1.MutatingAdmissionPolicy]{
			defaults: func(p *admissionv1.MutatingAdmissionPolicy) {
				setPointer(&p.Spec.FailurePolicy, admissionv1.Fail)
				defaultMatchResources(p.Spec.MatchConstraints)
			},
			validate: func(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
				return validateMutatingPolicy(&p.Spec, field.NewPath("spec"))
			},
		})
}

func mutatingBindingStrategy() Strategy {
	return specOnly(
		func(b *admissionv1.MutatingAdmissionPolicyBinding) *admissionv1.MutatingAdmissionPolicyBindingSpec {
			return &b.Spec
		},
		rules[*admissionv1.MutatingAdmissionPolicyBinding]{
			defaults: func(b *admissionv1.MutatingAdmissionPolicyBinding) { defaultMatchResources(b.Spec.MatchResources) },
			validate: func(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
				at := field.NewPath("spec")
				return rule.Join(
					validatePolicyBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at),
					validateMutatedOperations(b.Spec.MatchResources, at.Child("matchResources")),
				)
			},
		})
}

func validateMutatingPolicy(s *admissionv1.MutatingAdmissionPolicySpec, at *field.Path) field.ErrorList {
	expressions := newPolicyExpressions(s.ParamKind)
	errs := rule.Join(
		validatePolicyBasics(s.FailurePolicy, s.ParamKind, s.MatchConstraints, at),
		validateMutatedOperations(s.MatchConstraints, at.Child("matchConstraints")),
		validateMatchConditions(s.MatchConditions, s.ParamKind != nil, at.Child("matchConditions")),
		expressions.define(s.Variables, at.Child("variables")),
	)
	expressions.declarations.Patches = true
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(at.Child("mutations"), "mutations must contain at least one item"))
	}
	return rule.Join(errs,
		rule.Each(s.Mutations, at.Child("mutations"), expressions.validateMutation),
		rule.OneOf(s.ReinvocationPolicy, at.Child("reinvocationPolicy"), admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy),
	)
}

// validateMutatedOperations: there is nothing to change about a deletion.
func validateMutatedOperations(m *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	for i := range m.ResourceRules {
		for _, operation := range m.ResourceRules[i].Operations {
			errs = append(errs, rule.Supported(operation, at.Child("resourceRules", "operations"),
				admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update)...)
		}
	}
	return errs
}

func (p *policyExpressions) validateMutation(m *admissionv1.Mutation, at *field.Path) field.ErrorList {
	apply, patch := at.Child("applyConfiguration"), at.Child("jsonPatch")
	var errs field.ErrorList
	switch m.PatchType {
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			errs = append(errs, field.Required(apply, "must be specified when patchType is ApplyConfiguration"))
		} else {
			errs = p.checkMutation(m.ApplyConfiguration.Expression, apply.Child("expression"), expression.ObjectType)
		}
		if m.JSONPatch != nil {
			errs = append(errs, field.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration"))
		}
		return errs
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			errs = append(errs, field.Required(patch, "must be specified when patchType is JSONPatch"))
		} else {
			errs = p.checkMutation(m.JSONPatch.Expression, patch.Child("expression"), expression.JSONPatches)
		}
		if m.ApplyConfiguration != nil {
			errs = append(errs, field.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch"))
		}
		return errs
	}
	return rule.OneOf(m.PatchType, at.Child("patchType"), admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
}

func (p *policyExpressions) checkMutation(source string, at *field.Path, result *cel.Type) field.ErrorList {
	source = strings.TrimSpace(source)
	if source == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return p.check(source, at, result)
}

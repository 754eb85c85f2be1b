package kinds

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"navarch.dev/navarch/internal/kinds/rule"
)

// admissionPolicyKinds are those of the policies and their bindings.
func admissionPolicyKinds() []*Kind {
	return []*Kind{
		object[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyList](Kind{
			Group: admissionv1.GroupName, Version: "v1", Resource: "validatingadmissionpolicies", Kind: "ValidatingAdmissionPolicy",
			Singular: "validatingadmissionpolicy", Categories: []string{apiExtensions}, Subresources: []string{"status"},
			Columns: columns(
				number("Validations", "Validations indicates the number of validation rules defined in this configuration",
					func(p *admissionv1.ValidatingAdmissionPolicy) int64 { return int64(len(p.Spec.Validations)) }),
				text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy",
					func(p *admissionv1.ValidatingAdmissionPolicy) string { return formatParamKind(p.Spec.ParamKind) }),
				ageColumn(),
			),
			Strategy: validatingPolicyStrategy(),
		}),
		object[admissionv1.ValidatingAdmissionPolicyBinding, admissionv1.ValidatingAdmissionPolicyBindingList](Kind{
			Group: admissionv1.GroupName, Version: "v1", Resource: "validatingadmissionpolicybindings", Kind: "ValidatingAdmissionPolicyBinding",
			Singular: "validatingadmissionpolicybinding", Categories: []string{apiExtensions},
			Columns: columns(
				text("PolicyName", "PolicyName indicates the policy that the binding applies",
					func(b *admissionv1.ValidatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }),
				text("ParamRef", "ParamRef indicates the resource that holds the parameters",
					func(b *admissionv1.ValidatingAdmissionPolicyBinding) string { return formatParamRef(b.Spec.ParamRef) }),
				ageColumn(),
			),
			Strategy: validatingBindingStrategy(),
		}),
		object[admissionv1.MutatingAdmissionPolicy, admissionv1.MutatingAdmissionPolicyList](Kind{
			Group: admissionv1.GroupName, Version: "v1", Resource: "mutatingadmissionpolicies", Kind: "MutatingAdmissionPolicy",
			Singular: "mutatingadmissionpolicy", Categories: []string{apiExtensions},
			Columns: columns(
				number("Mutations", "Mutation indicates the number of mutations rules defined in this configuration",
					func(p *admissionv1.MutatingAdmissionPolicy) int64 { return int64(len(p.Spec.Mutations)) }),
				text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy",
					func(p *admissionv1.MutatingAdmissionPolicy) string { return formatParamKind(p.Spec.ParamKind) }),
				ageColumn(),
			),
			Strategy: mutatingPolicyStrategy(),
		}),
		object[admissionv1.MutatingAdmissionPolicyBinding, admissionv1.MutatingAdmissionPolicyBindingList](Kind{
			Group: admissionv1.GroupName, Version: "v1", Resource: "mutatingadmissionpolicybindings", Kind: "MutatingAdmissionPolicyBinding",
			Singular: "mutatingadmissionpolicybinding", Categories: []string{apiExtensions},
			Columns: columns(
				text("PolicyName", "PolicyName indicates the policy that the binding applies",
					func(b *admissionv1.MutatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }),
				text("ParamRef", "ParamRef indicates the resource that holds the parameters",
					func(b *admissionv1.MutatingAdmissionPolicyBinding) string { return formatParamRef(b.Spec.ParamRef) }),
				ageColumn(),
			),
			Strategy: mutatingBindingStrategy(),
		}),
	}
}

// unset is what a cell shows of a policy that has no parameters.
const unset = "<unset>"

func formatParamKind(k *admissionv1.ParamKind) string {
	if k == nil {
		return unset
	}
	return k.APIVersion + "/" + k.Kind
}

func formatParamRef(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return unset
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Namespace != "":
		return r.Namespace + "/*"
	}
	return "*/*"
}

func validatingPolicyStrategy() Strategy {
	return specStatus(
		func(p *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicySpec {
			return &p.Spec
		},
		func(p *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicyStatus {
			return &p.Status
		},
		rules[*admissionv1.ValidatingAdmissionPolicy]{
			defaults: func(p *admissionv1.ValidatingAdmissionPolicy) {
				setPointer(&p.Spec.FailurePolicy, admissionv1.Fail)
				defaultMatchResources(p.Spec.MatchConstraints)
			},
			validate: func(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
				return validateValidatingPolicy(p.Name, &p.Spec, field.NewPath("spec"))
			},
			validateStatus: func(p, _ *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
				return validatePolicyStatus(&p.Status, field.NewPath("status"))
			},
		})
}

func validatingBindingStrategy() Strategy {
	return specOnly(
		func(b *admissionv1.ValidatingAdmissionPolicyBinding) *admissionv1.ValidatingAdmissionPolicyBindingSpec {
			return &b.Spec
		},
		rules[*admissionv1.ValidatingAdmissionPolicyBinding]{
			defaults: func(b *admissionv1.ValidatingAdmissionPolicyBinding) { defaultMatchResources(b.Spec.MatchResources) },
			validate: func(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
				at := field.NewPath("spec")
				return rule.Join(
					validatePolicyBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at),
					validateActions(b.Spec.ValidationActions, at.Child("validationActions")),
				)
			},
		})
}

func defaultMatchResources(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	setPointer(&m.MatchPolicy, admissionv1.Equivalent)
	setPointer(&m.NamespaceSelector, metav1.LabelSelector{})
	setPointer(&m.ObjectSelector, metav1.LabelSelector{})
	for _, list := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range list {
			setPointer(&list[i].Scope, admissionv1.AllScopes)
		}
	}
}

func validateActions(actions []admissionv1.ValidationAction, at *field.Path) field.ErrorList {
	seen := rule.Seen[admissionv1.ValidationAction]{}
	errs := rule.Each(actions, at, func(a *admissionv1.ValidationAction, at *field.Path) field.ErrorList {
		return rule.Join(rule.Supported(*a, at, admissionv1.Audit, admissionv1.Deny, admissionv1.Warn), seen.Once(*a, at))
	})
	if seen.Has(admissionv1.Deny) && seen.Has(admissionv1.Warn) {
		errs = append(errs, field.Invalid(at, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	if len(actions) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	return errs
}

func validatePolicyStatus(s *admissionv1.ValidatingAdmissionPolicyStatus, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if checking := s.TypeChecking; checking != nil {
		errs = rule.Each(checking.ExpressionWarnings, at.Child("typeChecking", "expressionWarnings"), validateExpressionWarning)
	}
	return append(errs, metavalidation.ValidateConditions(s.Conditions, at.Child("conditions"))...)
}

func validateExpressionWarning(w *admissionv1.ExpressionWarning, at *field.Path) field.ErrorList {
	errs, where := rule.Required(w.Warning, at.Child("warning")), at.Child("fieldRef")
	ref := strings.TrimSpace(w.FieldRef)
	if ref == "" {
		return append(errs, field.Required(where, ""))
	}
	if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
		errs = append(errs, field.Invalid(where, ref, fmt.Sprintf("invalid JSONPath: %v", err)))
	}
	return errs
}

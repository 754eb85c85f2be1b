package kinds

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds/rule"
)

func validateWebhookRule(r *admissionv1.RuleWithOperations, at *field.Path) field.ErrorList {
	return rule.Join(validateOperations(r.Operations, at.Child("operations")), validateAdmissionRule(&r.Rule, at))
}

func validateOperations(operations []admissionv1.OperationType, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(operations) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if len(operations) > 1 && slices.Contains(operations, admissionv1.OperationAll) {
		errs = append(errs, field.Invalid(at, operations, "if '*' is present, must not specify other operations"))
	}
	return append(errs, rule.Each(operations, at, func(o *admissionv1.OperationType, at *field.Path) field.ErrorList {
		return rule.Supported(*o, at, admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)
	})...)
}

func validateAdmissionRule(r *admissionv1.Rule, at *field.Path) field.ErrorList {
	versions := at.Child("apiVersions")
	return rule.Join(
		validateAdmissionList(r.APIGroups, at.Child("apiGroups"), "API groups"),
		validateAdmissionList(r.APIVersions, versions, "API versions"),
		rule.Each(r.APIVersions, versions, func(v *string, at *field.Path) field.ErrorList { return rule.Required(*v, at) }),
		validateAdmissionResources(r.Resources, at.Child("resources")),
		rule.OptionalOf(r.Scope, at.Child("scope"), admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope),
	)
}

// validateAdmissionList checks that a list has values, and none beside a
// wildcard.
func validateAdmissionList(values []string, at *field.Path, what string) field.ErrorList {
	switch {
	case len(values) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(values) > 1 && slices.Contains(values, "*"):
		return field.ErrorList{field.Invalid(at, values, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

// validateAdmissionResources checks resources and subresources: x, x/y, x/*,
// */y, * (all resources) and */* (all resources and subresources). None may be
// named beside a wildcard that covers it.
func validateAdmissionResources(resources []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(resources) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	wholes, everywhere := rule.Seen[string]{}, rule.Seen[string]{} // the x of x/*, the y of */y
	plain := false
	for i, name := range resources {
		resource, sub, divided := strings.Cut(name, "/")
		switch {
		case name == "":
			errs = append(errs, field.Required(at.Index(i), ""))
			continue
		case !divided:
			plain = plain || name != "*"
			continue
		}
		if wholes.Has(resource) {
			errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, name)))
		}
		if everywhere.Has(sub) {
			errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, name)))
		}
		if sub == "*" {
			wholes[resource] = struct{}{}
		}
		if resource == "*" {
			everywhere[sub] = struct{}{}
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		errs = append(errs, field.Invalid(at, resources, "if '*/*' is present, must not specify other resources"))
	}
	if plain && slices.Contains(resources, "*") {
		errs = append(errs, field.Invalid(at, resources, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

// maxMatchConditions is how many conditions a webhook or policy may have.
const maxMatchConditions = 64

func validateMatchConditions(conditions []admissionv1.MatchCondition, params bool, at *field.Path) field.ErrorList {
	names := rule.Seen[string]{}
	errs := rule.AtMost(len(conditions), maxMatchConditions, at)
	return append(errs, rule.Each(conditions, at, func(c *admissionv1.MatchCondition, at *field.Path) field.ErrorList {
		errs := validateMatchExpression(c.Expression, params, at.Child("expression"))
		if c.Name == "" {
			return append(errs, field.Required(at.Child("name"), ""))
		}
		return rule.Join(errs, rule.Qualified(c.Name, at.Child("name")), names.Once(c.Name, at.Child("name")))
	})...)
}

func validateMatchExpression(source string, params bool, at *field.Path) field.ErrorList {
	source = strings.TrimSpace(source)
	if source == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return checkExpression(source, expression.Declarations{Params: params, Authorizer: true}, at, cel.BoolType)
}

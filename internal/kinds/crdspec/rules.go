package crdspec

import (
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/structural"
)

// reasons are those that a rule may give.
var reasons = []apiextensionsv1.FieldValueErrorReason{
	apiextensionsv1.FieldValueDuplicate, apiextensionsv1.FieldValueForbidden, apiextensionsv1.FieldValueInvalid, apiextensionsv1.FieldValueRequired,
}

// validateRules validates what surrounds the expressions of a node's rules.
func validateRules(s *structural.Props, at *field.Path) field.ErrorList {
	return rule.Each(s.XValidations, at, func(r *apiextensionsv1.ValidationRule, at *field.Path) field.ErrorList {
		errs := rule.OptionalOf(r.Reason, at.Child("reason"), reasons...)
		message := strings.TrimSpace(r.Message)
		switch {
		case strings.TrimSpace(r.Rule) == "":
			errs = append(errs, field.Required(at.Child("rule"), "rule is not specified"))
		case r.Message != "" && message == "":
			errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must be non-empty if specified"))
		case broken(message):
			errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must not contain line breaks"))
		case broken(strings.TrimSpace(r.Rule)) && message == "":
			errs = append(errs, field.Required(at.Child("message"), "message must be specified if rule contains line breaks"))
		}
		if r.MessageExpression != "" && strings.TrimSpace(r.MessageExpression) == "" {
			errs = append(errs, field.Required(at.Child("messageExpression"), "messageExpression must be non-empty if specified"))
		}
		return append(errs, validateFieldPath(s, r.FieldPath, at.Child("fieldPath"))...)
	})
}

func validateFieldPath(s *structural.Props, path string, at *field.Path) field.ErrorList {
	switch {
	case path == "":
		return nil
	case strings.TrimSpace(path) == "":
		return field.ErrorList{field.Invalid(at, path, "must be non-empty if specified")}
	case broken(path):
		return field.ErrorList{field.Invalid(at, path, "must not contain line breaks")}
	}
	if _, err := structural.FieldAt(s, path); err != nil {
		return field.ErrorList{field.Invalid(at, path, "must be a valid path")}
	}
	return nil
}

// broken says whether a text has several lines.
func broken(text string) bool { return strings.ContainsAny(text, "\n\r") }

package structural

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// Validate returns what is wrong with an object by the schema's own words:
// types, bounds, formats, required fields and the like.
func (s *Schema) Validate(obj map[string]any) field.ErrorList {
	return fieldErrors(nil, s.validator.Validate(obj))
}

// ValidateStatus is Validate for an object's status alone.
func (s *Schema) ValidateStatus(status any) field.ErrorList {
	if s.status == nil {
		return nil
	}
	return fieldErrors(field.NewPath("status"), s.status.Validate(status))
}

// ValidateValue is Validate for a value of the node, which is at a path.
func (s *Schema) ValidateValue(v any, at *field.Path) (field.ErrorList, error) {
	openapi, err := convert(s.Props)
	if err != nil {
		return nil, err
	}
	return validateBy(openapi, v, at), nil
}

func validateBy(openapi *spec.Schema, v any, at *field.Path) field.ErrorList {
	return fieldErrors(at, validate.NewSchemaValidator(openapi, nil, "", strfmt.Default).Validate(v))
}

// fieldErrors returns a result in Kubernetes' words.
func fieldErrors(at *field.Path, result *validate.Result) field.ErrorList {
	var errs field.ErrorList
	for _, err := range result.Errors {
		var broken *openapierrors.Validation
		if !errors.As(err, &broken) {
			errs = append(errs, field.Invalid(at, "", err.Error()))
			continue
		}
		errs = append(errs, fieldError(at, broken))
	}
	return errs
}

func fieldError(at *field.Path, broken *openapierrors.Validation) *field.Error {
	if name := strings.TrimPrefix(broken.Name, "."); name != "" {
		at = at.Child(name)
	}
	value := broken.Value
	if value == nil {
		value = ""
	}
	switch broken.Code() {
	case openapierrors.RequiredFailCode:
		return field.Required(at, "")
	case openapierrors.EnumFailCode:
		return field.NotSupported(at, broken.Value, enumValues(broken.Values))
	case openapierrors.TooLongFailCode:
		return field.TooLong(at, "", number(broken.Valid))
	case openapierrors.MaxItemsFailCode, openapierrors.TooManyPropertiesCode:
		return field.TooMany(at, number(broken.Value), number(broken.Valid))
	case openapierrors.InvalidTypeCode:
		return field.TypeInvalid(at, value, broken.Error())
	}
	return field.Invalid(at, value, broken.Error())
}

func number(v any) int {
	if n, ok := v.(int64); ok {
		return int(n)
	}
	return -1
}

func enumValues(values []any) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		if text, ok := v.(string); ok {
			out = append(out, text)
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			b = fmt.Append(nil, v)
		}
		out = append(out, string(b))
	}
	return out
}

package crdspec

import (
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/structural"
)

// columnTypes and columnFormats are those that a column may have.
var (
	columnTypes   = []string{"boolean", "date", "integer", "number", "string"}
	columnFormats = []string{"byte", "date", "date-time", "double", "float", "int32", "int64", "password"}
)

func validateColumn(c *apiextensionsv1.CustomResourceColumnDefinition, at *field.Path) field.ErrorList {
	errs := rule.Required(c.Name, at.Child("name"))
	known := "must be one of " + strings.Join(columnTypes, ",")
	switch {
	case c.Type == "":
		errs = append(errs, field.Required(at.Child("type"), known))
	case !slices.Contains(columnTypes, c.Type):
		errs = append(errs, field.Invalid(at.Child("type"), c.Type, known))
	}
	if c.Format != "" && !slices.Contains(columnFormats, c.Format) {
		errs = append(errs, field.Invalid(at.Child("format"), c.Format, "must be one of "+strings.Join(columnFormats, ",")))
	}
	return append(errs, validateJSONPath(c.JSONPath, at.Child("jsonPath"))...)
}

func validateJSONPath(path string, at *field.Path) field.ErrorList {
	switch {
	case path == "":
		return field.ErrorList{field.Required(at, "")}
	case path[0] != '.':
		return field.ErrorList{field.Invalid(at, path, "must be a simple json path starting with .")}
	}
	return nil
}

func validateSubresources(s *apiextensionsv1.CustomResourceSubresources, at *field.Path) field.ErrorList {
	if s == nil || s.Scale == nil {
		return nil
	}
	scale := at.Child("scale")
	errs := rule.Join(
		pathUnder(s.Scale.SpecReplicasPath, scale.Child("specReplicasPath"), "should be a json path under .spec", ".spec."),
		pathUnder(s.Scale.StatusReplicasPath, scale.Child("statusReplicasPath"), "should be a json path under .status", ".status."),
	)
	if selector := s.Scale.LabelSelectorPath; selector != nil && *selector != "" {
		errs = append(errs, pathUnder(*selector, scale.Child("labelSelectorPath"), "should be a json path under either .spec or .status", ".spec.", ".status.")...)
	}
	return errs
}

func pathUnder(path string, at *field.Path, rule string, prefixes ...string) field.ErrorList {
	if errs := validateJSONPath(path, at); len(errs) > 0 {
		return errs
	}
	if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) }) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, path, rule)}
}

// maxSelectable is how many fields of a version may be selectable.
const maxSelectable = 8

func validateSelectable(fields []apiextensionsv1.SelectableField, schema *structural.Props, at *field.Path) field.ErrorList {
	seen := rule.Seen[string]{}
	errs := rule.Each(fields, at, func(f *apiextensionsv1.SelectableField, at *field.Path) field.ErrorList {
		at = at.Child("jsonPath")
		if f.JSONPath == "" {
			return field.ErrorList{field.Required(at, "")}
		}
		node, err := structural.FieldAt(schema, f.JSONPath)
		if err != nil {
			return field.ErrorList{field.Invalid(at, f.JSONPath, fmt.Sprintf("is an invalid path: %v", err))}
		}
		var errs field.ErrorList
		if strings.HasPrefix(f.JSONPath, ".metadata") {
			errs = append(errs, field.Invalid(at, f.JSONPath, "must not point to fields in metadata"))
		}
		if !slices.Contains([]string{"string", "boolean", "integer"}, node.Type) {
			errs = append(errs, field.Invalid(at, f.JSONPath, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."))
		}
		return append(errs, seen.Once(f.JSONPath, at)...)
	})
	if len(seen) > maxSelectable {
		errs = append(errs, field.TooMany(at, len(seen), maxSelectable))
	}
	return errs
}

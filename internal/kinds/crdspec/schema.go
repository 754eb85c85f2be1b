package crdspec

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/structural"
	"navarch.dev/navarch/internal/structural/rules"
)

// Schema returns what is wrong with a version's schema. status says that the
// version has the status subresource.
func Schema(s *structural.Props, status bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if status {
		errs = validateRoot(s, at)
	}
	if s.Nullable {
		errs = append(errs, field.Forbidden(at.Child("nullable"), "nullable cannot be true at the root"))
	}
	errs = append(errs, validateNode(s, place{root: true}, at)...)
	if len(errs) > 0 {
		return errs
	}
	if errs = structural.Check(s, at); len(errs) > 0 {
		return errs
	}
	compiled, err := structural.New(s)
	if err != nil {
		return field.ErrorList{field.Invalid(at, "", err.Error())}
	}
	return rule.Join(compiled.CheckDefaults(at), rules.Check(compiled, at))
}

// validateRoot says what the root of a schema may say where the status, which
// is validated by itself, is a part of it: nothing that restricts both.
func validateRoot(s *structural.Props, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Type != "object" && s.Type != "" {
		errs = append(errs, field.Invalid(at.Child("type"), s.Type, `only "object" is allowed as the type at the root of the schema if the status subresource is enabled`))
	}
	return append(errs, rule.Forbid(at, "must not be set at the root of the schema if the status subresource is enabled",
		rule.Set("allOf", len(s.AllOf) > 0), rule.Set("anyOf", len(s.AnyOf) > 0), rule.Set("oneOf", len(s.OneOf) > 0), rule.Set("not", s.Not != nil),
		rule.Set("enum", len(s.Enum) > 0), rule.Set("maxProperties", s.MaxProperties != nil), rule.Set("minProperties", s.MinProperties != nil),
		rule.Set("additionalProperties", s.AdditionalProperties != nil), rule.Set("default", s.Default != nil),
		rule.Set("x-kubernetes-embedded-resource", s.XEmbeddedResource), rule.Set("x-kubernetes-int-or-string", s.XIntOrString),
		rule.Set("x-kubernetes-list-type", s.XListType != nil), rule.Set("x-kubernetes-map-type", s.XMapType != nil),
	)...)
}

// place is where in a schema a node is.
type place struct {
	root bool
	// meta says that the node is within the metadata of an object.
	meta bool
	// noDefault says why there may be no default; empty: there may.
	noDefault string
}

var types = []string{"array", "boolean", "integer", "number", "object", "string"}

func validateNode(s *structural.Props, p place, at *field.Path) field.ErrorList {
	errs := rule.Join(
		validateWords(s, p, at),
		validateExtensions(s, at),
		validateListMap(s, at),
		validateBelow(s, p, at),
		validateRules(s, at.Child("x-kubernetes-validations")),
	)
	for _, nested := range []struct {
		name  string
		parts []structural.Props
	}{{"allOf", s.AllOf}, {"anyOf", s.AnyOf}, {"oneOf", s.OneOf}} {
		for i := range nested.parts {
			errs = append(errs, validateNode(&nested.parts[i], place{meta: p.meta, noDefault: p.noDefault}, at.Child(nested.name).Index(i))...)
		}
	}
	if s.Not != nil {
		errs = append(errs, validateNode(s.Not, place{meta: p.meta, noDefault: p.noDefault}, at.Child("not"))...)
	}
	return errs
}

// validateWords refuses the words of JSON schema that Kubernetes does not know.
func validateWords(s *structural.Props, p place, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Type != "" && !slices.Contains(types, s.Type) {
		errs = append(errs, field.NotSupported(at.Child("type"), s.Type, types))
	}
	if s.Default != nil && p.noDefault != "" {
		errs = append(errs, field.Forbidden(at.Child("default"), "must not be set "+p.noDefault))
	}
	for _, word := range []struct {
		name string
		set  bool
	}{
		{"id", s.ID != ""},
		{"additionalItems", s.AdditionalItems != nil},
		{"patternProperties", len(s.PatternProperties) > 0},
		{"definitions", len(s.Definitions) > 0},
		{"dependencies", s.Dependencies != nil},
		{"$ref", s.Ref != nil},
	} {
		if word.set {
			errs = append(errs, field.Forbidden(at.Child(word.name), word.name+" is not supported"))
		}
	}
	if s.Items != nil && len(s.Items.JSONSchemas) > 0 {
		errs = append(errs, field.Forbidden(at.Child("items"), "items must be a schema object and not an array"))
	}
	if s.UniqueItems {
		errs = append(errs, field.Forbidden(at.Child("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"))
	}
	if values := s.AdditionalProperties; values != nil && len(s.Properties) > 0 && (!values.Allows || values.Schema != nil) {
		errs = append(errs, field.Forbidden(at.Child("additionalProperties"), "additionalProperties and properties are mutual exclusive"))
	}
	if p.meta && s.XEmbeddedResource {
		errs = append(errs, field.Forbidden(at.Child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta"))
	}
	return errs
}

// validateBelow validates the nodes directly below a node.
func validateBelow(s *structural.Props, p place, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		child, below := s.Properties[name], place{meta: p.meta, noDefault: p.noDefault}
		if (p.root || s.XEmbeddedResource) && (name == "metadata" || name == "kind" || name == "apiVersion") {
			below.meta = true
			if p.root {
				below.noDefault = "in top-level " + name
			}
		}
		errs = append(errs, validateNode(&child, below, at.Child("properties").Key(name))...)
	}
	below := place{meta: p.meta, noDefault: p.noDefault}
	if s.Items != nil && s.Items.Schema != nil {
		errs = append(errs, validateNode(s.Items.Schema, below, at.Child("items"))...)
	}
	if values := s.AdditionalProperties; values != nil && values.Schema != nil {
		if p.meta {
			below.noDefault = "inside additionalProperties applying to object metadata"
		}
		errs = append(errs, validateNode(values.Schema, below, at.Child("additionalProperties"))...)
	}
	return errs
}

func validateExtensions(s *structural.Props, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if keep := s.XPreserveUnknownFields; keep != nil && !*keep {
		errs = append(errs, field.Invalid(at.Child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined"))
	}
	return rule.Join(errs,
		typedExtension(s.XMapType, s.Type, "object", at, "x-kubernetes-map-type", "atomic", "granular"),
		typedExtension(s.XListType, s.Type, "array", at, "x-kubernetes-list-type", "atomic", "set", "map"),
	)
}

// typedExtension validates an extension that only one type can have.
func typedExtension(value *string, have, want string, at *field.Path, name string, supported ...string) field.ErrorList {
	if value == nil {
		return nil
	}
	errs := rule.Supported(*value, at.Child(name), supported...)
	why := fmt.Sprintf("must be %s if %s is specified", want, name)
	switch have {
	case want:
	case "":
		errs = append(errs, field.Required(at.Child("type"), why))
	default:
		errs = append(errs, field.Invalid(at.Child("type"), have, why))
	}
	return errs
}

// validateListMap validates lists whose items are known by their keys or, in
// sets, by themselves.
func validateListMap(s *structural.Props, at *field.Path) field.ErrorList {
	kind := ""
	if s.XListType != nil {
		kind = *s.XListType
	}
	listType, keys := at.Child("x-kubernetes-list-type"), at.Child("x-kubernetes-list-map-keys")
	var errs field.ErrorList
	switch {
	case len(s.XListMapKeys) > 0 && s.XListType == nil:
		errs = append(errs, field.Required(listType, "must be map if x-kubernetes-list-map-keys is non-empty"))
	case len(s.XListMapKeys) > 0 && kind != "map":
		errs = append(errs, field.Invalid(listType, kind, "must be map if x-kubernetes-list-map-keys is non-empty"))
	case kind == "map" && len(s.XListMapKeys) == 0:
		errs = append(errs, field.Required(keys, "must not be empty if x-kubernetes-list-type is map"))
	}
	if kind != "map" && kind != "set" {
		return errs
	}
	if s.Items == nil || s.Items.Schema == nil {
		if kind == "map" {
			errs = append(errs, field.Required(at.Child("items"), "must have a schema if x-kubernetes-list-type is map"))
		}
		return errs
	}
	items, itemsAt := s.Items.Schema, at.Child("items")
	if items.Nullable {
		errs = append(errs, field.Forbidden(itemsAt.Child("nullable"), "cannot be nullable when x-kubernetes-list-type is "+kind))
	}
	if kind == "set" {
		return append(errs, validateSetItems(items, itemsAt)...)
	}
	return append(errs, validateMapItems(s, items, at)...)
}

// validateSetItems says that the items of a set are compared as a whole.
func validateSetItems(items *structural.Props, at *field.Path) field.ErrorList {
	const why = "must be atomic as item of a list with x-kubernetes-list-type=set"
	switch {
	case items.Type == "array" && items.XListType != nil && *items.XListType != "atomic":
		return field.ErrorList{field.Invalid(at.Child("x-kubernetes-list-type"), *items.XListType, why)}
	case items.Type == "object" && (items.XMapType == nil || *items.XMapType != "atomic"):
		return field.ErrorList{field.Invalid(at.Child("x-kubernetes-map-type"), items.XMapType, why)}
	}
	return nil
}

func validateMapItems(s, items *structural.Props, at *field.Path) field.ErrorList {
	itemsAt, keysAt := at.Child("items"), at.Child("x-kubernetes-list-map-keys")
	if items.Type != "object" {
		return field.ErrorList{field.Invalid(itemsAt.Child("type"), items.Type, "must be object if parent array's x-kubernetes-list-type is map")}
	}
	var errs field.ErrorList
	seen := rule.Seen[string]{}
	for _, key := range s.XListMapKeys {
		if len(seen.Once(key, keysAt)) > 0 {
			errs = append(errs, field.Invalid(keysAt, s.XListMapKeys, "must not contain duplicate entries"))
			continue
		}
		property, ok := items.Properties[key]
		if !ok {
			errs = append(errs, field.Invalid(keysAt, s.XListMapKeys, "entries must all be names of item properties"))
			continue
		}
		path := itemsAt.Child("properties").Key(key)
		if property.Type == "array" || property.Type == "object" {
			errs = append(errs, field.Invalid(path.Child("type"), property.Type, "must be a scalar type if parent array's x-kubernetes-list-type is map"))
		}
		if !slices.Contains(items.Required, key) && property.Default == nil {
			errs = append(errs, field.Required(path.Child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"))
		}
		if property.Nullable {
			errs = append(errs, field.Forbidden(path.Child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"))
		}
	}
	return errs
}

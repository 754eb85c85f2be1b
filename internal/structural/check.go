package structural

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// level is where in a schema a node is.
type level int

const (
	root level = iota
	item
	property
)

// Check returns what keeps a schema from being structural.
func Check(props *Props, at *field.Path) field.ErrorList {
	errs := checkNode(props, root, at)
	errs = append(errs, complete(props, at)...)
	slices.SortFunc(errs, func(a, b *field.Error) int {
		switch {
		case a.Error() < b.Error():
			return -1
		case a.Error() > b.Error():
			return 1
		}
		return 0
	})
	return errs
}

// each calls check for the nodes directly below a node: its properties, items
// and values.
func each(p *Props, at *field.Path, check func(*Props, level, *field.Path) field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	if p.Items != nil && p.Items.Schema != nil {
		errs = append(errs, check(p.Items.Schema, item, at.Child("items"))...)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		child := p.Properties[name]
		errs = append(errs, check(&child, property, at.Child("properties").Key(name))...)
	}
	if values := p.AdditionalProperties; values != nil && values.Schema != nil {
		errs = append(errs, check(values.Schema, property, at.Child("additionalProperties"))...)
	}
	return errs
}

func preserves(p *Props) bool { return p.XPreserveUnknownFields != nil && *p.XPreserveUnknownFields }

func checkNode(p *Props, l level, at *field.Path) field.ErrorList {
	errs := each(p, at, checkNode)
	if p.Type == "array" && (p.Items == nil || p.Items.Schema == nil) {
		errs = append(errs, field.Required(at.Child("items"), "must be specified"))
	}
	if p.AdditionalProperties != nil && l == root {
		errs = append(errs, field.Forbidden(at.Child("additionalProperties"), "must not be used at the root"))
	}
	if p.XIntOrString && preserves(p) {
		errs = append(errs, field.Invalid(at.Child(extPreserve), true, "must be false if x-kubernetes-int-or-string is true"))
	}
	if p.XIntOrString && p.XEmbeddedResource {
		errs = append(errs, field.Invalid(at.Child(extEmbedded), true, "must be false if x-kubernetes-int-or-string is true"))
	}
	errs = append(errs, checkType(p, l, at)...)
	if l == root || p.XEmbeddedResource {
		errs = append(errs, checkObjectMeta(p, l, at)...)
	}
	return append(errs, checkLogic(p, at, eitherType(p.AnyOf), len(p.AllOf) > 0 && eitherType(p.AllOf[0].AnyOf))...)
}

// checkType says that a node has a type, where none is implied.
func checkType(p *Props, l level, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	typ := at.Child("type")
	switch {
	case p.XEmbeddedResource && p.Type == "":
		errs = append(errs, field.Required(typ, "must be object if x-kubernetes-embedded-resource is true"))
	case p.XEmbeddedResource && p.Type != "object":
		errs = append(errs, field.Invalid(typ, p.Type, "must be object if x-kubernetes-embedded-resource is true"))
	case p.Type == "" && !p.XIntOrString && !preserves(p):
		where := map[level]string{root: "at the root", item: "for specified array items", property: "for specified object fields"}
		errs = append(errs, field.Required(typ, "must not be empty "+where[l]))
	}
	if l == root && p.Type != "" && p.Type != "object" {
		errs = append(errs, field.Invalid(typ, p.Type, "must be object at the root"))
	}
	if !p.XEmbeddedResource {
		return errs
	}
	if p.AdditionalProperties != nil {
		errs = append(errs, field.Forbidden(at.Child("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set"))
	}
	if !preserves(p) && len(p.Properties) == 0 {
		errs = append(errs, field.Required(at.Child("properties"), "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"))
	}
	return errs
}

// checkObjectMeta says what a schema may say about an object's kind and
// metadata, which all objects have.
func checkObjectMeta(p *Props, l level, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range []string{"kind", "apiVersion"} {
		if child, ok := p.Properties[name]; ok && child.Type != "string" {
			errs = append(errs, field.Invalid(at.Child("properties").Key(name).Child("type"), child.Type, "must be string"))
		}
	}
	meta, ok := p.Properties["metadata"]
	if !ok {
		return errs
	}
	path := at.Child("properties").Key("metadata")
	if meta.Type != "object" {
		errs = append(errs, field.Invalid(path.Child("type"), meta.Type, "must be object"))
	}
	if l == root && !onlyNames(meta) {
		errs = append(errs, field.Forbidden(path, "must not specify anything other than name and generateName, but metadata is implicitly specified"))
	}
	return errs
}

// onlyNames says whether a schema of metadata restricts names and nothing else.
func onlyNames(meta Props) bool {
	for name := range meta.Properties {
		if name != "name" && name != "generateName" {
			return false
		}
	}
	return !meta.XEmbeddedResource && !meta.XIntOrString && meta.XPreserveUnknownFields == nil && meta.AdditionalProperties == nil &&
		meta.Description == "" && meta.Title == "" && !meta.Nullable && meta.Format == "" && meta.Items == nil &&
		len(meta.Required)+len(meta.AllOf)+len(meta.AnyOf)+len(meta.OneOf)+len(meta.Enum)+len(meta.XValidations)+len(meta.XListMapKeys) == 0 &&
		meta.Not == nil && meta.MaxProperties == nil && meta.MinProperties == nil && meta.XMapType == nil && meta.XListType == nil
}

// eitherType says whether alternatives are the way of writing that something
// is an integer or a string.
func eitherType(anyOf []Props) bool {
	return len(anyOf) == 2 && onlyType(anyOf[0]) == "integer" && onlyType(anyOf[1]) == "string"
}

// onlyType returns a schema's type if it says nothing else.
func onlyType(p Props) string {
	if !equality.Semantic.DeepEqual(p, Props{Type: p.Type}) {
		return ""
	}
	return p.Type
}

// checkLogic checks the logical combinations of a node. What is skipped are the
// ways of writing that it is an integer or a string.
func checkLogic(p *Props, at *field.Path, skipAnyOf, skipFirstAllOf bool) field.ErrorList {
	var errs field.ErrorList
	if !skipAnyOf {
		for i := range p.AnyOf {
			errs = append(errs, checkNested(&p.AnyOf[i], at.Child("anyOf").Index(i), false)...)
		}
	}
	for i := range p.AllOf {
		errs = append(errs, checkNested(&p.AllOf[i], at.Child("allOf").Index(i), skipFirstAllOf && i == 0)...)
	}
	for i := range p.OneOf {
		errs = append(errs, checkNested(&p.OneOf[i], at.Child("oneOf").Index(i), false)...)
	}
	if p.Not != nil {
		errs = append(errs, checkNested(p.Not, at.Child("not"), false)...)
	}
	if p.Pattern != "" {
		if _, err := regexp.Compile(p.Pattern); err != nil {
			errs = append(errs, field.Invalid(at.Child("pattern"), p.Pattern, fmt.Sprintf("must be a valid regular expression, but isn't: %v", err)))
		}
	}
	return errs
}

// checkNested checks a schema within a logical combination: it may restrict
// values, but not say what there is.
func checkNested(p *Props, at *field.Path, skipAnyOf bool) field.ErrorList {
	errs := checkLogic(p, at, skipAnyOf, false)
	if p.Items != nil && p.Items.Schema != nil {
		errs = append(errs, checkNested(p.Items.Schema, at.Child("items"), false)...)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		child := p.Properties[name]
		errs = append(errs, checkNested(&child, at.Child("properties").Key(name), false)...)
	}
	for _, f := range []struct {
		name, rule string
		set        bool
	}{
		{"type", "must be empty", p.Type != ""},
		{"additionalProperties", "must be undefined", p.AdditionalProperties != nil},
		{"default", "must be undefined", p.Default != nil},
		{"title", "must be empty", p.Title != ""},
		{"description", "must be empty", p.Description != ""},
		{"nullable", "must be false", p.Nullable},
		{extPreserve, "must be false", preserves(p)},
		{extEmbedded, "must be false", p.XEmbeddedResource},
		{extIntOrString, "must be false", p.XIntOrString},
		{extListKeys, "must be empty", len(p.XListMapKeys) > 0},
		{extListType, "must be undefined", p.XListType != nil},
		{extMapType, "must be undefined", p.XMapType != nil},
		{extRules, "must be empty", len(p.XValidations) > 0},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), f.rule+" to be structural"))
		}
	}
	if _, ok := p.Properties["metadata"]; ok {
		errs = append(errs, field.Forbidden(at.Child("properties").Key("metadata"), "must not be specified in a nested context"))
	}
	return errs
}

// complete says that what the logical combinations of a schema restrict is also
// described outside of them.
func complete(p *Props, at *field.Path) field.ErrorList {
	errs := each(p, at, func(child *Props, _ level, at *field.Path) field.ErrorList { return complete(child, at) })
	return append(errs, described(p, p, at, at)...)
}

// described checks the combinations of the schema nested, which is at path
// within, against the structural node s.
func described(nested, s *Props, at, within *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(part *Props, path *field.Path) {
		errs = append(errs, describedPart(part, s, at, path)...)
	}
	if nested.Not != nil {
		check(nested.Not, within.Child("not"))
	}
	for name, parts := range map[string][]Props{"allOf": nested.AllOf, "anyOf": nested.AnyOf, "oneOf": nested.OneOf} {
		for i := range parts {
			check(&parts[i], within.Child(name).Index(i))
		}
	}
	return errs
}

func describedPart(part, s *Props, at, within *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(at, fmt.Sprintf("because it is defined in %s", within))}
	}
	errs := described(part, s, at, within)
	if part.Items != nil && part.Items.Schema != nil {
		var items *Props
		if s.Items != nil {
			items = s.Items.Schema
		}
		errs = append(errs, describedPart(part.Items.Schema, items, at.Child("items"), within.Child("items"))...)
	}
	for name := range part.Properties {
		child := part.Properties[name]
		var have *Props
		if known, ok := s.Properties[name]; ok {
			have = &known
		}
		errs = append(errs, describedPart(&child, have, at.Child("properties").Key(name), within.Child("properties").Key(name))...)
	}
	return errs
}

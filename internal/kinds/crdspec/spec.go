// Package crdspec says what holds for the spec of a CustomResourceDefinition:
// its names, its versions and their schemas, columns and subresources.
package crdspec

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// Validate returns what is wrong with a spec but for its conversion.
func Validate(s *apiextensionsv1.CustomResourceDefinitionSpec, at *field.Path) field.ErrorList {
	errs := rule.Join(
		validateGroup(s.Group, at.Child("group")),
		rule.OneOf(s.Scope, at.Child("scope"), apiextensionsv1.ClusterScoped, apiextensionsv1.NamespaceScoped),
		validateVersions(s.Versions, at.Child("versions")),
		rule.Needs(at.Child("names"), "plural", s.Names.Plural, "singular", s.Names.Singular, "kind", s.Names.Kind, "listKind", s.Names.ListKind),
		Names(&s.Names, at.Child("names")),
	)
	if s.PreserveUnknownFields {
		errs = append(errs, field.Invalid(at.Child("preserveUnknownFields"), true,
			"cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"))
	}
	return errs
}

func validateGroup(group string, at *field.Path) field.ErrorList {
	if group == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if errs := rule.Form(group, at, validation.IsDNS1123Subdomain); len(errs) > 0 {
		return errs
	}
	if !strings.Contains(group, ".") {
		return field.ErrorList{field.Invalid(at, group, "should be a domain with at least one dot")}
	}
	return nil
}

// Names returns what is wrong with names; they may be missing.
func Names(n *apiextensionsv1.CustomResourceDefinitionNames, at *field.Path) field.ErrorList {
	label := func(value *string, at *field.Path) field.ErrorList {
		return rule.Form(*value, at, validation.IsDNS1035Label)
	}
	mixed := func(value, name string) field.ErrorList {
		if msgs := validation.IsDNS1035Label(strings.ToLower(value)); value != "" && len(msgs) > 0 {
			return field.ErrorList{field.Invalid(at.Child(name), value, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ","))}
		}
		return nil
	}
	errs := rule.Join(
		rule.FormIfSet(n.Plural, at.Child("plural"), validation.IsDNS1035Label),
		rule.FormIfSet(n.Singular, at.Child("singular"), validation.IsDNS1035Label),
		mixed(n.Kind, "kind"),
		mixed(n.ListKind, "listKind"),
		rule.Each(n.ShortNames, at.Child("shortNames"), label),
		rule.Each(n.Categories, at.Child("categories"), label),
	)
	if n.Kind != "" && n.Kind == n.ListKind {
		errs = append(errs, field.Invalid(at.Child("listKind"), n.ListKind, "kind and listKind may not be the same"))
	}
	return errs
}

func validateVersions(versions []apiextensionsv1.CustomResourceDefinitionVersion, at *field.Path) field.ErrorList {
	names := rule.Seen[string]{}
	stored, repeated := 0, false
	errs := rule.Each(versions, at, func(v *apiextensionsv1.CustomResourceDefinitionVersion, at *field.Path) field.ErrorList {
		repeated = repeated || len(names.Once(v.Name, at)) > 0
		if v.Storage {
			stored++
		}
		return append(rule.Form(v.Name, at.Child("name"), validation.IsDNS1035Label), validateVersion(v, at)...)
	})
	given := versionNames(versions)
	if repeated {
		errs = append(errs, field.Invalid(at, given, "must contain unique version names"))
	}
	if stored != 1 {
		errs = append(errs, field.Invalid(at, given, "must have exactly one version marked as storage version"))
	}
	return errs
}

func versionNames(versions []apiextensionsv1.CustomResourceDefinitionVersion) []string {
	var names []string
	for i := range versions {
		names = append(names, versions[i].Name)
	}
	return names
}

func validateVersion(v *apiextensionsv1.CustomResourceDefinitionVersion, at *field.Path) field.ErrorList {
	errs := rule.Join(
		validateDeprecation(v, at.Child("deprecationWarning")),
		validateSubresources(v.Subresources, at.Child("subresources")),
		rule.Each(v.AdditionalPrinterColumns, at.Child("additionalPrinterColumns"), validateColumn),
	)
	schema := at.Child("schema", "openAPIV3Schema")
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return append(errs, field.Required(schema, ""))
	}
	status := v.Subresources != nil && v.Subresources.Status != nil
	return rule.Join(errs,
		Schema(v.Schema.OpenAPIV3Schema, status, schema),
		validateSelectable(v.SelectableFields, v.Schema.OpenAPIV3Schema, at.Child("selectableFields")),
	)
}

// maxDeprecation is the length of a deprecation warning.
const maxDeprecation = 256

func validateDeprecation(v *apiextensionsv1.CustomResourceDefinitionVersion, at *field.Path) field.ErrorList {
	if v.DeprecationWarning == nil {
		return nil
	}
	text := *v.DeprecationWarning
	var messages []string
	if !v.Deprecated {
		messages = append(messages, "can only be set for deprecated versions")
	}
	if len(text) > maxDeprecation {
		messages = append(messages, fmt.Sprintf("must be <= %d characters long", maxDeprecation))
	}
	if text == "" {
		messages = append(messages, "must not be an empty string")
	}
	odd := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	switch {
	case odd >= 0:
		messages = append(messages, fmt.Sprintf("must only contain printable UTF-8 characters; non-printable character found at index %d", odd))
	case !utf8.ValidString(text):
		messages = append(messages, "must only contain printable UTF-8 characters")
	}
	return rule.Invalids(at, text, messages)
}

// ValidateStored returns what is wrong with the versions that objects may be
// stored in.
func ValidateStored(stored []string, versions []apiextensionsv1.CustomResourceDefinitionVersion, at *field.Path) field.ErrorList {
	if len(stored) == 0 {
		return field.ErrorList{field.Invalid(at, stored, "must have at least one stored version")}
	}
	var errs field.ErrorList
	for i := range versions {
		if v := &versions[i]; v.Storage && !slices.Contains(stored, v.Name) {
			errs = append(errs, field.Invalid(at, stored, "must have the storage version "+v.Name))
		}
	}
	names := versionNames(versions)
	for i, name := range stored {
		if !slices.Contains(names, name) {
			errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf(
				"missing from spec.versions; %[1]s was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", name)))
		}
	}
	return errs
}

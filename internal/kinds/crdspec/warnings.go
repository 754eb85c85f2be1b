package crdspec

import (
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"navarch.dev/navarch/internal/structural"
)

// Warnings returns what is accepted in a spec's schemas but has no effect.
func Warnings(s *apiextensionsv1.CustomResourceDefinitionSpec) []string {
	var out []string
	for i := range s.Versions {
		if schema := s.Versions[i].Schema; schema != nil && schema.OpenAPIV3Schema != nil {
			warn(schema.OpenAPIV3Schema, &out)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func warn(s *structural.Props, out *[]string) {
	if s.Format != "" && !structural.KnownFormat(s.Type, s.Format) {
		*out = append(*out, fmt.Sprintf("unrecognized format %q", s.Format))
	}
	if s.Items != nil && s.Items.Schema != nil {
		items := s.Items.Schema
		if s.XListType != nil && *s.XListType == "set" && (items.Type == "object" || items.Type == "array") {
			*out = append(*out, fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", items.Type))
		}
		warn(items, out)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		child := s.Properties[name]
		warn(&child, out)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		warn(s.AdditionalProperties.Schema, out)
	}
	for _, parts := range [][]structural.Props{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range parts {
			warn(&parts[i], out)
		}
	}
}

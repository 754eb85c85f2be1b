package structural

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// The extensions of OpenAPI that a schema of Kubernetes may have.
const (
	extPreserve    = "x-kubernetes-preserve-unknown-fields"
	extEmbedded    = "x-kubernetes-embedded-resource"
	extIntOrString = "x-kubernetes-int-or-string"
	extListKeys    = "x-kubernetes-list-map-keys"
	extListType    = "x-kubernetes-list-type"
	extMapType     = "x-kubernetes-map-type"
	extRules       = "x-kubernetes-validations"
)

// OpenAPI returns the schema as kube-openapi has it. It is shared and must not
// be changed.
func (s *Schema) OpenAPI() *spec.Schema { return s.openapi }

func (s *Schema) toOpenAPI() (*spec.Schema, error) { return convert(s.Props) }

// convert returns a schema as kube-openapi has it. Formats that nobody checks
// are left out, and an integer or string is said to be either.
func convert(in *Props) (*spec.Schema, error) {
	out := &spec.Schema{SchemaProps: spec.SchemaProps{
		Description: in.Description, Title: in.Title, Nullable: in.Nullable,
		Maximum: in.Maximum, ExclusiveMaximum: in.ExclusiveMaximum, Minimum: in.Minimum, ExclusiveMinimum: in.ExclusiveMinimum,
		MaxLength: in.MaxLength, MinLength: in.MinLength, Pattern: in.Pattern,
		MaxItems: in.MaxItems, MinItems: in.MinItems, UniqueItems: in.UniqueItems, MultipleOf: in.MultipleOf,
		MaxProperties: in.MaxProperties, MinProperties: in.MinProperties, Required: in.Required,
	}}
	if in.Type != "" {
		out.Type = spec.StringOrArray{in.Type}
	}
	if in.XIntOrString {
		out.Type = spec.StringOrArray{"integer", "string"}
	}
	if KnownFormat(in.Type, in.Format) {
		out.Format = in.Format
	}
	if err := convertValues(in, out); err != nil {
		return nil, err
	}
	if err := convertParts(in, out); err != nil {
		return nil, err
	}
	extend(in, out)
	return out, nil
}

// convertValues converts what a schema says in JSON.
func convertValues(in *Props, out *spec.Schema) (err error) {
	if out.Default, err = decoded(in.Default); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	if out.Example, err = decoded(in.Example); err != nil {
		return fmt.Errorf("example: %w", err)
	}
	for i := range in.Enum {
		v, err := decoded(&in.Enum[i])
		if err != nil {
			return fmt.Errorf("enum: %w", err)
		}
		out.Enum = append(out.Enum, v)
	}
	return nil
}

// convertParts converts the schemas within a schema.
func convertParts(in *Props, out *spec.Schema) (err error) {
	for _, list := range []struct {
		in  []Props
		out *[]spec.Schema
	}{{in.AllOf, &out.AllOf}, {in.OneOf, &out.OneOf}, {in.AnyOf, &out.AnyOf}} {
		for i := range list.in {
			part, err := convert(&list.in[i])
			if err != nil {
				return err
			}
			*list.out = append(*list.out, *part)
		}
	}
	if in.Not != nil {
		if out.Not, err = convert(in.Not); err != nil {
			return err
		}
	}
	for name := range in.Properties {
		property := in.Properties[name]
		part, err := convert(&property)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		out.SetProperty(name, *part)
	}
	if in.Items != nil && in.Items.Schema != nil {
		part, err := convert(in.Items.Schema)
		if err != nil {
			return fmt.Errorf("items: %w", err)
		}
		out.Items = &spec.SchemaOrArray{Schema: part}
	}
	if values := in.AdditionalProperties; values != nil {
		out.AdditionalProperties = &spec.SchemaOrBool{Allows: values.Allows}
		if values.Schema != nil {
			out.AdditionalProperties.Allows = true
			out.AdditionalProperties.Schema, err = convert(values.Schema)
		}
	}
	return err
}

// extend adds Kubernetes' extensions.
func extend(in *Props, out *spec.Schema) {
	if in.XPreserveUnknownFields != nil {
		out.AddExtension(extPreserve, *in.XPreserveUnknownFields)
	}
	if in.XEmbeddedResource {
		out.AddExtension(extEmbedded, true)
	}
	if in.XIntOrString {
		out.AddExtension(extIntOrString, true)
	}
	if len(in.XListMapKeys) > 0 {
		out.AddExtension(extListKeys, anys(in.XListMapKeys))
	}
	if in.XListType != nil {
		out.AddExtension(extListType, *in.XListType)
	}
	if in.XMapType != nil {
		out.AddExtension(extMapType, *in.XMapType)
	}
	if len(in.XValidations) > 0 {
		out.AddExtension(extRules, rulesAsJSON(in.XValidations))
	}
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// rulesAsJSON returns rules as JSON decodes them.
func rulesAsJSON(rules apiextensionsv1.ValidationRules) []any {
	var out []any
	b, err := json.Marshal(rules)
	if err != nil || json.Unmarshal(b, &out) != nil { // structs of strings
		return nil
	}
	return out
}

// stringFormats are the formats of strings that are checked, without dashes.
var stringFormats = strings.Fields(`bsonobjectid uri email hostname ipv4 ipv6 cidr mac uuid uuid3 uuid4 uuid5 isbn isbn10 isbn13
	creditcard ssn hexcolor rgbcolor byte password date duration datetime k8sshortname k8slongname`)

// KnownFormat says whether a format of a type is one that is checked.
func KnownFormat(typ, format string) bool {
	switch typ {
	case "", "string":
		return slices.Contains(stringFormats, strings.ReplaceAll(format, "-", ""))
	case "integer":
		return format == "int32" || format == "int64"
	case "number":
		return format == "float" || format == "double"
	}
	return false
}

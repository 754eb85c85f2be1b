// Package structural is what a CustomResourceDefinition says of its objects: a
// structural schema (KEP-1002), an OpenAPI v3 schema that names every field
// and its type outside of any logical combination, so that objects can be
// pruned of what it does not know and given what it says by default.
//
// New reads a schema, Check says whether it is structural. A Schema then
//
//	Prune         drops unknown fields
//	DropNulls     drops nulls that cannot be
//	ApplyDefaults fills in what is left out
//	Validate      says what is wrong with an object
//
// and OpenAPI returns it as others can use it: to merge, or to publish.
// Objects are as JSON decodes them: map[string]any, []any, string, int64,
// float64, bool and nil.
package structural

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	kjson "sigs.k8s.io/json"
)

// Props is a schema as it is written in a CustomResourceDefinition.
type Props = apiextensionsv1.JSONSchemaProps

// Schema is a node of a structural schema. It is immutable.
type Schema struct {
	// Props is the node as it was written, with all that is below it.
	Props *Props
	// Properties, Items and Values (additionalProperties) are the nodes below.
	Properties    map[string]*Schema
	Items, Values *Schema
	// AnyValues says that the node is a map of anything.
	AnyValues bool
	// Default is what the node is by default; nil for none.
	Default any
	// PreserveUnknown keeps fields that no property names.
	PreserveUnknown bool
	// Embedded says that the node is an object with a kind and metadata.
	Embedded bool

	openapi   *spec.Schema
	validator *validate.SchemaValidator
	status    *validate.SchemaValidator
}

// New reads the schema of whole objects. It fails on what cannot be read as a
// schema; whether that is structural is for Check to say.
func New(props *Props) (*Schema, error) {
	s, err := read(props)
	if err != nil {
		return nil, err
	}
	if s.openapi, err = s.toOpenAPI(); err != nil {
		return nil, err
	}
	s.validator = validate.NewSchemaValidator(s.openapi, nil, "", strfmt.Default)
	if status, ok := s.openapi.Properties["status"]; ok {
		s.status = validate.NewSchemaValidator(&status, nil, "", strfmt.Default)
	}
	return s, nil
}

func read(props *Props) (*Schema, error) {
	s := &Schema{
		Props:           props,
		PreserveUnknown: props.XPreserveUnknownFields != nil && *props.XPreserveUnknownFields,
		Embedded:        props.XEmbeddedResource,
	}
	var err error
	if s.Default, err = decoded(props.Default); err != nil {
		return nil, fmt.Errorf("read a default: %w", err)
	}
	if len(props.Properties) > 0 {
		s.Properties = make(map[string]*Schema, len(props.Properties))
	}
	for name := range props.Properties {
		property := props.Properties[name]
		if s.Properties[name], err = read(&property); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if props.Items != nil && props.Items.Schema != nil {
		if s.Items, err = read(props.Items.Schema); err != nil {
			return nil, fmt.Errorf("items: %w", err)
		}
	}
	if values := props.AdditionalProperties; values != nil {
		s.AnyValues = values.Schema == nil && values.Allows
		if values.Schema != nil {
			s.Values, err = read(values.Schema)
		}
	}
	return s, err
}

// decoded returns a JSON value of a schema; nil where it has none, and where
// that is null.
func decoded(j *apiextensionsv1.JSON) (any, error) {
	if j == nil || len(j.Raw) == 0 {
		return nil, nil
	}
	var v any
	err := kjson.UnmarshalCaseSensitivePreserveInts(j.Raw, &v)
	return v, err
}

// ListType returns "atomic", "set" or "map".
func (s *Schema) ListType() string {
	if s.Props.XListType == nil {
		return listAtomic
	}
	return *s.Props.XListType
}

const (
	listAtomic = "atomic"
	listSet    = "set"
	listMap    = "map"
)

// child returns what describes a field of an object that the node describes,
// nil if nothing does. known says whether such a field may be there.
func (s *Schema) child(name string) (child *Schema, known bool) {
	if p, ok := s.Properties[name]; ok {
		return p, true
	}
	return s.Values, s.Values != nil || s.AnyValues
}

func copied(v any) any { return runtime.DeepCopyJSONValue(v) }

package openapi

import (
	"encoding/json"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
)

// named returns every model by its name.
func (m *models) named() object {
	out := make(object, len(m.all)+len(m.written))
	for name, s := range m.all {
		out[name] = s
	}
	for name, s := range m.written {
		out[name] = s
	}
	return out
}

// customName is the name of a custom kind's model: its group backwards, as
// those of other kinds.
func customName(k *kinds.Kind, kind string) string {
	domain := strings.Split(k.Group, ".")
	slices.Reverse(domain)
	return strings.Join(domain, ".") + "." + k.Version + "." + kind
}

// custom makes the model of a custom kind's objects of the schema in its
// definition, and returns its name.
func (m *models) custom(k *kinds.Kind) string {
	name := customName(k, k.Kind)
	s := m.schemaOf(k)
	if !m.oneOf && s[preserve] == true {
		s = make(object) // clients of v2 take properties for all that there can be
	} else {
		properties, ok := s["properties"].(object)
		if !ok {
			properties = make(object)
			s["properties"] = properties
		}
		m.meta(properties)
	}
	s["type"] = "object"
	s["x-kubernetes-group-version-kind"] = []gvk{gvkOf(k.GVK())}
	m.written[name] = s
	return name
}

// preserve marks schemas of objects that may have other fields, too.
const preserve = "x-kubernetes-preserve-unknown-fields"

// meta adds to a schema's properties those of all objects.
func (m *models) meta(properties object) {
	docs, meta := metav1.TypeMeta{}.SwaggerDoc(), metav1.ObjectMeta{}
	properties["apiVersion"] = object{"type": "string", "description": docs["apiVersion"]}
	properties["kind"] = object{"type": "string", "description": docs["kind"]}
	ref := object{"$ref": m.refPrefix + m.addValue(&meta)}
	if m.oneOf {
		properties["metadata"] = object{"allOf": []object{ref}, "description": "Standard object's metadata."}
	} else {
		properties["metadata"] = ref
	}
}

// customList makes the model of a custom kind's lists.
func (m *models) customList(k *kinds.Kind) string {
	name := customName(k, k.List())
	docs := metav1.TypeMeta{}.SwaggerDoc()
	m.written[name] = object{
		"description": k.List() + " is a list of " + k.Kind, "type": "object", "required": []string{"items"},
		"properties": object{
			"apiVersion": object{"type": "string", "description": docs["apiVersion"]},
			"kind":       object{"type": "string", "description": docs["kind"]},
			"metadata":   object{"$ref": m.refPrefix + m.addValue(&metav1.ListMeta{})},
			"items":      object{"type": "array", "items": object{"$ref": m.refPrefix + customName(k, k.Kind)}},
		},
		"x-kubernetes-group-version-kind": []gvk{{Group: k.Group, Version: k.Version, Kind: k.List()}},
	}
	return name
}

// schemaOf returns what the definition says of a version's objects, as JSON
// decodes it.
func (m *models) schemaOf(k *kinds.Kind) object {
	out := make(object)
	for i := range k.Custom.Definition.Spec.Versions {
		v := &k.Custom.Definition.Spec.Versions[i]
		if v.Name != k.Version || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		// It came as JSON, and what it does not hold is no loss here.
		if b, err := json.Marshal(v.Schema.OpenAPIV3Schema); err == nil {
			_ = json.Unmarshal(b, &out)
		}
		m.fit(out, v.Schema.OpenAPIV3Schema)
	}
	return out
}

// fit makes a schema one that clients of the document's version understand. In
// v2 nothing can be null or one of several types: what may be is of no type.
func (m *models) fit(s object, props *apiextensionsv1.JSONSchemaProps) {
	if props.XEmbeddedResource {
		properties, ok := s["properties"].(object)
		if !ok {
			properties = make(object)
			s["properties"] = properties
		}
		m.meta(properties)
	}
	if !m.oneOf {
		for _, word := range []string{"oneOf", "anyOf", "allOf", "not", "nullable", "default"} {
			delete(s, word)
		}
		if props.XIntOrString || props.Nullable {
			for _, word := range []string{"type", "items", "properties", "additionalProperties", "required", "format"} {
				delete(s, word)
			}
			return
		}
		if s[preserve] == true {
			delete(s, "items")
			delete(s, "properties")
			if s["type"] == "object" || s["type"] == "array" {
				delete(s, "type")
			}
		}
	}
	if items, ok := s["items"].(object); ok && props.Items != nil && props.Items.Schema != nil {
		m.fit(items, props.Items.Schema)
	}
	if values, ok := s["additionalProperties"].(object); ok && props.AdditionalProperties != nil && props.AdditionalProperties.Schema != nil {
		m.fit(values, props.AdditionalProperties.Schema)
	}
	properties, _ := s["properties"].(object)
	for name := range props.Properties {
		property := props.Properties[name]
		if schema, ok := properties[name].(object); ok {
			m.fit(schema, &property)
		}
	}
}

package customresource

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"navarch.dev/navarch/internal/structural"
)

// typesOf tells how the fields of a kind's objects merge.
func typesOf(gvk schema.GroupVersionKind, s *structural.Schema) (managedfields.TypeConverter, error) {
	whole := mergeSchema(s.OpenAPI(), true)
	whole.AddExtension("x-kubernetes-group-version-kind", []any{
		map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind},
	})
	types, err := managedfields.NewTypeConverter(map[string]*spec.Schema{gvk.Kind: whole, metaName: objectMeta()}, false)
	if err != nil {
		return nil, fmt.Errorf("read how %s merge: %w", gvk.Kind, err)
	}
	return types, nil
}

const metaName = "ObjectMeta"

// mergeSchema returns a schema as far as it says how values merge. whole says
// that it describes objects that have a kind and metadata.
func mergeSchema(s *spec.Schema, whole bool) *spec.Schema {
	out := &spec.Schema{SchemaProps: spec.SchemaProps{Type: s.Type, Nullable: s.Nullable, Default: s.Default}}
	out.Extensions = make(spec.Extensions, len(s.Extensions))
	for name, value := range s.Extensions {
		out.Extensions[name] = value
	}
	if len(s.Type) > 1 { // an integer or a string
		out.Type = nil
	}
	if s.Items != nil && s.Items.Schema != nil {
		out.Items = &spec.SchemaOrArray{Schema: mergeSchema(s.Items.Schema, embedded(s.Items.Schema))}
	}
	for name, property := range s.Properties {
		out.SetProperty(name, *mergeSchema(&property, embedded(&property)))
	}
	if values := s.AdditionalProperties; values != nil {
		out.AdditionalProperties = &spec.SchemaOrBool{Allows: values.Allows}
		if values.Schema != nil {
			out.AdditionalProperties.Schema = mergeSchema(values.Schema, embedded(values.Schema))
		}
	}
	if whole {
		out.SetProperty("apiVersion", *spec.StringProperty())
		out.SetProperty("kind", *spec.StringProperty())
		out.SetProperty("metadata", *spec.RefProperty("#/definitions/" + metaName))
	}
	return out
}

func embedded(s *spec.Schema) bool {
	is, ok := s.Extensions["x-kubernetes-embedded-resource"].(bool)
	return ok && is
}

// objectMeta is the schema of metadata.
func objectMeta() *spec.Schema {
	text, number := spec.StringProperty(), spec.Int64Property()
	object := func(properties map[string]*spec.Schema) *spec.Schema {
		out := &spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{"object"}}}
		for name, p := range properties {
			out.SetProperty(name, *p)
		}
		return out
	}
	list := func(items *spec.Schema, kind string, keys ...any) *spec.Schema {
		out := spec.ArrayProperty(items)
		out.AddExtension("x-kubernetes-list-type", kind)
		if len(keys) > 0 {
			out.AddExtension("x-kubernetes-list-map-keys", keys)
		}
		return out
	}
	owner := object(map[string]*spec.Schema{
		"apiVersion": text, "kind": text, "name": text, "uid": text, "controller": spec.BooleanProperty(), "blockOwnerDeletion": spec.BooleanProperty(),
	})
	owner.AddExtension("x-kubernetes-map-type", "atomic")
	return object(map[string]*spec.Schema{
		"name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text, "resourceVersion": text,
		"generation": number, "creationTimestamp": text, "deletionTimestamp": text, "deletionGracePeriodSeconds": number,
		"labels": spec.MapProperty(text), "annotations": spec.MapProperty(text),
		"ownerReferences": list(owner, "map", "uid"), "finalizers": list(text, "set"),
		"managedFields": list(&spec.Schema{}, "atomic"),
	})
}

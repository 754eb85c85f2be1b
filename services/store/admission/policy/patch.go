package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/jsonpatch"
)

// patched returns an object changed by a JSON patch. A patch whose test fails
// changes nothing.
func patched(obj kinds.Object, operations any) (kinds.Object, error) {
	text, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
	}
	patch, err := jsonpatch.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("JSONPath: %w", err)
	}
	document, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("failed to create JSON patch: %w", err)
	}
	document, err = jsonpatch.Apply(document, patch)
	switch {
	case errors.Is(err, jsonpatch.ErrTestFailed):
		return obj, nil
	case err != nil:
		return nil, fmt.Errorf("JSONPath: %w", err)
	}
	after := empty(obj)
	_, err = codec.DecodeJSON(document, after, obj.GetObjectKind().GroupVersionKind(), storev1.FieldValidation_FIELD_VALIDATION_STRICT)
	return after, err
}

// applied returns an object with a configuration merged in.
func applied(types managedfields.TypeConverter, obj kinds.Object, configuration any) (kinds.Object, error) {
	fields, ok := configuration.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("invalid return type: %T", configuration)
	}
	patch := &unstructured.Unstructured{Object: fields}
	patch.SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
	change, err := types.ObjectToTyped(patch)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to convert patch object to typed object: %w", err)
	}
	if atomic := atomics(nil, change.Schema(), change.TypeRef(), change.AsValue()); len(atomic) > 0 {
		return nil, fmt.Errorf("error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: %s", strings.Join(atomic, ", "))
	}
	live, err := types.ObjectToTyped(obj)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to convert original object to typed object: %w", err)
	}
	merged, err := live.Merge(change)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to merge patch: %w", err)
	}
	result, err := types.TypedToObject(merged)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to convert typed object to object: %w", err)
	}
	return typedObject(result, obj)
}

// typedObject returns a merged object in the Go type of another.
func typedObject(merged runtime.Object, like kinds.Object) (kinds.Object, error) {
	if obj, ok := merged.(kinds.Object); ok && reflect.TypeOf(obj) == reflect.TypeOf(like) {
		return obj, nil
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(merged)
	if err != nil {
		return nil, err
	}
	after := empty(like)
	return after, runtime.DefaultUnstructuredConverter.FromUnstructured(fields, after)
}

// empty returns an empty object of the type of another.
func empty(obj kinds.Object) kinds.Object {
	return reflect.New(reflect.TypeOf(obj).Elem()).Interface().(kinds.Object)
}

// atomics returns the paths of what a configuration would replace as a whole:
// it would lose what is not repeated in it.
func atomics(path fieldpath.Path, s *schema.Schema, ref schema.TypeRef, v value.Value) []string {
	atom, ok := s.Resolve(ref)
	if !ok {
		return nil
	}
	var found []string
	switch {
	case v.IsMap() && atom.Map != nil:
		if atom.Map.ElementRelationship == schema.Atomic {
			found = append(found, path.String())
		}
		v.AsMap().Iterate(func(key string, item value.Value) bool {
			if field, ok := atom.Map.FindField(key); ok {
				found = append(found, atomics(append(path.Copy(), fieldpath.PathElement{FieldName: &key}), s, field.Type, item)...)
			}
			return true
		})
	case v.IsList() && atom.List != nil:
		if atom.List.ElementRelationship == schema.Atomic {
			found = append(found, path.String())
		}
		list := v.AsList()
		for i := range list.Length() {
			found = append(found, atomics(append(path.Copy(), fieldpath.PathElement{Index: &i}), s, atom.List.ElementType, list.At(i))...)
		}
	}
	return found
}

package registry

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	mergeschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"navarch.dev/navarch/internal/kinds"
)

// fieldTypes tells which fields an object has, and how its lists merge. It
// takes Go structs at their word: they have been decoded, and checking them
// against the schema again costs as much as comparing them.
type fieldTypes struct {
	managedfields.TypeConverter
	kinds *kinds.Registry

	mu     sync.RWMutex // guards shapes
	shapes map[schema.GroupVersionKind]shape
}

// shape is where the schema describes a kind.
type shape struct {
	schema *mergeschema.Schema
	ref    mergeschema.TypeRef
}

func newFieldTypes(checked managedfields.TypeConverter, k *kinds.Registry) *fieldTypes {
	return &fieldTypes{TypeConverter: checked, kinds: k, shapes: make(map[schema.GroupVersionKind]shape)}
}

// ObjectToTyped implements managedfields.TypeConverter.
func (f *fieldTypes) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if _, ok := obj.(runtime.Unstructured); ok {
		if kind, known := f.kinds.ForGVK(obj.GetObjectKind().GroupVersionKind()); known && kind.Custom != nil {
			types, err := kind.Custom.Types()
			if err != nil {
				return nil, err
			}
			return types.ObjectToTyped(obj, opts...)
		}
		return f.TypeConverter.ObjectToTyped(obj, opts...)
	}
	s, err := f.shape(obj, opts...)
	if err != nil {
		return nil, err
	}
	v, err := value.NewValueReflect(obj)
	if err != nil {
		return nil, fmt.Errorf("read the fields of a %T: %w", obj, err)
	}
	// The object was decoded into its Go type: that it has the schema's shape
	// need not be checked again, which takes most of the time.
	return typed.AsTypedUnvalidated(v, s.schema, s.ref), nil //nolint:staticcheck // see above
}

// shape returns the shape of an object's kind.
func (f *fieldTypes) shape(obj runtime.Object, opts ...typed.ValidationOptions) (shape, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	f.mu.RLock()
	s, ok := f.shapes[gvk]
	f.mu.RUnlock()
	if ok {
		return s, nil
	}
	checked, err := f.TypeConverter.ObjectToTyped(obj, opts...)
	if err != nil {
		return shape{}, fmt.Errorf("find the schema of %s: %w", gvk, err)
	}
	s = shape{checked.Schema(), checked.TypeRef()}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shapes[gvk] = s
	return s, nil
}

// schemas knows the fields of kinds by their groups, those of Kubernetes' own
// groups if it has none for a group.
type schemas struct {
	managedfields.TypeConverter
	byGroup map[string]managedfields.TypeConverter
}

// ObjectToTyped implements managedfields.TypeConverter.
func (s schemas) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if own, ok := s.byGroup[obj.GetObjectKind().GroupVersionKind().Group]; ok {
		return own.ObjectToTyped(obj, opts...)
	}
	return s.TypeConverter.ObjectToTyped(obj, opts...)
}

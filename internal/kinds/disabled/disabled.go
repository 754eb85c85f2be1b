// Package disabled takes away what is written to fields of features that are
// switched off. A field that the stored object uses already stays, so that what a
// cluster holds, which had the feature once, can still be changed in other ways.
//
// Fields are named by paths of JSON names, with [*] for all items of a list or
// all values of a map:
//
//	spec.containers[*].lifecycle.stopSignal
//
// The paths of a type are compiled into one tree, so that an object is gone through
// once, whatever the number of fields.
package disabled

import (
	"fmt"
	"reflect"
	"strings"
)

// Feature is a feature that is switched off.
type Feature struct {
	// Name is Kubernetes' name of the feature's gate.
	Name string
	// Fields are the paths of the fields that came with it. If the stored object has
	// one of them, none is taken away.
	Fields []string
}

// mostFeatures is how many features a type can have: each is a bit of a set.
const mostFeatures = 64

// Fields are the fields of a type that belong to features.
type Fields struct{ root node }

// node is what is below a field.
type node struct {
	feature  uint64 // the bit of the feature that the field belongs to, or 0
	children []child
	items    *node // of a list or a map
}

// child is a field of a struct.
type child struct {
	index int // in the struct
	node  *node
}

// Compile finds the fields of features in a struct. It fails if there is no such
// field, or if one can be no more absent than present.
func Compile(object reflect.Type, features ...Feature) (*Fields, error) {
	if len(features) > mostFeatures {
		return nil, fmt.Errorf("%s has %d features, more than %d", object, len(features), mostFeatures)
	}
	f := new(Fields)
	for i, feature := range features {
		for _, path := range feature.Fields {
			if err := f.root.add(object, strings.Split(strings.ReplaceAll(path, "[*]", ".[*]"), "."), 1<<i); err != nil {
				return nil, fmt.Errorf("field %s of %s, of the feature %s: %w", path, object, feature.Name, err)
			}
		}
	}
	return f, nil
}

// add enters a field below a value of a type.
func (n *node) add(t reflect.Type, steps []string, feature uint64) error {
	if len(steps) == 0 {
		if k := t.Kind(); k != reflect.Pointer && k != reflect.Slice && k != reflect.Map {
			return fmt.Errorf("%s cannot be absent", t)
		}
		n.feature = feature
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if steps[0] == "[*]" {
		if k := t.Kind(); k != reflect.Slice && k != reflect.Map {
			return fmt.Errorf("%s has no items", t)
		}
		if n.items == nil {
			n.items = new(node)
		}
		return n.items.add(t.Elem(), steps[1:], feature)
	}
	at, embedded, ok := fieldOf(t, steps[0])
	if !ok {
		return fmt.Errorf("%s has no field %s", t, steps[0])
	}
	if !embedded {
		steps = steps[1:]
	}
	return n.child(at.Index[0]).add(at.Type, steps, feature)
}

// child returns the node of a struct's field.
func (n *node) child(index int) *node {
	for _, c := range n.children {
		if c.index == index {
			return c.node
		}
	}
	n.children = append(n.children, child{index, new(node)})
	return n.children[len(n.children)-1].node
}

// fieldOf finds a struct's field by its JSON name, or the struct that is embedded
// and has such a field.
func fieldOf(t reflect.Type, name string) (f reflect.StructField, embedded, ok bool) {
	if t.Kind() != reflect.Struct {
		return f, false, false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		called, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if called == name {
			return f, false, true
		}
		if f.Anonymous && called == "" {
			if _, _, ok := fieldOf(f.Type, name); ok {
				return f, true, true
			}
		}
	}
	return f, false, false
}

// Drop takes away what obj has in the fields of features, unless old, which is nil
// for a new object, uses the same feature. Both are pointers to the type that was
// compiled.
func (f *Fields) Drop(obj, old any) {
	v := reflect.ValueOf(obj).Elem()
	dropped := f.root.used(v)
	if dropped == 0 {
		return
	}
	if old != nil {
		dropped &^= f.root.used(reflect.ValueOf(old).Elem())
	}
	if dropped != 0 {
		f.root.drop(v, dropped)
	}
}

// used returns the features of which a value has fields.
func (n *node) used(v reflect.Value) uint64 {
	if n.feature != 0 {
		if v.IsNil() || v.Kind() != reflect.Pointer && v.Len() == 0 {
			return 0
		}
		return n.feature
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return 0
		}
		v = v.Elem()
	}
	var out uint64
	for _, c := range n.children {
		out |= c.node.used(v.Field(c.index))
	}
	switch {
	case n.items == nil:
	case v.Kind() == reflect.Map:
		for each := v.MapRange(); each.Next(); {
			out |= n.items.used(each.Value())
		}
	default:
		for i := range v.Len() {
			out |= n.items.used(v.Index(i))
		}
	}
	return out
}

// drop empties the fields of features below a value.
func (n *node) drop(v reflect.Value, features uint64) {
	if n.feature != 0 {
		if n.feature&features != 0 {
			v.SetZero()
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	for _, c := range n.children {
		c.node.drop(v.Field(c.index), features)
	}
	switch {
	case n.items == nil:
	case v.Kind() == reflect.Map:
		n.items.dropValues(v, features)
	default:
		for i := range v.Len() {
			n.items.drop(v.Index(i), features)
		}
	}
}

// dropValues is drop for all values of a map, which cannot be changed in place.
func (n *node) dropValues(m reflect.Value, features uint64) {
	for each := m.MapRange(); each.Next(); {
		value := reflect.New(m.Type().Elem()).Elem()
		value.Set(each.Value())
		n.drop(value, features)
		m.SetMapIndex(each.Key(), value)
	}
}

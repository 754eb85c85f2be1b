// Package fieldshape tells apart the changes of objects that differ in which fields
// they touch, and no others.
//
// Which fields a write adds, changes and removes does not depend on what most of
// them hold: a ConfigMap's next revision, a Lease's next renewal and a Job's next
// pod touch the fields that the one before touched. What was found out for one
// write then holds for all of its shape.
package fieldshape

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// longest is the length, in bytes, over which a shape is not worth having.
const longest = 16 << 10

// Change appends to buf the shape of the change from old to new, which are pointers
// to structs of one type, and returns the longer buffer. Two changes between
// objects of one type have the same shape only if they add, change and remove the
// same fields in the sense of structured merges, be those members of structs or of
// maps, items of lists, or lists as a whole. Managed fields themselves are not
// looked at.
//
// It returns false for objects with parts of which it cannot tell, and where the
// shape would be very long.
func Change(buf []byte, old, new any) ([]byte, bool) {
	w := writer{buf: buf, limit: len(buf) + longest}
	w.change(reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem())
	return w.buf, !w.failed
}

// What is there of a value, before or after a change.
const (
	absent  = iota // nil
	zero           // left out of JSON where the field says so
	present        // anything else
)

// Marks that no leaf makes.
const (
	bothZero  = math.MaxUint8 - iota // nothing was there and nothing is
	inContent                        // what was there and what is there follow
)

// writer builds a shape. All that it appends can be read back without doubt where
// it ends, as two shapes must not be equal by accident.
type writer struct {
	buf    []byte
	limit  int
	failed bool
}

// change appends the shape of a change of one value.
func (w *writer) change(old, new reflect.Value) {
	if w.full() {
		return
	}
	if old.IsZero() && new.IsZero() {
		w.buf = append(w.buf, bothZero)
		return
	}
	t := new.Type()
	how := formOf(t)
	if how.encodes {
		w.encodings(old, new)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		for _, i := range how.shown {
			w.change(old.Field(i), new.Field(i))
		}
	case reflect.Pointer:
		w.pointers(old, new)
	case reflect.Map:
		w.maps(old, new)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			w.leaf(old, new, bytes.Equal(old.Bytes(), new.Bytes()))
			return
		}
		w.whole(old, new, w.content)
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		w.leaf(old, new, old.Equal(new))
	default:
		w.failed = true
	}
}

// leaf appends what a value without parts was and is, and whether it is the same.
func (w *writer) leaf(old, new reflect.Value, equal bool) {
	b := state(old)<<4 | state(new)<<1
	if equal {
		b |= 1
	}
	w.buf = append(w.buf, b)
}

// pointers appends the shape of a change of what is pointed to.
func (w *writer) pointers(old, new reflect.Value) {
	w.leaf(old, new, false)
	switch {
	case old.IsNil() && new.IsNil():
	case old.IsNil():
		w.change(reflect.Zero(new.Type().Elem()), new.Elem())
	case new.IsNil():
		w.change(old.Elem(), reflect.Zero(old.Type().Elem()))
	default:
		w.change(old.Elem(), new.Elem())
	}
}

// maps appends the shapes of the changes of all members.
func (w *writer) maps(old, new reflect.Value) {
	w.leaf(old, new, false)
	if old.Type().Key().Kind() != reflect.String {
		w.failed = true
		return
	}
	keys := keysOf(new)
	for it := old.MapRange(); it.Next(); {
		if !new.MapIndex(it.Key()).IsValid() {
			keys = append(keys, it.Key())
		}
	}
	sortKeys(keys)
	w.number(uint64(len(keys)))
	none := reflect.Zero(new.Type().Elem())
	for _, k := range keys {
		w.text(k.String())
		before, after := old.MapIndex(k), new.MapIndex(k)
		switch {
		case !before.IsValid():
			w.buf = append(w.buf, 'a')
			w.change(none, after)
		case !after.IsValid():
			w.buf = append(w.buf, 'r')
			w.change(before, none)
		default:
			w.buf = append(w.buf, 'c')
			w.change(before, after)
		}
	}
}

// whole appends what lists were and are, in full if they differ: which of their
// items are the same is for their kind's schema to say.
func (w *writer) whole(old, new reflect.Value, appendTo func(reflect.Value)) {
	at := len(w.buf)
	w.buf = append(w.buf, inContent)
	appendTo(old)
	middle := len(w.buf)
	appendTo(new)
	if !w.failed && bytes.Equal(w.buf[at+1:middle], w.buf[middle:]) {
		w.buf = w.buf[:at]
		w.leaf(old, new, true)
	}
}

// encodings appends the shape of a change of a value that says itself how it looks
// in JSON: a time and a quantity are leaves, what anything can be in is not.
func (w *writer) encodings(old, new reflect.Value) {
	before, after := encode(old), encode(new)
	if isLeaf(before) && isLeaf(after) {
		w.leaf(old, new, bytes.Equal(before, after))
		return
	}
	w.whole(old, new, w.encoded)
}

// content appends a value with all that it holds.
func (w *writer) content(v reflect.Value) {
	if w.full() {
		return
	}
	t := v.Type()
	how := formOf(t)
	if how.encodes {
		w.encoded(v)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		w.buf = append(w.buf, state(v))
		if v.IsZero() {
			return
		}
		for _, i := range how.shown {
			w.content(v.Field(i))
		}
	case reflect.Pointer:
		w.buf = append(w.buf, state(v))
		if !v.IsNil() {
			w.content(v.Elem())
		}
	case reflect.Map:
		w.members(v)
	case reflect.Slice:
		w.buf = append(w.buf, state(v))
		w.number(uint64(v.Len()))
		for i := range v.Len() {
			w.content(v.Index(i))
		}
	case reflect.String:
		w.text(v.String())
	case reflect.Bool:
		w.buf = append(w.buf, state(v))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.buf = binary.AppendVarint(w.buf, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		w.number(v.Uint())
	case reflect.Float32, reflect.Float64:
		w.number(math.Float64bits(v.Float()))
	default:
		w.failed = true
	}
}

// members appends a map with all that it holds.
func (w *writer) members(v reflect.Value) {
	if v.Type().Key().Kind() != reflect.String {
		w.failed = true
		return
	}
	keys := keysOf(v)
	sortKeys(keys)
	w.buf = append(w.buf, state(v))
	w.number(uint64(len(keys)))
	for _, k := range keys {
		w.text(k.String())
		w.content(v.MapIndex(k))
	}
}

// encoded appends a value that says itself how it looks in JSON.
func (w *writer) encoded(v reflect.Value) {
	b := encode(v)
	w.failed = w.failed || b == nil
	w.text(string(b))
}

func (w *writer) text(s string) {
	w.number(uint64(len(s)))
	if len(w.buf)+len(s) > w.limit {
		w.failed = true
		return
	}
	w.buf = append(w.buf, s...)
}

func (w *writer) number(n uint64) { w.buf = binary.AppendUvarint(w.buf, n) }

// full tells whether to go on makes no sense.
func (w *writer) full() bool {
	w.failed = w.failed || len(w.buf) > w.limit
	return w.failed
}

func state(v reflect.Value) byte {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if v.IsNil() {
			return absent
		}
	}
	if v.IsZero() || (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0 {
		return zero
	}
	return present
}

func keysOf(m reflect.Value) []reflect.Value {
	if m.Len() == 0 {
		return nil
	}
	return m.MapKeys()
}

func sortKeys(keys []reflect.Value) {
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
}

// encode returns a value as it looks in JSON, and nil if it does not say.
func encode(v reflect.Value) []byte {
	b, err := v.Interface().(json.Marshaler).MarshalJSON()
	if err != nil {
		return nil
	}
	return b
}

func isLeaf(encoded []byte) bool {
	return len(encoded) > 0 && encoded[0] != '{' && encoded[0] != '['
}

// form is how a type looks in JSON.
type form struct {
	encodes bool  // it says itself
	shown   []int // the indexes of a struct's fields that show
}

// forms are the forms of types, which never change: reflect.Type → form.
var forms sync.Map

func formOf(t reflect.Type) form {
	if t.Kind() == reflect.Pointer || t.Kind() != reflect.Struct && t.NumMethod() == 0 {
		return form{}
	}
	if have, ok := forms.Load(t); ok {
		return have.(form)
	}
	f := form{encodes: t.Implements(reflect.TypeFor[json.Marshaler]())}
	if t.Kind() == reflect.Struct && !f.encodes {
		f.shown = shownFields(t)
	}
	forms.Store(t, f)
	return f
}

func shownFields(t reflect.Type) []int {
	var shown []int
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "-" && f.Type != reflect.TypeFor[[]metav1.ManagedFieldsEntry]() {
			shown = append(shown, i)
		}
	}
	return shown
}

// Package strictjson reads JSON into API types and tells every mistake by the
// path of its field and by what would be right.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// Decode reads data into a pointer to a struct, in which every field is known
// and given once. Errors are of fields below path; nil is the whole.
func Decode(path *field.Path, data []byte, into any) field.ErrorList {
	strict, err := kjson.UnmarshalStrict(data, into)
	if err != nil {
		return field.ErrorList{mistyped(path, data, into, err)}
	}
	var errs field.ErrorList
	for _, err := range strict {
		errs = append(errs, misnamed(path, into, err))
	}
	return errs
}

// below joins a path and one that is text; the whole is named "configuration".
func below(path *field.Path, sub string) string {
	base := ""
	if path != nil {
		base = path.String()
	}
	switch {
	case base == "" && sub == "":
		return "configuration"
	case base == "" || sub == "":
		return base + sub
	}
	return base + "." + sub
}

// misnamed is the error of a field that is not known or given twice.
func misnamed(path *field.Path, into any, err error) *field.Error {
	var of interface{ FieldPath() string }
	if !errors.As(err, &of) {
		return &field.Error{Type: field.ErrorTypeInvalid, Field: below(path, ""), BadValue: field.OmitValueType{}, Detail: err.Error()}
	}
	out := &field.Error{Type: field.ErrorTypeForbidden, Field: below(path, of.FieldPath()), Detail: "must be given once"}
	if strings.HasPrefix(err.Error(), "unknown field") {
		out.Detail = "unknown field"
		if known := siblings(reflect.TypeOf(into), of.FieldPath()); len(known) > 0 {
			out.Detail += ", must be one of " + strings.Join(known, ", ")
		}
	}
	return out
}

// mistyped is the error of a value of the wrong type, or of data that is no
// JSON.
func mistyped(path *field.Path, data []byte, into any, err error) *field.Error {
	// The strict decoder keeps the type of its error to itself.
	var wrong *json.UnmarshalTypeError
	again := reflect.New(reflect.TypeOf(into).Elem()).Interface()
	if !errors.As(json.Unmarshal(data, again), &wrong) {
		return &field.Error{Type: field.ErrorTypeInvalid, Field: below(path, ""), BadValue: field.OmitValueType{}, Detail: err.Error()}
	}
	return &field.Error{
		Type: field.ErrorTypeInvalid, Field: below(path, wrong.Field), BadValue: field.OmitValueType{},
		Detail: fmt.Sprintf("is %s, must be %s", wrong.Value, describe(wrong.Type)),
	}
}

// describe says what JSON a type is written as.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number of %d bits", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
}

// siblings returns the names of the fields beside the last of a path, sorted.
func siblings(t reflect.Type, path string) []string {
	names := strings.Split(index.ReplaceAllString(path, ""), ".")
	for _, name := range names[:len(names)-1] {
		next, ok := fields(t)[name]
		if !ok {
			return nil
		}
		t = next
	}
	known := fields(t)
	out := make([]string, 0, len(known))
	for name := range known {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// index is an element of a list in a path.
var index = regexp.MustCompile(`\[\d+\]`)

// fields returns the types of a struct's fields by their JSON names. Pointers
// and lists stand for what is in them.
func fields(t reflect.Type) map[string]reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	out := make(map[string]reflect.Type)
	if t.Kind() != reflect.Struct {
		return out
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous:
			for name, of := range fields(f.Type) {
				out[name] = of
			}
		case name != "" && name != "-":
			out[name] = f.Type
		}
	}
	return out
}

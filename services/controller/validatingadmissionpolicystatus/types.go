package validatingadmissionpolicystatus

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/structural"
)

// declared gathers the types of the fields of kinds, as expressions see them:
// those that JSON has. What expressions see as something else than its schema
// says (times and bytes are text to them) can be anything: nothing is said about
// it.
type declared struct{ types expression.Types }

// ofKind returns the type of a kind's objects.
func (d declared) ofKind(kind *kinds.Kind) (*cel.Type, error) {
	if kind.Custom == nil {
		return d.ofGo(reflect.TypeOf(kind.New())), nil
	}
	versions := kind.Custom.Definition.Spec.Versions
	for i := range versions {
		if v := &versions[i]; v.Name == kind.Version && v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			s, err := structural.New(v.Schema.OpenAPIV3Schema)
			if err != nil {
				return nil, err
			}
			return d.ofSchema(s, kind.GVK().String(), true), nil
		}
	}
	return cel.DynType, nil
}

var (
	marshaler = reflect.TypeFor[json.Marshaler]()
	// texts are types that JSON has as strings.
	texts = map[reflect.Type]bool{reflect.TypeFor[resource.Quantity](): true, reflect.TypeFor[metav1.Duration](): true}
)

// ofGo returns the type that a type of Go has in JSON.
func (d declared) ofGo(t reflect.Type) *cel.Type {
	switch {
	case t.Kind() == reflect.Pointer:
		return d.ofGo(t.Elem())
	case texts[t]:
		return cel.StringType
	case t.Implements(marshaler), reflect.PointerTo(t).Implements(marshaler):
		return cel.DynType
	}
	switch t.Kind() {
	case reflect.Bool:
		return cel.BoolType
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return cel.IntType
	case reflect.Float32, reflect.Float64:
		return cel.DoubleType
	case reflect.String:
		return cel.StringType
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return cel.DynType
		}
		return cel.ListType(d.ofGo(t.Elem()))
	case reflect.Map:
		return cel.MapType(cel.StringType, d.ofGo(t.Elem()))
	case reflect.Struct:
		return d.ofStruct(t)
	}
	return cel.DynType
}

func (d declared) ofStruct(t reflect.Type) *cel.Type {
	name := t.PkgPath() + "." + t.Name()
	if _, known := d.types[name]; !known {
		fields := make(map[string]*cel.Type)
		d.types[name] = fields // before what is in it, which may be of the same type
		d.addFields(fields, t)
	}
	return cel.ObjectType(name)
}

func (d declared) addFields(fields map[string]*cel.Type, t reflect.Type) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && (field.Anonymous || strings.Contains(options, "inline")):
			d.addFields(fields, field.Type)
		case name != "":
			fields[name] = d.ofGo(field.Type)
		}
	}
}

// ofSchema returns the type of a node of a custom kind's schema. whole says that
// it is an object with a kind and metadata.
func (d declared) ofSchema(s *structural.Schema, name string, whole bool) *cel.Type {
	if s.Props.XIntOrString {
		return cel.DynType
	}
	switch s.Props.Type {
	case "boolean":
		return cel.BoolType
	case "integer":
		return cel.IntType
	case "number":
		return cel.DoubleType
	case "string":
		if s.Props.Format == "" {
			return cel.StringType
		}
	case "array":
		if s.Items != nil {
			return cel.ListType(d.ofSchema(s.Items, name+".@items", s.Items.Embedded))
		}
	case "object":
		return d.ofObject(s, name, whole || s.Embedded)
	}
	return cel.DynType
}

func (d declared) ofObject(s *structural.Schema, name string, whole bool) *cel.Type {
	switch {
	case s.Values != nil:
		return cel.MapType(cel.StringType, d.ofSchema(s.Values, name+".@values", false))
	case s.PreserveUnknown || s.AnyValues || len(s.Properties) == 0 && !whole:
		return cel.DynType
	}
	fields := make(map[string]*cel.Type, len(s.Properties)+3)
	for property, child := range s.Properties {
		fields[property] = d.ofSchema(child, name+"."+property, false)
	}
	if whole {
		fields["apiVersion"], fields["kind"], fields["metadata"] = cel.StringType, cel.StringType, d.ofGo(reflect.TypeFor[metav1.ObjectMeta]())
	}
	d.types[name] = fields
	return cel.ObjectType(name)
}

package expression

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

const (
	objectType    = "Object"
	jsonPatchType = "JSONPatch"
)

// ObjectType and JSONPatches are what the expressions of mutations return.
var (
	ObjectType  = cel.ObjectType(objectType)
	JSONPatches = cel.ListType(cel.ObjectType(jsonPatchType))
)

// isPatchType says whether a type is that of a JSON patch's operation, of an
// object to be applied (Object), or of a part of one (Object.spec.template).
func isPatchType(name string) bool {
	return name == jsonPatchType || name == objectType || strings.HasPrefix(name, objectType+".")
}

func patchField(name, field string) (*types.FieldType, bool) {
	if name != jsonPatchType {
		return &types.FieldType{Type: cel.DynType}, true // its schema is not known here
	}
	switch field {
	case "op", "path", "from":
		return &types.FieldType{Type: cel.StringType}, true
	case "value":
		return &types.FieldType{Type: cel.DynType}, true
	}
	return nil, false
}

// patchFunctions are those for making JSON patches.
func patchFunctions() []overload {
	return []overload{function("jsonpatch.escapeKey", cel.StringType, of1(func(key string) ref.Val {
		return types.String(strings.NewReplacer("~", "~0", "/", "~1").Replace(key))
	}), cel.StringType)}
}

// patchValue is a value of one of the types.
type patchValue struct {
	t      *types.Type
	fields map[string]ref.Val
}

// newPatchValue makes a value. A part of an object must be where its type says.
func newPatchValue(name string, fields map[string]ref.Val) ref.Val {
	for field, value := range fields {
		if err := checkPlace(name, field, value); err != nil {
			return types.WrapErr(err)
		}
	}
	return &patchValue{t: types.NewObjectType(name), fields: fields}
}

func checkPlace(name, field string, value ref.Val) error {
	want := name + "." + field
	switch v := value.(type) {
	case *patchValue:
		if name != jsonPatchType && v.t.TypeName() != want {
			return fmt.Errorf("unexpected type name %q, expected %q, which matches field name path from root Object type", v.t.TypeName(), want)
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			if err := checkPlace(name, field, it.Next()); err != nil {
				return err
			}
		}
	}
	return nil
}

// ConvertToNative implements ref.Val.
func (p *patchValue) ConvertToNative(t reflect.Type) (any, error) {
	native, err := Native(p)
	if err != nil || !reflect.TypeOf(native).AssignableTo(t) {
		return nil, fmt.Errorf("type conversion error from '%s' to '%v'", p.t, t)
	}
	return native, nil
}

// ConvertToType implements ref.Val.
func (p *patchValue) ConvertToType(t ref.Type) ref.Val {
	switch {
	case t == types.TypeType:
		return p.t
	case t.TypeName() == p.t.TypeName():
		return p
	}
	return types.NewErr("type conversion error from '%s' to '%s'", p.t, t)
}

// Equal implements ref.Val.
func (p *patchValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(*patchValue)
	if !ok || o.t.TypeName() != p.t.TypeName() || len(o.fields) != len(p.fields) {
		return types.False
	}
	for field, value := range p.fields {
		if theirs, ok := o.fields[field]; !ok || types.Equal(value, theirs) != types.True {
			return types.False
		}
	}
	return types.True
}

// Type implements ref.Val.
func (p *patchValue) Type() ref.Type { return p.t }

// Value implements ref.Val.
func (p *patchValue) Value() any { return p.fields }

// Get implements traits.Indexer.
func (p *patchValue) Get(index ref.Val) ref.Val {
	name, _ := index.Value().(string)
	if value, ok := p.fields[name]; ok {
		return value
	}
	return types.NewErr("no such key: %v", index)
}

// IsSet implements traits.FieldTester.
func (p *patchValue) IsSet(field ref.Val) ref.Val {
	name, _ := field.Value().(string)
	_, ok := p.fields[name]
	return types.Bool(ok)
}

// Native returns a value as JSON would decode it.
func Native(value ref.Val) (any, error) {
	switch v := value.(type) {
	case *patchValue:
		out := make(map[string]any, len(v.fields))
		for field, value := range v.fields {
			var err error
			if out[field], err = Native(value); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return Native(v.GetValue())
	case types.Null:
		return nil, nil
	case types.Uint:
		return int64(v), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(v), nil
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return v.Duration.String(), nil
	case traits.Mapper:
		return nativeMap(v)
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			item, err := Native(it.Next())
			if err != nil {
				return nil, err
			}
			out = append(out, item)
		}
		return out, nil
	case types.Bool, types.Int, types.Double, types.String:
		return v.Value(), nil
	}
	return nil, fmt.Errorf("a value of type %s cannot be written to an object", value.Type())
}

func nativeMap(m traits.Mapper) (any, error) {
	out := make(map[string]any)
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.Value().(string)
		if !ok {
			return nil, fmt.Errorf("a key of type %s cannot be written to an object", key.Type())
		}
		value, err := Native(m.Get(key))
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

package rules

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/kube-openapi/pkg/validation/strfmt"

	"navarch.dev/navarch/internal/structural"
)

// valueOf returns a value as expressions see it: without what its schema does
// not describe and without nulls, its fields called as they call them.
func valueOf(v any, s *structural.Schema, whole bool) ref.Val {
	if v == nil {
		return types.NullValue
	}
	if s.Props.XIntOrString {
		return types.DefaultTypeAdapter.NativeToValue(v)
	}
	switch v := v.(type) {
	case map[string]any:
		return objectValue(v, s, whole || s.Embedded)
	case []any:
		return listValue(v, s)
	case string:
		return textValue(v, s.Props.Format)
	case int64:
		if s.Props.Type == "number" {
			return types.Double(v)
		}
		return types.Int(v)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

func objectValue(obj map[string]any, s *structural.Schema, whole bool) ref.Val {
	out := make(map[string]any, len(obj))
	for name, value := range obj {
		if s.Values != nil {
			out[name] = valueOf(value, s.Values, false)
			continue
		}
		child := s.Properties[name]
		if child == nil || value == nil {
			continue
		}
		v := valueOf(value, child, false)
		for _, called := range calls(name) {
			out[called] = v
		}
	}
	if whole {
		for _, name := range []string{"apiVersion", "kind"} {
			if text, ok := obj[name].(string); ok {
				out[name] = text
			}
		}
		out["metadata"] = metaValue(obj["metadata"])
	}
	return types.DefaultTypeAdapter.NativeToValue(out)
}

// metaValue shows the names in an object's metadata.
func metaValue(v any) map[string]any {
	out := make(map[string]any)
	meta, _ := v.(map[string]any)
	for _, name := range []string{"name", "generateName"} {
		if text, ok := meta[name].(string); ok {
			out[name] = text
		}
	}
	return out
}

func textValue(text, format string) ref.Val {
	switch format {
	case "byte":
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return types.Bytes(b)
		}
	case "duration":
		if d, err := strfmt.ParseDuration(text); err == nil {
			return types.Duration{Duration: d}
		}
	case "date":
		if t, err := time.Parse(time.DateOnly, text); err == nil {
			return types.Timestamp{Time: t}
		}
	case "date-time":
		if t, err := strfmt.ParseDateTime(text); err == nil {
			return types.Timestamp{Time: time.Time(t)}
		}
	default:
		return types.String(text)
	}
	return types.NewErr("invalid %s %q", format, text)
}

func listValue(list []any, s *structural.Schema) ref.Val {
	out := make([]ref.Val, len(list))
	keys := make([]string, len(list))
	for i, item := range list {
		out[i] = valueOf(item, s.Items, false)
		keys[i] = s.ItemKey(item)
	}
	plain := types.NewRefValList(types.DefaultTypeAdapter, out)
	if s.ListType() == "atomic" {
		return plain
	}
	return &keyed{Lister: plain, items: out, keys: keys}
}

// keyed is a list whose items are known by their keys or, in a set, by
// themselves: their order does not count, and what is added to it takes the
// place of what has its key.
type keyed struct {
	traits.Lister
	items []ref.Val
	keys  []string
}

// Equal implements ref.Val.
func (k *keyed) Equal(other ref.Val) ref.Val {
	o, ok := other.(*keyed)
	if !ok {
		return k.Lister.Equal(other)
	}
	if len(k.items) != len(o.items) {
		return types.False
	}
	for i, key := range k.keys {
		at := o.index(key)
		if at < 0 || k.items[i].Equal(o.items[at]) != types.True {
			return types.False
		}
	}
	return types.True
}

func (k *keyed) index(key string) int {
	for i, have := range k.keys {
		if have == key {
			return i
		}
	}
	return -1
}

// Add implements traits.Adder.
func (k *keyed) Add(other ref.Val) ref.Val {
	o, ok := other.(*keyed)
	if !ok {
		return k.Lister.Add(other)
	}
	sum := &keyed{items: append([]ref.Val(nil), k.items...), keys: append([]string(nil), k.keys...)}
	for i, key := range o.keys {
		if at := sum.index(key); at >= 0 {
			sum.items[at] = o.items[i]
		} else {
			sum.items, sum.keys = append(sum.items, o.items[i]), append(sum.keys, key)
		}
	}
	sum.Lister = types.NewRefValList(types.DefaultTypeAdapter, sum.items)
	return sum
}

// shown is a value in an error: nothing where it is large.
func shown(v any) any {
	switch v.(type) {
	case map[string]any, []any:
		return nil
	}
	if b, err := json.Marshal(v); err != nil || len(b) > 1<<10 {
		return nil
	}
	return v
}

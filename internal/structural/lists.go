package structural

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateLists returns where lists that are sets, or maps by keys, hold
// something twice.
func (s *Schema) ValidateLists(obj map[string]any) field.ErrorList { return s.lists(obj, nil) }

func (s *Schema) lists(v any, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if p, ok := s.Properties[name]; ok {
				errs = append(errs, p.lists(value, at.Child(name))...)
			} else {
				errs = append(errs, s.Values.lists(value, at.Key(name))...)
			}
		}
	case []any:
		errs = s.repeated(v, at)
		for i, item := range v {
			errs = append(errs, s.Items.lists(item, at.Index(i))...)
		}
	}
	return errs
}

// repeated returns the items of a list that are there twice, once each.
func (s *Schema) repeated(list []any, at *field.Path) field.ErrorList {
	kind := s.ListType()
	if kind != listSet && kind != listMap {
		return nil
	}
	var errs field.ErrorList
	seen := make(map[string]int, len(list))
	for i, item := range list {
		shown := item
		if kind == listMap {
			entry, ok := item.(map[string]any)
			if !ok && item != nil {
				return field.ErrorList{field.Invalid(at.Index(i), item, "must be an object for an array of list-type map")}
			}
			shown = s.keysOf(entry)
		}
		id, err := json.Marshal(shown)
		if err != nil {
			return field.ErrorList{field.InternalError(at.Index(i), fmt.Errorf("encode the item: %w", err))}
		}
		if seen[string(id)]++; seen[string(id)] == 2 {
			errs = append(errs, field.Duplicate(at.Index(i), shown))
		}
	}
	return errs
}

// keysOf returns the keys by which a list's entry is known; nil for none. A key
// that is left out is what it is by default.
func (s *Schema) keysOf(entry map[string]any) map[string]any {
	if entry == nil {
		return nil
	}
	keys := make(map[string]any, len(s.Props.XListMapKeys))
	for _, name := range s.Props.XListMapKeys {
		if v, ok := entry[name]; ok {
			keys[name] = v
		} else if s.Items != nil && s.Items.Properties[name] != nil && s.Items.Properties[name].Default != nil {
			keys[name] = s.Items.Properties[name].Default
		}
	}
	return keys
}

// ItemKey is a text by which an item of a list is known: its keys or, in a set,
// the item itself. It is empty for other lists.
func (s *Schema) ItemKey(item any) string {
	var id any
	switch s.ListType() {
	case listMap:
		entry, _ := item.(map[string]any)
		id = s.keysOf(entry)
	case listSet:
		id = item
	default:
		return ""
	}
	b, err := json.Marshal(id)
	if err != nil {
		return ""
	}
	return string(b)
}

// SameItem returns the item of a list that has the keys of another; false if
// items are not known by keys, or there is none.
func (s *Schema) SameItem(list []any, item any) (any, bool) {
	if s.ListType() != listMap {
		return nil, false
	}
	return s.entry(list, item)
}

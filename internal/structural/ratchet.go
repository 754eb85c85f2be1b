package structural

import (
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Changed returns those of the errors found in an object that concern what has
// changed: a schema that became stricter does not hold up who changes other
// things (KEP-4008). An error stays unless what it is about, or something
// around that, is as it was; items of lists are the same by their keys, or by
// nothing.
func (s *Schema) Changed(errs field.ErrorList, obj, old map[string]any) field.ErrorList {
	var out field.ErrorList
	for _, err := range errs {
		path := err.Field
		if err.Type == field.ErrorTypeRequired { // it is about what should have the field
			path = parent(path)
		}
		if !s.unchanged(obj, old, path) {
			out = append(out, err)
		}
	}
	return out
}

// parent returns the path of what holds the field that is last in a path.
func parent(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}

// unchanged says whether something on the way to a path, or what is there, is
// the same in both values.
func (s *Schema) unchanged(now, was any, path string) bool {
	if equality.Semantic.DeepEqual(now, was) {
		return true
	}
	path = strings.TrimPrefix(path, ".")
	if path == "" || s == nil {
		return false
	}
	switch now := now.(type) {
	case map[string]any:
		before, ok := was.(map[string]any)
		if !ok || s.Props.XMapType != nil && *s.Props.XMapType == listAtomic {
			return false
		}
		name, rest := firstName(now, path)
		value, had := before[name]
		if !had {
			return false
		}
		child, _ := s.child(name)
		return child.unchanged(now[name], value, rest)
	case []any:
		before, ok := was.([]any)
		i, rest := firstIndex(path)
		if !ok || s.ListType() != listMap || i < 0 || i >= len(now) {
			return false
		}
		same, found := s.entry(before, now[i])
		return found && s.Items.unchanged(now[i], same, rest)
	}
	return false
}

// firstName returns the field of an object that a path begins with: the longest
// one, as names may hold dots.
func firstName(obj map[string]any, path string) (name, rest string) {
	for field := range obj {
		after, ok := strings.CutPrefix(path, field)
		if ok && len(field) > len(name) && (after == "" || after[0] == '.' || after[0] == '[') {
			name, rest = field, after
		}
	}
	return name, rest
}

// firstIndex returns the index that a path begins with, -1 for none.
func firstIndex(path string) (index int, rest string) {
	text := strings.TrimPrefix(path, "[")
	end := strings.IndexAny(text, "].[")
	if end < 0 {
		end = len(text)
	}
	if err := json.Unmarshal([]byte(text[:end]), &index); err != nil || index < 0 {
		return -1, ""
	}
	return index, strings.TrimPrefix(text[end:], "]")
}

// entry returns the entry of a list that has the same keys as another.
func (s *Schema) entry(list []any, like any) (any, bool) {
	want, ok := like.(map[string]any)
	if !ok {
		return nil, false
	}
	keys := s.keysOf(want)
	for _, item := range list {
		if have, ok := item.(map[string]any); ok && equality.Semantic.DeepEqual(s.keysOf(have), keys) {
			return have, true
		}
	}
	return nil, false
}

package structural

import (
	"maps"
	"slices"
	"strconv"
)

// isMeta says whether every object has a field, whatever its schema says.
func isMeta(name string) bool { return name == "apiVersion" || name == "kind" || name == "metadata" }

// Prune drops the fields of a whole object that the schema does not know, and
// returns their paths, in order. What the object is (its apiVersion, kind and
// metadata) is left to others.
func (s *Schema) Prune(obj map[string]any) []string {
	p := &pruning{}
	p.object(obj, s, true, "")
	slices.Sort(p.dropped)
	return p.dropped
}

type pruning struct{ dropped []string }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// value prunes what a node describes; a nil node describes nothing.
func (p *pruning) value(v any, s *Schema, path string) {
	switch v := v.(type) {
	case map[string]any:
		p.object(v, s, s != nil && s.Embedded, path)
	case []any:
		p.list(v, s, path)
	}
}

func (p *pruning) object(obj map[string]any, s *Schema, whole bool, path string) {
	for _, name := range slices.Collect(maps.Keys(obj)) {
		if whole && isMeta(name) {
			continue
		}
		var child *Schema
		known := false
		if s != nil {
			child, known = s.child(name)
		}
		switch {
		case known:
			p.value(obj[name], child, join(path, name))
		case s != nil && s.PreserveUnknown:
		default:
			p.dropped = append(p.dropped, join(path, name))
			delete(obj, name)
		}
	}
}

func (p *pruning) list(list []any, s *Schema, path string) {
	if s != nil && s.PreserveUnknown && s.Items == nil {
		return // of anything
	}
	var items *Schema
	if s != nil {
		items = s.Items
	}
	for i, item := range list {
		p.value(item, items, path+"["+strconv.Itoa(i)+"]")
	}
}

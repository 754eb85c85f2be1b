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
	p.object(obj, s, true, s.PreserveUnknown, "")
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

// value prunes what a node describes; a nil node describes nothing. kept says that
// the node belongs to a list that keeps what it does not know.
func (p *pruning) value(v any, s *Schema, kept bool, path string) {
	kept = kept || s != nil && s.PreserveUnknown
	switch v := v.(type) {
	case map[string]any:
		p.object(v, s, s != nil && s.Embedded, kept, path)
	case []any:
		p.list(v, s, kept, path)
	}
}

func (p *pruning) object(obj map[string]any, s *Schema, whole, kept bool, path string) {
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
			p.value(obj[name], child, false, join(path, name))
		case kept:
		default:
			p.dropped = append(p.dropped, join(path, name))
			delete(obj, name)
		}
	}
}

func (p *pruning) list(list []any, s *Schema, kept bool, path string) {
	var items *Schema
	if s != nil {
		items = s.Items
	}
	for i, item := range list {
		p.value(item, items, kept, path+"["+strconv.Itoa(i)+"]")
	}
}

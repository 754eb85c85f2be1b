package structural

// DropNulls drops nulls from objects where the schema allows none and has no
// default that takes their place.
func (s *Schema) DropNulls(obj map[string]any) { s.drop(obj) }

func (s *Schema) drop(v any) {
	if s == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			child, _ := s.child(name)
			if value == nil && child != nil && !child.Props.Nullable && child.Default == nil {
				delete(v, name)
			} else {
				child.drop(value)
			}
		}
	case []any:
		for _, item := range v {
			s.Items.drop(item)
		}
	}
}

// ApplyDefaults fills in what an object leaves out, or has as a null where the
// schema allows none.
func (s *Schema) ApplyDefaults(obj map[string]any) { s.fill(obj) }

// fill applies the defaults of the nodes below s to a value that s describes.
func (s *Schema) fill(v any) {
	if s == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		s.fillObject(v)
	case []any:
		if s.Items == nil {
			return
		}
		for i := range v {
			if v[i] == nil && !s.Items.Props.Nullable && s.Items.Default != nil {
				v[i] = copied(s.Items.Default)
			}
			s.Items.fill(v[i])
		}
	}
}

func (s *Schema) fillObject(obj map[string]any) {
	for name, value := range obj {
		child, _ := s.child(name)
		if value == nil && child != nil && !child.Props.Nullable && child.Default != nil {
			obj[name] = copied(child.Default)
		}
	}
	for name, property := range s.Properties {
		if _, given := obj[name]; !given && property.Default != nil {
			obj[name] = copied(property.Default)
		}
	}
	for name, value := range obj {
		child, _ := s.child(name)
		child.fill(value)
	}
}

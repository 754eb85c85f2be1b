package rules

import (
	"encoding/json"
	"math"
	"math/bits"
	"slices"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/structural"
)

// How large values can be decides which rules can be stored, so the figures below
// are Kubernetes'.
const (
	// maxRequest is the most bytes that an object can take.
	maxRequest = 3 << 20
	// longestText is what is left of it for a text in quotes.
	longestText = maxRequest - 2
	// longestTime is the longest time or duration in quotes, dateLength that of a
	// date, and longestRune a character's.
	longestTime, dateLength, longestRune = 32, 12, 4
)

// sizes returns how large what is below a node can be.
func (d *declared) sizes(s *structural.Schema, whole bool) expression.Sizes {
	return func(path []string) (uint64, bool) {
		node, whole := s, whole || s.Embedded
		for i, name := range path[1:] { // the first is self or oldSelf
			switch {
			case name == "@items":
				node = node.Items
			case name == "@values":
				node = node.Values
			case name == "@keys":
				return 0, node.Values != nil // keys are not bounded, and cost nothing
			case whole && slices.Contains([]string{"apiVersion", "kind", "metadata"}, name):
				return ofWhole(path[i+1:])
			default:
				node = propertyCalled(node, name)
			}
			if node == nil || d.of[node] == nil {
				return 0, false
			}
			whole = node.Embedded
		}
		return d.largest(node), true
	}
}

// ofWhole is how large the parts are that every object has.
func ofWhole(path []string) (uint64, bool) {
	switch {
	case len(path) == 1 && path[0] == "metadata":
		return 0, true
	case len(path) == 1:
		return longestText, true
	case len(path) == 2 && path[0] == "metadata" && (path[1] == "name" || path[1] == "generateName"):
		return longestText, true
	}
	return 0, false
}

// propertyCalled returns the property that expressions call by a name.
func propertyCalled(s *structural.Schema, name string) *structural.Schema {
	if p := s.Properties[name]; p != nil && slices.Contains(calls(name), name) { // as nearly always
		return p
	}
	for property, p := range s.Properties {
		if slices.Contains(calls(property), name) {
			return p
		}
	}
	return nil
}

// largest returns the most bytes, items or entries of a node's values. What is no
// text, list or map has none.
func (d *declared) largest(s *structural.Schema) uint64 {
	switch {
	case s.Props.XIntOrString:
		return longest(s)
	case s.Props.Type == "string":
		return longest(s)
	case s.Props.Type == "array":
		if s.Props.MaxItems != nil {
			return bound(*s.Props.MaxItems)
		}
		return longestText / (d.smallest(s.Items) + 1) // a comma
	case s.Props.Type == "object" && s.Values != nil:
		if s.Props.MaxProperties != nil {
			return bound(*s.Props.MaxProperties)
		}
		return longestText / (d.smallest(s.Values) + 6) // a key in quotes, a colon, a comma
	}
	return 0
}

// longest returns the most bytes of a text.
func longest(s *structural.Schema) uint64 {
	if !s.Props.XIntOrString {
		switch s.Props.Format {
		case "byte":
			if s.Props.MaxLength != nil {
				return bound(*s.Props.MaxLength)
			}
			return longestText
		case "duration", "date-time":
			return longestTime
		case "date":
			return dateLength
		}
	}
	switch {
	case s.Props.MaxLength != nil:
		return bound(*s.Props.MaxLength) * longestRune
	case len(s.Props.Enum) > 0 && !s.Props.XIntOrString:
		n := uint64(0)
		for _, v := range s.Props.Enum {
			var text string
			if json.Unmarshal(v.Raw, &text) == nil {
				n = max(n, uint64(len(text)))
			}
		}
		return n
	}
	return longestText
}

func bound(n int64) uint64 { return uint64(max(0, n)) }

// smallest returns the fewest bytes that a value of a node takes in JSON.
func (d *declared) smallest(s *structural.Schema) uint64 {
	if s.Props.XIntOrString {
		return 1
	}
	switch s.Props.Type {
	case "boolean":
		return 4
	case "string":
		switch s.Props.Format {
		case "duration":
			return 3
		case "date":
			return dateLength
		case "date-time":
			return 21
		}
		return 2
	case "array":
		return 2
	case "object":
		size := uint64(2)
		if s.Values != nil {
			return size
		}
		for _, name := range s.Props.Required {
			if child := s.Properties[name]; child != nil && child.Default == nil && d.of[child] != nil {
				size += uint64(len(name)) + 4 + d.smallest(child)
			}
		}
		return size
	}
	return 1
}

// times multiplies costs; what is too large stays the largest.
func times(a, b uint64) uint64 {
	if high, low := bits.Mul64(a, b); high == 0 {
		return low
	}
	return math.MaxUint64
}

package rules

import (
	"math"
	"math/bits"

	"navarch.dev/navarch/internal/structural"
)

// maxRequest is the most bytes that an object can take.
const maxRequest = 3 << 20

// sizes returns how large what is below a node can be.
func sizes(s *structural.Schema) func(path []string) (uint64, bool) {
	return func(path []string) (uint64, bool) {
		node := s
		for _, name := range path {
			if node == nil {
				return 0, false
			}
			switch name {
			case "@items":
				node = node.Items
			case "@values":
				node = node.Values
			case "@keys":
				return maxRequest, node.Values != nil
			default:
				node = propertyCalled(node, name)
			}
		}
		if node == nil {
			return 0, false
		}
		return largest(node), true
	}
}

// propertyCalled returns the property that expressions call by a name.
func propertyCalled(s *structural.Schema, name string) *structural.Schema {
	if p := s.Properties[name]; p != nil {
		return p
	}
	for property, p := range s.Properties {
		if escaped, ok := escape(property); ok && escaped == name {
			return p
		}
	}
	return nil
}

// largest returns the most characters, items or entries of a node's values.
func largest(s *structural.Schema) uint64 {
	switch s.Props.Type {
	case "string":
		return longest(s)
	case "array":
		if s.Props.MaxItems != nil {
			return uint64(max(0, *s.Props.MaxItems))
		}
		return within(smallestOf(s.Items))
	case "object":
		if s.Props.MaxProperties != nil {
			return uint64(max(0, *s.Props.MaxProperties))
		}
		return within(smallestOf(s.Values) + 6) // a key of two quotes, a colon
	}
	if s.Props.XIntOrString {
		return longest(s)
	}
	return 1
}

// longest returns the most characters of a string.
func longest(s *structural.Schema) uint64 {
	n := uint64(maxRequest)
	if s.Props.MaxLength != nil {
		n = uint64(max(0, *s.Props.MaxLength))
	}
	switch {
	case len(s.Props.Enum) > 0:
		n = 0
		for _, v := range s.Props.Enum {
			n = max(n, uint64(len(v.Raw)))
		}
	case s.Props.Format == "date":
		n = min(n, 10)
	case s.Props.Format == "date-time", s.Props.Format == "duration":
		n = min(n, 32)
	}
	return n
}

// within returns how many values of a size can be in an object.
func within(size uint64) uint64 { return maxRequest / (size + 1) }

// smallestOf returns the fewest bytes that a value of a node takes.
func smallestOf(s *structural.Schema) uint64 {
	if s == nil {
		return 1
	}
	switch s.Props.Type {
	case "boolean":
		return 4
	case "string", "array":
		return 2
	case "object":
		size := uint64(2)
		for _, name := range s.Props.Required {
			if child := s.Properties[name]; child != nil && child.Default == nil {
				size += uint64(len(name)) + 4 + smallestOf(child)
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

package rules

import (
	"slices"
	"strings"

	"github.com/google/cel-go/cel"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/structural"
)

// declared are the types of a schema's nodes, as expressions see them.
type declared struct {
	types expression.Types
	of    map[*structural.Schema]*cel.Type
}

// declare returns the types of the nodes of a schema. The root is an object with
// a kind and metadata.
func declare(s *structural.Schema) *declared {
	d := &declared{types: make(expression.Types), of: make(map[*structural.Schema]*cel.Type)}
	d.types[metaType] = map[string]*cel.Type{"name": cel.StringType, "generateName": cel.StringType}
	d.node(s, rootType, true)
	return d
}

// rootType is what the types of nodes are called after. No variable has its name:
// the value self.spec would else be taken for the type of it.
const (
	rootType = "schema.self"
	metaType = "kubernetes.ObjectMeta"
)

// node returns the type of a node, nil where expressions cannot see what is
// there.
func (d *declared) node(s *structural.Schema, name string, whole bool) *cel.Type {
	t := d.typeOf(s, name, whole || s.Embedded)
	if t != nil {
		d.of[s] = t
	}
	return t
}

func (d *declared) typeOf(s *structural.Schema, name string, whole bool) *cel.Type {
	if s.Props.XIntOrString {
		return cel.DynType
	}
	switch s.Props.Type {
	case "object":
		return d.object(s, name, whole)
	case "array":
		if s.Items == nil {
			return nil
		}
		if items := d.node(s.Items, name+".@items", false); items != nil {
			return cel.ListType(items)
		}
		return nil
	case "string":
		return stringType(s.Props.Format)
	case "boolean":
		return cel.BoolType
	case "integer":
		return cel.IntType
	case "number":
		return cel.DoubleType
	}
	return nil
}

func (d *declared) object(s *structural.Schema, name string, whole bool) *cel.Type {
	if s.Values != nil {
		if values := d.node(s.Values, name+".@values", false); values != nil {
			return cel.MapType(cel.StringType, values)
		}
		return nil
	}
	fields := make(map[string]*cel.Type)
	for property, child := range s.Properties {
		t := d.node(child, name+"."+property, false)
		if t == nil {
			continue
		}
		for _, called := range calls(property) {
			fields[called] = t
		}
	}
	if whole {
		fields["apiVersion"], fields["kind"], fields["metadata"] = cel.StringType, cel.StringType, cel.ObjectType(metaType)
	}
	d.types[name] = fields
	return cel.ObjectType(name)
}

func stringType(format string) *cel.Type {
	switch format {
	case "byte":
		return cel.BytesType
	case "duration":
		return cel.DurationType
	case "date", "date-time":
		return cel.TimestampType
	}
	return cel.StringType
}

// reserved are the words of CEL that cannot name a variable.
var reserved = strings.Fields("true false null in as break const continue else for function if import let loop package namespace return var void while")

// calls are the names by which expressions can call a property: that which escape
// returns, and a reserved word also as it is, for a field is never a variable.
func calls(property string) []string {
	escaped, ok := escape(property)
	switch {
	case !ok:
		return nil
	case slices.Contains(reserved, property):
		return []string{escaped, property}
	}
	return []string{escaped}
}

// escape returns how expressions call a property. False says that they cannot.
func escape(name string) (string, bool) {
	if slices.Contains(reserved, name) {
		return "__" + name + "__", true
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case strings.HasPrefix(name[i:], "__"):
			b.WriteString("__underscores__")
			i++
		case c == '.':
			b.WriteString("__dot__")
		case c == '-':
			b.WriteString("__dash__")
		case c == '/':
			b.WriteString("__slash__")
		case c == '_', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', i > 0 && c >= '0' && c <= '9':
			b.WriteByte(c)
		default:
			return "", false
		}
	}
	return b.String(), name != ""
}

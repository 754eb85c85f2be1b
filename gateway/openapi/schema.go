package openapi

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// jsonSchema is a schema as OpenAPI v2 and v3 both write it. They differ in
// how a reference is spelled and in what v3 can say beyond v2.
type jsonSchema struct {
	Description          string                 `json:"description,omitempty"`
	Type                 string                 `json:"type,omitempty"`
	Format               string                 `json:"format,omitempty"`
	OneOf                []*jsonSchema          `json:"oneOf,omitempty"`
	AllOf                []*jsonSchema          `json:"allOf,omitempty"`
	Ref                  string                 `json:"$ref,omitempty"`
	Items                *jsonSchema            `json:"items,omitempty"`
	AdditionalProperties *jsonSchema            `json:"additionalProperties,omitempty"`
	Required             []string               `json:"required,omitempty"`
	Properties           map[string]*jsonSchema `json:"properties,omitempty"`
	Enum                 []string               `json:"enum,omitempty"`

	Kinds         []gvk    `json:"x-kubernetes-group-version-kind,omitempty"`
	ListType      string   `json:"x-kubernetes-list-type,omitempty"`
	ListMapKeys   []string `json:"x-kubernetes-list-map-keys,omitempty"`
	MapType       string   `json:"x-kubernetes-map-type,omitempty"`
	PatchStrategy string   `json:"x-kubernetes-patch-strategy,omitempty"`
	PatchMergeKey string   `json:"x-kubernetes-patch-merge-key,omitempty"`
}

// gvk is a kind as the extension x-kubernetes-group-version-kind spells it.
type gvk struct {
	Group   string `json:"group"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

func gvkOf(k schema.GroupVersionKind) gvk {
	return gvk{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

// documented is what every struct of k8s.io/api with comments has: a text by
// the name of each field, and by "" its own. Those of other structs are markers.
type documented interface{ SwaggerDoc() map[string]string }

// named is what types have that name their own model.
type named interface{ OpenAPIModelName() string }

// formatted is what types have that are not encoded as their Go form.
type formatted interface {
	OpenAPISchemaType() []string
	OpenAPISchemaFormat() string
}

// alternatives is what types have that have several forms.
type alternatives interface{ OpenAPIV3OneOfTypes() []string }

// models makes schemas from Go types.
type models struct {
	refPrefix string
	// oneOf says whether alternatives can be expressed (v3).
	oneOf   bool
	markers markers
	all     map[string]*jsonSchema
	// written are those of custom kinds, as their definitions have them.
	written object
}

func newModels(refPrefix string, oneOf bool, m markers) *models {
	return &models{refPrefix: refPrefix, oneOf: oneOf, markers: m, all: make(map[string]*jsonSchema), written: make(object)}
}

// modelName returns the name of a type's model, "io.k8s.api.core.v1.Pod".
func modelName(t reflect.Type) string {
	if n, ok := reflect.New(t).Interface().(named); ok {
		return n.OpenAPIModelName()
	}
	path := strings.Split(t.PkgPath(), "/")
	domain := strings.Split(path[0], ".")
	slices.Reverse(domain)
	return strings.Join(slices.Concat(domain, path[1:], []string{t.Name()}), ".")
}

// addValue is add for the type of a pointer to a struct.
func (m *models) addValue(value any) string { return m.add(reflect.TypeOf(value).Elem()) }

// add makes the model of a struct type, and of all it holds, and returns its
// name.
func (m *models) add(t reflect.Type) string {
	name := modelName(t)
	if _, ok := m.all[name]; ok {
		return name
	}
	s := &jsonSchema{Type: "object"}
	m.all[name] = s // before its fields: they may hold the type itself
	value := reflect.New(t).Interface()
	docs := m.docsOf(name, value)
	s.Description = docs("")
	if f, ok := value.(formatted); ok {
		m.formatted(s, value, f)
		return name
	}
	if opaque(t) {
		return name
	}
	s.MapType = m.markers.of(name, "").mapType
	m.fields(s, name, t, docs)
	slices.Sort(s.Required)
	return name
}

func (m *models) formatted(s *jsonSchema, value any, f formatted) {
	s.Type, s.Format = "", f.OpenAPISchemaFormat()
	if types := f.OpenAPISchemaType(); len(types) > 0 { // else it is anything
		s.Type = types[0]
	}
	a, ok := value.(alternatives)
	if !ok || !m.oneOf {
		return
	}
	s.Type = ""
	for _, t := range a.OpenAPIV3OneOfTypes() {
		s.OneOf = append(s.OneOf, &jsonSchema{Type: t})
	}
}

// docsOf returns what tells the text of a field, and by "" that of the type.
func (m *models) docsOf(model string, value any) func(field string) string {
	if d, ok := value.(documented); ok {
		texts := d.SwaggerDoc()
		return func(field string) string { return texts[field] }
	}
	return func(field string) string { return m.markers.of(model, field).text }
}

// opaque says whether a type's JSON is anything.
func opaque(t reflect.Type) bool {
	switch t.PkgPath() + "." + t.Name() {
	case "k8s.io/apimachinery/pkg/runtime.RawExtension", "k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":
		return true
	}
	return false
}

// fields adds a struct's fields to its model.
func (m *models) fields(s *jsonSchema, model string, t reflect.Type, docs func(field string) string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" || !f.IsExported() {
			continue
		}
		if tag == "" {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				name := modelName(inner)
				m.fields(s, name, inner, m.docsOf(name, reflect.New(inner).Interface()))
			}
			continue
		}
		if s.Properties == nil {
			s.Properties = make(map[string]*jsonSchema)
		}
		p := m.property(f.Type)
		if p.Ref != "" && docs(tag) != "" {
			// Nothing may stand beside a reference, except within allOf.
			p = &jsonSchema{AllOf: []*jsonSchema{p}}
		}
		p.Description = docs(tag)
		m.annotate(p, model, tag, f)
		s.Properties[tag] = p
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && f.Type.Kind() != reflect.Pointer {
			s.Required = append(s.Required, tag)
		}
	}
}

// annotate adds what struct tags and markers say of a field.
func (m *models) annotate(p *jsonSchema, model, tag string, f reflect.StructField) {
	p.PatchStrategy, p.PatchMergeKey = f.Tag.Get("patchStrategy"), f.Tag.Get("patchMergeKey")
	k := m.markers.of(model, tag)
	p.ListType, p.ListMapKeys = k.listType, k.listMapKeys
	if k.mapType != "" {
		p.MapType = k.mapType
	}
}

// property returns the schema of a field, an element or a value.
func (m *models) property(t reflect.Type) *jsonSchema {
	switch t.Kind() {
	case reflect.Pointer:
		return m.property(t.Elem())
	case reflect.Struct:
		return &jsonSchema{Ref: m.refPrefix + m.add(t)}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &jsonSchema{Type: "string", Format: "byte"}
		}
		return &jsonSchema{Type: "array", Items: m.property(t.Elem())}
	case reflect.Map:
		return &jsonSchema{Type: "object", AdditionalProperties: m.property(t.Elem())}
	case reflect.String:
		return &jsonSchema{Type: "string", Enum: m.markers.values(t)}
	case reflect.Bool:
		return &jsonSchema{Type: "boolean"}
	case reflect.Float32:
		return &jsonSchema{Type: "number", Format: "float"}
	case reflect.Float64:
		return &jsonSchema{Type: "number", Format: "double"}
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64, reflect.Uint32:
		return &jsonSchema{Type: "integer", Format: "int64"}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16:
		return &jsonSchema{Type: "integer", Format: "int32"}
	}
	return &jsonSchema{Type: "object"}
}

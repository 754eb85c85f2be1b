package structural

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func props(t testing.TB, text string) *Props {
	t.Helper()
	p := &Props{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func compiled(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := New(props(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// object reads YAML as the API does: whole numbers are int64.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return whole(m).(map[string]any)
}

func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = whole(e)
		}
	case []any:
		for i, e := range v {
			v[i] = whole(e)
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

func TestPrune(t *testing.T) {
	for name, tt := range map[string]struct{ schema, in, out, dropped string }{
		"unknown fields, but what every object has": {
			"{type: object, properties: {a: {type: integer}}}",
			"{apiVersion: v, kind: K, metadata: {name: nm, x: z}, a: 1, b: 2}",
			"{apiVersion: v, kind: K, metadata: {name: nm, x: z}, a: 1}", "b",
		},
		"in lists and maps": {
			"{type: object, properties: {l: {type: array, items: {type: object, properties: {a: {type: string}}}}, m: {type: object, additionalProperties: {type: object, properties: {a: {type: string}}}}}}",
			"{l: [{a: x, b: z}], m: {k: {a: x, c: z}}}", "{l: [{a: x}], m: {k: {a: x}}}", "l[0].b m.k.c",
		},
		"not where they are preserved, but below": {
			"{type: object, x-kubernetes-preserve-unknown-fields: true, properties: {p: {type: object, properties: {a: {type: string}}}}}",
			"{x: {w: z}, p: {a: b, c: d}}", "{x: {w: z}, p: {a: b}}", "p.c",
		},
		"not in the items of a list that preserves them, but below": {
			"{type: object, properties: {l: {type: array, x-kubernetes-preserve-unknown-fields: true, items: {type: object, properties: {p: {type: object}}}}}}",
			"{l: [{w: {x: z}, p: {c: d}}]}", "{l: [{w: {x: z}, p: {}}]}", "l[0].p.c",
		},
		"not the metadata of an embedded object": {
			"{type: object, properties: {e: {type: object, x-kubernetes-embedded-resource: true, properties: {s: {type: string}}}}}",
			"{e: {kind: K, apiVersion: v1, metadata: {name: nm}, s: t, u: v}}", "{e: {kind: K, apiVersion: v1, metadata: {name: nm}, s: t}}", "e.u",
		},
		"metadata is a name like others below the root": {
			"{type: object, properties: {s: {type: object, properties: {a: {type: string}}}}}", "{s: {metadata: {}}}", "{s: {}}", "s.metadata",
		},
	} {
		t.Run(name, func(t *testing.T) {
			obj := object(t, tt.in)
			dropped := compiled(t, tt.schema).Prune(obj)
			if diff := cmp.Diff(object(t, tt.out), obj); diff != "" {
				t.Error(diff)
			}
			if got := strings.Join(dropped, " "); got != tt.dropped {
				t.Errorf("dropped are %q, not %q", got, tt.dropped)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	for name, tt := range map[string]struct{ schema, in, out string }{
		"what is left out":          {"{type: object, properties: {a: {type: integer, default: 1}}}", "{}", "{a: 1}"},
		"not what is given":         {"{type: object, properties: {a: {type: integer, default: 1}}}", "{a: 2}", "{a: 2}"},
		"below a default":           {"{type: object, properties: {o: {type: object, default: {}, properties: {a: {type: integer, default: 1}}}}}", "{}", "{o: {a: 1}}"},
		"not in what is not there":  {"{type: object, properties: {o: {type: object, properties: {a: {type: integer, default: 1}}}}}", "{}", "{}"},
		"in items and values":       {"{type: object, properties: {l: {type: array, items: {type: object, properties: {a: {type: integer, default: 1}}}}, m: {type: object, additionalProperties: {type: object, properties: {a: {type: integer, default: 1}}}}}}", "{l: [{}], m: {k: {}}}", "{l: [{a: 1}], m: {k: {a: 1}}}"},
		"a null that cannot be":     {"{type: object, properties: {a: {type: integer, default: 1}, b: {type: integer}}}", "{a: null, b: null}", "{a: 1}"},
		"nulls below":               {"{type: object, properties: {o: {type: object, properties: {a: {type: integer}}}, l: {type: array, items: {type: object, properties: {a: {type: integer}}}}, m: {type: object, additionalProperties: {type: integer}}}}", "{o: {a: null}, l: [{a: null}], m: {k: null}}", "{o: {}, l: [{}], m: {}}"},
		"a null in a list":          {"{type: object, properties: {l: {type: array, items: {type: integer}}}}", "{l: [null]}", "{l: [null]}"},
		"a null that nobody knows":  {"{type: object, x-kubernetes-preserve-unknown-fields: true}", "{a: null}", "{a: null}"},
		"not a null that can be":    {"{type: object, properties: {a: {type: integer, nullable: true, default: 1}}}", "{a: null}", "{a: null}"},
		"a null in a list that can": {"{type: object, properties: {l: {type: array, items: {type: integer, default: 3}}}}", "{l: [null]}", "{l: [3]}"},
	} {
		t.Run(name, func(t *testing.T) {
			obj, s := object(t, tt.in), compiled(t, tt.schema)
			s.DropNulls(obj)
			s.ApplyDefaults(obj)
			if diff := cmp.Diff(object(t, tt.out), obj); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDefaultsAreCopies(t *testing.T) {
	s := compiled(t, "{type: object, properties: {o: {type: object, default: {l: [1]}, properties: {l: {type: array, items: {type: integer}}}}}}")
	first, second := map[string]any{}, map[string]any{}
	s.ApplyDefaults(first)
	first["o"].(map[string]any)["l"].([]any)[0] = int64(2)
	s.ApplyDefaults(second)
	if diff := cmp.Diff(object(t, "{o: {l: [1]}}"), second); diff != "" {
		t.Error(diff)
	}
}

// TestCheck holds the rules that make a schema structural.
func TestCheck(t *testing.T) {
	const object = "type: object, properties: "
	for name, tt := range map[string]struct{ schema, want string }{
		"fine":                       {"{" + object + "{a: {type: string}, b: {x-kubernetes-int-or-string: true}, c: {x-kubernetes-preserve-unknown-fields: true}}}", ""},
		"an int or string, written":  {"{" + object + "{a: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}}}", ""},
		"and so with more":           {"{" + object + "{a: {x-kubernetes-int-or-string: true, allOf: [{anyOf: [{type: integer}, {type: string}]}, {pattern: x}]}}}", ""},
		"no type":                    {"{" + object + "{a: {}}}", `properties[a].type: Required value: must not be empty for specified object fields`},
		"no type of items":           {"{" + object + "{a: {type: array, items: {}}}}", `properties[a].items.type: Required value: must not be empty for specified array items`},
		"no type at the root":        {"{}", "type: Required value: must not be empty at the root"},
		"another type at the root":   {"{type: array, items: {type: string}}", `type: Invalid value: "array": must be object at the root`},
		"no items":                   {"{" + object + "{a: {type: array}}}", "properties[a].items: Required value: must be specified"},
		"a map at the root":          {"{type: object, additionalProperties: {type: string}}", "additionalProperties: Forbidden: must not be used at the root"},
		"a type within":              {"{" + object + "{a: {type: string, anyOf: [{type: string}]}}}", "properties[a].anyOf[0].type: Forbidden: must be empty to be structural"},
		"a default within":           {"{" + object + "{a: {type: string}}, allOf: [{properties: {a: {default: x}}}]}", "allOf[0].properties[a].default: Forbidden: must be undefined to be structural"},
		"what is not described":      {"{" + object + "{a: {type: string}}, oneOf: [{properties: {b: {minLength: 1}}}]}", "properties[b]: Required value: because it is defined in oneOf[0].properties[b]"},
		"metadata":                   {"{" + object + "{metadata: {type: object, properties: {labels: {type: object}}}}}", "properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"},
		"names of metadata":          {"{" + object + "{metadata: {type: object, properties: {name: {type: string, maxLength: 3}}}}}", ""},
		"an embedded thing":          {"{" + object + "{a: {type: string, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}}}", `properties[a].type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true`},
		"embedded of nothing":        {"{" + object + "{a: {type: object, x-kubernetes-embedded-resource: true}}}", "properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"},
		"int or string and anything": {"{" + object + "{a: {x-kubernetes-int-or-string: true, x-kubernetes-preserve-unknown-fields: true}}}", "properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"},
		"a pattern":                  {"{" + object + "{a: {type: string, pattern: '('}}}", "properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := Check(props(t, tt.schema), nil)
			got := ""
			if len(errs) > 0 {
				got = errs[0].Error()
			}
			if got != tt.want || len(errs) > 1 {
				t.Errorf("the errors are %v, not %s", errs, tt.want)
			}
		})
	}
}

// TestChanged has an old object that its schema does not allow any longer, and
// changes of it.
func TestChanged(t *testing.T) {
	s := compiled(t, `
type: object
properties:
  q: {type: integer, maximum: 5}
  o: {type: object, required: [r], properties: {r: {type: string}, q: {type: integer, maximum: 5}}}
  m: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {k: {type: string}, q: {type: integer, maximum: 5}}}}
  l: {type: array, items: {type: object, properties: {q: {type: integer, maximum: 5}}}}
`)
	old := "{q: 9, o: {q: 9}, m: [{k: a, q: 9}, {k: b, q: 1}], l: [{q: 9}]}"
	for name, tt := range map[string]struct{ now, want string }{
		"nothing":                         {old, ""},
		"something else":                  {"{q: 9, o: {q: 9}, m: [{k: a, q: 9}, {k: b, q: 2}], l: [{q: 9}], x: 1}", ""},
		"the field itself":                {"{q: 8, o: {q: 9}, m: [{k: a, q: 9}], l: [{q: 9}]}", "q"},
		"what should have the field":      {"{q: 9, o: {q: 9, x: z}, m: [], l: [{q: 9}]}", "o.r"},
		"entries that moved":              {"{q: 9, o: {q: 9}, m: [{k: b, q: 1}, {k: a, q: 9}], l: [{q: 9}]}", ""},
		"an entry":                        {"{q: 9, o: {q: 9}, m: [{k: a, q: 8}, {k: b, q: 1}], l: [{q: 9}]}", "m[0].q"},
		"items that are known by nothing": {"{q: 9, o: {q: 9}, m: [], l: [{q: 9}, {q: 1}]}", "l[0].q"},
	} {
		t.Run(name, func(t *testing.T) {
			now := object(t, tt.now)
			var got []string
			for _, err := range s.Changed(s.Validate(now), now, object(t, old)) {
				got = append(got, err.Field)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("held against it are %v, not %q", got, tt.want)
			}
		})
	}
}

func TestEmbedded(t *testing.T) {
	s := compiled(t, "{type: object, properties: {e: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}}}")
	for name, tt := range map[string]struct{ in, want string }{
		"fine":         {"{e: {apiVersion: apps/v1, kind: Deployment, metadata: {name: nm, labels: {a: b}}}}", ""},
		"no kind":      {"{e: {apiVersion: v1}}", "e.kind: Required value"},
		"a bad kind":   {"{e: {apiVersion: v1, kind: '0'}}", `e.kind: Invalid value: "0": may have mixed case`},
		"a bad label":  {"{e: {apiVersion: v1, kind: K, metadata: {labels: {a: ' '}}}}", "e.metadata.labels: Invalid value"},
		"bad metadata": {"{e: {apiVersion: v1, kind: K, metadata: {labels: 1}}}", "e.metadata: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := s.CheckEmbedded(object(t, tt.in), nil)
			if tt.want == "" && len(errs) == 0 {
				return
			}
			if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), tt.want) || tt.want == "" {
				t.Errorf("the errors are %v, not %s", errs, tt.want)
			}
		})
	}
}

func TestCoerceMeta(t *testing.T) {
	s := compiled(t, "{type: object, properties: {e: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}}}")
	obj := object(t, "{metadata: {name: nm, x: z}, e: {metadata: {labels: {a: b}, z: 1}}}")
	dropped, err := s.CoerceMeta(obj, false)
	slices.Sort(dropped)
	if err != nil || strings.Join(dropped, " ") != "e.metadata.z metadata.x" {
		t.Errorf("dropped are %v, %v", dropped, err)
	}
	if _, err := s.CoerceMeta(object(t, "{metadata: {labels: {a: 1}}}"), false); err == nil {
		t.Error("a label that is a number is accepted")
	}
	bad := object(t, "{metadata: {labels: {a: 1}, name: nm}}")
	if _, err := s.CoerceMeta(bad, true); err != nil || bad["metadata"].(map[string]any)["name"] != "nm" || bad["metadata"].(map[string]any)["labels"] != nil {
		t.Errorf("leniently: %v, %v", bad, err)
	}
}

func TestParsePath(t *testing.T) {
	for path, want := range map[string]string{
		".spec.a": "spec a", ".spec['a.b'].c": "spec a.b c", `['it\'s']`: "it's", "": "!", ".": "!", ".a..b": "!", "a": "!", ".1": "!", "['a": "!", "['']": "!", ".a[0]": "!",
	} {
		names, err := ParsePath(path)
		got := strings.Join(names, " ")
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q is %q (%v), not %q", path, got, err, want)
		}
	}
}

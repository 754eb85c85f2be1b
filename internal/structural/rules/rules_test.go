package rules

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/structural"
)

func compile(t *testing.T, text string) *structural.Schema {
	t.Helper()
	p := &structural.Props{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	s, err := structural.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return whole(m).(map[string]any)
}

// whole makes numbers what the API decodes.
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

// spec is a schema of spec's properties with one rule about spec.
func spec(rule, properties string) string {
	return "{type: object, properties: {spec: {type: object, x-kubernetes-validations: [" + rule + "], properties: {" + properties + "}}}}"
}

func TestRules(t *testing.T) {
	for name, tt := range map[string]struct{ schema, now, old, want string }{
		"kept":              {spec("{rule: self.min <= self.max}", "min: {type: integer}, max: {type: integer}"), "{spec: {min: 1, max: 2}}", "", ""},
		"broken":            {spec("{rule: self.min <= self.max}", "min: {type: integer}, max: {type: integer}"), "{spec: {min: 3, max: 2}}", "", "spec: Invalid value: failed rule: self.min <= self.max"},
		"its message":       {spec("{rule: 'false', message: nope}", "a: {type: string}"), "{spec: {}}", "", "spec: Invalid value: nope"},
		"its expression":    {spec(`{rule: 'false', message: nope, messageExpression: "'not ' + self.a"}`, "a: {type: string}"), "{spec: {a: b}}", "", "spec: Invalid value: not b"},
		"that fails":        {spec(`{rule: 'false', message: nope, messageExpression: "'not ' + self.a"}`, "a: {type: string}"), "{spec: {}}", "", "spec: Invalid value: nope"},
		"its place":         {spec("{rule: 'false', fieldPath: .a, reason: FieldValueForbidden}", "a: {type: string}"), "{spec: {}}", "", "spec.a: Forbidden: failed rule: false"},
		"a scalar":          {"{type: object, properties: {num: {type: integer, x-kubernetes-validations: [{rule: self > 3}]}}}", "{num: 2}", "", "num: Invalid value: 2: failed rule: self > 3"},
		"what is unset":     {spec("{rule: '!has(self.a) || self.a == 1'}", "a: {type: integer}"), "{spec: {}}", "", ""},
		"what is not there": {spec("{rule: self.a == 1}", "a: {type: integer}"), "{spec: {}}", "", "spec: Invalid value: \"object\": no such key: a evaluating rule: self.a == 1"},
		"odd names":         {spec("{rule: self.x__dash__y == self.__namespace__}", "x-y: {type: integer}, namespace: {type: integer}"), "{spec: {x-y: 1, namespace: 1}}", "", ""},
		"the name":          {"{type: object, x-kubernetes-validations: [{rule: self.metadata.name == 'good'}]}", "{metadata: {name: bad}}", "", `<nil>: Invalid value: failed rule: self.metadata.name == 'good'`},
		"int or string":     {spec("{rule: 'type(self.p) == int ? self.p < 10 : self.p == \"x\"'}", "p: {x-kubernetes-int-or-string: true}"), "{spec: {p: 11}}", "", "spec: Invalid value: failed rule: type(self.p) == int ? self.p < 10 : self.p == \"x\""},
		"times":             {spec("{rule: 'self.until > timestamp(\"2020-01-01T00:00:00Z\") && self.every > duration(\"1s\")'}", "until: {type: string, format: date-time}, every: {type: string, format: duration}"), "{spec: {until: '2026-01-01T00:00:00Z', every: 5s}}", "", ""},
		"a map":             {spec("{rule: 'self.m.all(k, self.m[k] > 1)'}", "m: {type: object, maxProperties: 5, additionalProperties: {type: integer}}"), "{spec: {m: {a: 1}}}", "", "spec: Invalid value: failed rule: self.m.all(k, self.m[k] > 1)"},
		"sets":              {spec("{rule: 'self.a == self.b'}", "a: {type: array, x-kubernetes-list-type: set, maxItems: 9, items: {type: integer}}, b: {type: array, x-kubernetes-list-type: set, maxItems: 9, items: {type: integer}}"), "{spec: {a: [1, 2], b: [2, 1]}}", "", ""},
		"lists":             {spec("{rule: 'self.a == self.b'}", "a: {type: array, maxItems: 9, items: {type: integer}}, b: {type: array, maxItems: 9, items: {type: integer}}"), "{spec: {a: [1, 2], b: [2, 1]}}", "", "spec: Invalid value: failed rule: self.a == self.b"},
		"a transition":      {"{type: object, properties: {num: {type: integer, x-kubernetes-validations: [{rule: self >= oldSelf}]}}}", "{num: 2}", "{num: 3}", "num: Invalid value: 2: failed rule: self >= oldSelf"},
		"no transition":     {"{type: object, properties: {num: {type: integer, x-kubernetes-validations: [{rule: self >= oldSelf}]}}}", "{num: 2}", "", ""},
		"from nothing":      {"{type: object, properties: {num: {type: integer, x-kubernetes-validations: [{rule: self >= oldSelf}]}}}", "{num: 2}", "{}", ""},
		"optionally":        {"{type: object, properties: {num: {type: integer, x-kubernetes-validations: [{rule: 'oldSelf.hasValue() || self == 1', optionalOldSelf: true}]}}}", "{num: 2}", "", "num: Invalid value: 2: failed rule: oldSelf.hasValue() || self == 1"},
		"of an entry":       {"{type: object, properties: {l: {type: array, maxItems: 5, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, required: [k], properties: {k: {type: string, maxLength: 9}, v: {type: integer, x-kubernetes-validations: [{rule: self == oldSelf}]}}}}}}", "{l: [{k: b, v: 1}, {k: a, v: 2}]}", "{l: [{k: a, v: 1}, {k: b, v: 1}]}", "l[1].v: Invalid value: 2: failed rule: self == oldSelf"},
		"unchanged":         {spec("{rule: self.min <= self.max}", "min: {type: integer}, max: {type: integer}"), "{x: 1, spec: {min: 3, max: 2}}", "{spec: {min: 3, max: 2}}", ""},
		"what costs much":   {spec("{rule: 'self.a.all(x, self.a.all(y, self.a.all(z, x + y + z > 0)))'}", "a: {type: array, items: {type: integer}}"), "{spec: {a: [" + strings.Repeat("1, ", 200) + "1]}}", "", `spec: Invalid value: "object": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.a.all(x, self.a.all(y, self.a.all(z, x + y + z > 0)))`},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := New(compile(t, tt.schema))
			var old map[string]any
			if tt.old != "" {
				old = object(t, tt.old)
			}
			errs := r.Validate(t.Context(), object(t, tt.now), old)
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

func TestCheck(t *testing.T) {
	const at = "properties[spec].x-kubernetes-validations[0]."
	for name, tt := range map[string]struct{ schema, want string }{
		"fine":         {spec("{rule: self.a > 1}", "a: {type: integer}"), ""},
		"a field":      {spec("{rule: self.b > 1}", "a: {type: integer}"), at + `rule: Invalid value: "self.b > 1": compilation failed: ERROR: <input>:1:5: undefined field 'b'`},
		"a type":       {spec("{rule: self.a}", "a: {type: integer}"), at + `rule: Invalid value: "self.a": cel expression must evaluate to a bool`},
		"a message":    {spec("{rule: 'true', messageExpression: self.a}", "a: {type: integer}"), at + `messageExpression: Invalid value: "self.a": messageExpression cel expression must evaluate to a string`},
		"what was not": {spec("{rule: 'true', optionalOldSelf: true}", "a: {type: integer}"), at + "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"},
		"an item":      {"{type: object, properties: {l: {type: array, maxItems: 3, items: {type: integer, x-kubernetes-validations: [{rule: self == oldSelf}]}}}}", `properties[l].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within properties[l]`},
		"its cost":     {spec("{rule: 'self.a.all(x, self.a.all(y, x != y))'}", "a: {type: array, items: {type: string}}"), at + "rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"},
		"with bounds":  {spec("{rule: 'self.a.all(x, self.a.all(y, x != y))'}", "a: {type: array, maxItems: 10, items: {type: string, maxLength: 10}}"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			errs := Check(compile(t, tt.schema), nil)
			got := ""
			if len(errs) > 0 {
				got, _, _ = strings.Cut(errs[0].Error(), "\n")
			}
			if got != tt.want {
				t.Errorf("the errors are %v, not %s", errs, tt.want)
			}
		})
	}
}

// FuzzRules evaluates any rule over any object: nothing may panic.
func FuzzRules(f *testing.F) {
	f.Add("self.spec.a == oldSelf.spec.a", `{"spec":{"a":1,"l":["x","x"]}}`)
	f.Add("self.spec.l.exists(x, x == string(self.spec.p))", `{"spec":{"p":"x","l":null}}`)
	f.Fuzz(func(t *testing.T, rule, document string) {
		p := &structural.Props{}
		if err := yaml.Unmarshal([]byte(spec("", "a: {type: integer}, l: {type: array, x-kubernetes-list-type: set, items: {type: string}}, p: {x-kubernetes-int-or-string: true}, t: {type: string, format: date-time}")), p); err != nil {
			t.Fatal(err)
		}
		p.XValidations = append(p.XValidations, apiextensionsv1.ValidationRule{Rule: rule})
		s, err := structural.New(p)
		var obj map[string]any
		if err != nil || yaml.Unmarshal([]byte(document), &obj) != nil || obj == nil {
			return
		}
		obj = whole(obj).(map[string]any)
		if len(s.Validate(obj)) > 0 {
			return
		}
		r, _ := New(s)
		r.Validate(t.Context(), obj, obj)
		r.Validate(t.Context(), obj, nil)
	})
}

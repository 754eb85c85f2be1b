package rules

import (
	"fmt"
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
		// Rules of definitions that are in wide use.
		"an object is not large": {spec("{rule: self == oldSelf}", "a: {type: object, properties: {b: {type: string}}}"), ""},
		"keys cost nothing":      {spec("{rule: 'self.m.all(k, k.matches(\"^[a-z]*$\"))'}", "m: {type: object, maxProperties: 100, additionalProperties: {type: string}}"), ""},
		"types are not values":   {"{type: object, x-kubernetes-validations: [{rule: 'has(self.status) && has(self.status.conditions) && self.status.conditions.exists(c, c.type == \"x\")'}], properties: {status: {type: object, properties: {conditions: {type: array, maxItems: 8, items: {type: object, properties: {type: {type: string, maxLength: 316}}}}}}}}", ""},
		"a reserved word":        {spec("{rule: 'self.l.all(r, !has(r.namespace) || r.namespace == r.__namespace__)'}", "l: {type: array, maxItems: 8, items: {type: object, properties: {namespace: {type: string, maxLength: 63}}}}"), ""},
		"lists of CEL":           {spec("{rule: 'self.a.sort() == self.a.distinct()'}", "a: {type: array, maxItems: 9, items: {type: string, maxLength: 9}}"), ""},
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

// TestCosts checks estimates against those of kube-apiserver v1.37: they decide
// which definitions can be stored.
func TestCosts(t *testing.T) {
	for rule, want := range map[string]uint64{
		`self.s.size() > 0`:                                       4,
		`self.s == "abc"`:                                         3,
		`self.s.matches("^[a-z]+$")`:                              84,
		`self.s.contains("x")`:                                    42,
		`self.s.startsWith(self.s)`:                               44,
		`self.s.lowerAscii() == self.s`:                           84,
		`self.s.replace("ab", "c") == ""`:                         82,
		`self.s.replace("", "xy").size() > 1`:                     84,
		`self.s.split(",").size() > 1`:                            84,
		`self.s.split(",", 2)[0] == "x"`:                          83,
		`self.l.join(",") == self.s`:                              125,
		`self.l.isSorted()`:                                       92,
		`self.l.indexOf("x") > 0`:                                 93,
		`self.l.all(x, x.size() > 0)`:                             63,
		`self.l.exists(x, self.l.exists(y, x == y))`:              1473,
		`self.u.all(x, x == "a")`:                                 5242878,
		`self.u == oldSelf.u`:                                     104862,
		`self == oldSelf`:                                         2,
		`self.m.all(k, self.m[k].size() > 0)`:                     3538938,
		`self.m.exists(k, k == "a")`:                              1966078,
		`"a" in self.m`:                                           3,
		`self.s in self.l`:                                        14,
		`self.s.find("[a-z]") == ""`:                              84,
		`self.s.findAll("[a-z]").size() > 1`:                      86,
		`url(self.s).getHost() == "x"`:                            44,
		`url(self.s) == url(self.s)`:                              124,
		`isURL(self.s)`:                                           3,
		`isIP(self.s) && ip(self.s).family() == 4`:                86,
		`ip.isCanonical(self.s)`:                                  82,
		`cidr("10.0.0.0/8").containsIP(self.s)`:                   47,
		`cidr("10.0.0.0/8").containsIP(ip(self.s))`:               47,
		`cidr("10.0.0.0/8").containsCIDR(self.s)`:                 50,
		`cidr(self.s).ip() == ip("10.0.0.1")`:                     45,
		`isCIDR(self.s) && cidr(self.s).masked() == cidr(self.s)`: 128,
		`quantity(self.s).isGreaterThan(quantity("1Gi"))`:         44,
		`quantity(self.s) == quantity("1")`:                       44,
		`isQuantity(self.s)`:                                      42,
		`semver(self.s).major() > 1`:                              44,
		`isSemver(self.s)`:                                        42,
		`!format.dns1123Label().validate(self.s).hasValue()`:      1285,
		`format.named("uri").hasValue()`:                          2,
		`self.l.sort() == self.l`:                                 226,
		`self.l.distinct().size() == self.l.size()`:               218,
		`self.l.slice(0, 1).size() == 1`:                          16,
		`self.l.first().hasValue()`:                               4,
		`sets.contains(self.l, ["a"])`:                            23,
		`self.l.transformList(i, v, v + "x").size() > 0`:          235,
		`[1, 2, 3].sum() > 2`:                                     14,
		`self.s.trim() == self.s && self.s.substring(1) == "x"`:   127,
		`has(self.s) ? self.s == "x" : true`:                      4,
		`duration("1s") > duration("2s")`:                         3,
		`self.s + self.s == "x"`:                                  85,
	} {
		properties := "s: {type: string, maxLength: 100}, l: {type: array, maxItems: 10, items: {type: string, maxLength: 20}}, u: {type: array, items: {type: string}}, m: {type: object, additionalProperties: {type: string}}"
		c := &compiler{}
		schema := compile(t, spec(fmt.Sprintf("{rule: %q}", rule), properties))
		c.declared = declare(schema)
		c.node(schema, position{cardinality: 1, whole: true})
		if c.total != want || len(c.errs) > 0 {
			t.Errorf("%s costs %d, want %d; %v", rule, c.total, want, c.errs)
		}
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

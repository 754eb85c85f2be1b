package structural

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	kjson "sigs.k8s.io/json"
)

// FuzzObjects cleans any object by any schema that is structural: nothing may
// panic, and what is clean stays as it is.
func FuzzObjects(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"integer","default":1},"l":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}}}}`, `{"a":null,"b":{},"l":["x","x"]}`)
	f.Add(`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"e":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}}`, `{"e":{"metadata":{"labels":1}},"metadata":[]}`)
	f.Add(`{"type":"object","properties":{"m":{"type":"object","additionalProperties":{"x-kubernetes-int-or-string":true}}}}`, `{"m":{"a":1.5,"b":null}}`)
	f.Fuzz(func(t *testing.T, schema, document string) {
		var p Props
		var obj map[string]any
		if json.Unmarshal([]byte(schema), &p) != nil || kjson.UnmarshalCaseSensitivePreserveInts([]byte(document), &obj) != nil || obj == nil {
			return
		}
		if len(Check(&p, nil)) > 0 {
			return
		}
		s, err := New(&p)
		if err != nil {
			return
		}
		s.CheckDefaults(nil)
		clean := func() {
			if _, err := s.CoerceMeta(obj, true); err != nil {
				t.Fatalf("leniently: %v", err)
			}
			s.Prune(obj)
			s.ApplyDefaults(obj)
		}
		clean()
		before := copied(obj)
		clean()
		if diff := cmp.Diff(before, any(obj)); diff != "" {
			t.Errorf("a second time it changes: %s", diff)
		}
		s.Changed(s.Validate(obj), obj, obj)
		s.ValidateLists(obj)
		s.CheckEmbedded(obj, nil)
	})
}

// FuzzParsePath reads any path.
func FuzzParsePath(f *testing.F) {
	f.Add(".spec['a.b'].c")
	f.Add(`['it\'s']`)
	f.Fuzz(func(t *testing.T, path string) {
		names, err := ParsePath(path)
		if err == nil && len(names) == 0 {
			t.Errorf("%q names nothing", path)
		}
	})
}

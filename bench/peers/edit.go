package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// edit is one operation of a JSON patch (RFC 6902): add, replace or remove.
type edit struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// apply returns a copy of an object with an edit made.
func (e edit) apply(object map[string]any) map[string]any {
	out := runtime.DeepCopyJSON(object)
	steps := strings.Split(strings.TrimPrefix(e.Path, "/"), "/")
	for i, s := range steps {
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	return e.at(out, steps).(map[string]any)
}

// at makes the edit below a value and returns what takes the value's place.
func (e edit) at(value any, steps []string) any {
	if m, ok := value.(map[string]any); ok {
		switch {
		case len(steps) > 1:
			m[steps[0]] = e.at(m[steps[0]], steps[1:])
		case e.Op == "remove":
			delete(m, steps[0])
		default:
			m[steps[0]] = runtime.DeepCopyJSONValue(e.Value)
		}
		return m
	}
	list, ok := value.([]any)
	if !ok {
		return value
	}
	i, err := strconv.Atoi(steps[0])
	switch {
	case err != nil: // "-": behind the last
		return append(list, runtime.DeepCopyJSONValue(e.Value))
	case i >= len(list):
		return list
	case len(steps) > 1:
		list[i] = e.at(list[i], steps[1:])
	case e.Op == "remove":
		return slices.Delete(list, i, i+1)
	default:
		list[i] = runtime.DeepCopyJSONValue(e.Value)
	}
	return list
}

// editor draws edits of objects: something goes, becomes another value of its
// type or of another, or comes from an object of the same kind.
type editor struct {
	rand *rand.Rand
	// donors are objects that parts are taken from, by kind.
	donors map[schema.GroupKind][]map[string]any
	// words are the strings that objects have at a field's name.
	words map[string][]string
}

func newEditor(seed uint64, all []manifest) *editor {
	e := &editor{
		rand:   rand.New(rand.NewPCG(seed, 0)),
		donors: make(map[schema.GroupKind][]map[string]any),
		words:  make(map[string][]string),
	}
	for _, m := range all {
		kind := m.object.GroupVersionKind().GroupKind()
		e.donors[kind] = append(e.donors[kind], m.object.Object)
		e.learn("", m.object.Object)
	}
	e.donors[schema.GroupKind{Group: "autoscaling", Kind: "Scale"}] = scales()
	return e
}

// mostWords is how many strings are kept of a field's name.
const mostWords = 50

func (e *editor) learn(name string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			e.learn(key, v[key])
		}
	case []any:
		for _, item := range v {
			e.learn(name, item)
		}
	case string:
		if known := e.words[name]; len(known) < mostWords && !slices.Contains(known, v) {
			e.words[name] = append(known, v)
		}
	}
}

// strange are values that some field or other has rules about.
var strange = []any{
	"", " ", "a", "A_b", "-", "1", "-1", "0", "10%", "101%", "500m", "1Gi", "1e3", "true", "None", "NoSuch", "TCP", "80", "http", "1.2.3.4", "01.2.3.4", "::1", "fd00::/64", "10.0.0.0/8",
	"a.b", "a..b", "example.com/x", "example.com/", "kubernetes.io/x", "/a", "../a", "a/../b", "a:b", "0 0 * * *", "2024-01-01T00:00:00Z", "PT1H", "{{", "$(A)", "ä", strings.Repeat("x", 64), strings.Repeat("x", 254),
}

var numbers = []any{int64(-1), int64(0), int64(1), int64(2), int64(7), int64(100), int64(101), int64(65535), int64(65536), int64(1<<31 - 1), int64(1 << 31), 1.5}

// untouched are fields that only the server writes.
var untouched = []string{"apiVersion", "kind", "managedFields", "uid", "creationTimestamp", "resourceVersion", "generation", "namespace", "selfLink"}

// draw returns an edit of an object's part of the name ("" is the whole).
func (e *editor) draw(object map[string]any, part string) (edit, bool) {
	kind := (&unstructured.Unstructured{Object: object}).GroupVersionKind().GroupKind()
	donors := e.donors[kind]
	if len(donors) == 0 {
		return edit{}, false
	}
	donor := donors[e.rand.IntN(len(donors))]
	if part == "" {
		return e.below("", "", object, donor)
	}
	if object[part] == nil {
		return edit{Op: "add", Path: "/" + part, Value: donor[part]}, donor[part] != nil
	}
	return e.below("/"+part, part, object[part], donor[part])
}

// below draws an edit of a value or of what it holds. The donor is the value at
// the same place in another object.
func (e *editor) below(path, name string, value, donor any) (edit, bool) {
	if path != "" && e.rand.IntN(8) == 0 {
		return e.here(path, name, value, donor), true
	}
	switch v := value.(type) {
	case map[string]any:
		other, _ := donor.(map[string]any)
		names := make(map[string]any)
		maps.Copy(names, v)
		maps.Copy(names, other)
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(names)), func(k string) bool { return slices.Contains(untouched, k) })
		if len(keys) == 0 {
			return e.here(path, name, value, donor), path != ""
		}
		key := keys[e.rand.IntN(len(keys))]
		at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		if _, has := v[key]; !has {
			return edit{Op: "add", Path: at, Value: other[key]}, true
		}
		return e.below(at, key, v[key], other[key])
	case []any:
		other, _ := donor.([]any)
		if len(other) > 0 && (len(v) == 0 || e.rand.IntN(3) == 0) {
			return edit{Op: "add", Path: path + "/-", Value: other[e.rand.IntN(len(other))]}, true
		}
		if len(v) == 0 {
			return e.here(path, name, value, donor), true
		}
		i := e.rand.IntN(len(v))
		if e.rand.IntN(6) == 0 {
			return edit{Op: "add", Path: path + "/-", Value: v[i]}, true // twice the same
		}
		var counterpart any
		if len(other) > 0 {
			counterpart = other[e.rand.IntN(len(other))]
		}
		return e.below(fmt.Sprintf("%s/%d", path, i), name, v[i], counterpart)
	}
	return e.here(path, name, value, donor), true
}

// here draws an edit of a value itself.
func (e *editor) here(path, name string, value, donor any) edit {
	if e.rand.IntN(4) == 0 {
		return edit{Op: "remove", Path: path}
	}
	if donor != nil && e.rand.IntN(3) == 0 {
		return edit{Op: "replace", Path: path, Value: donor}
	}
	if e.rand.IntN(30) == 0 { // of any type
		return edit{Op: "replace", Path: path, Value: []any{strange[e.rand.IntN(len(strange))], int64(7), true, []any{}, map[string]any{}}[e.rand.IntN(5)]}
	}
	switch v := value.(type) {
	case bool:
		return edit{Op: "replace", Path: path, Value: !v}
	case string:
		if known := e.words[name]; len(known) > 0 && e.rand.IntN(3) > 0 {
			return edit{Op: "replace", Path: path, Value: known[e.rand.IntN(len(known))]}
		}
		return edit{Op: "replace", Path: path, Value: strange[e.rand.IntN(len(strange))]}
	case int64, float64:
		return edit{Op: "replace", Path: path, Value: numbers[e.rand.IntN(len(numbers))]}
	case []any:
		return edit{Op: "replace", Path: path, Value: []any{}}
	case map[string]any:
		return edit{Op: "replace", Path: path, Value: map[string]any{}}
	}
	return edit{Op: "remove", Path: path}
}

func (e edit) String() string {
	text, err := json.Marshal(e)
	if err != nil {
		return e.Op + " " + e.Path
	}
	return string(text)
}

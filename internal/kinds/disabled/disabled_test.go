package disabled_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds/disabled"
)

type shelf struct {
	Label *string         `json:"label,omitempty"`
	Boxes []box           `json:"boxes,omitempty"`
	Named map[string]box  `json:"named,omitempty"`
	Best  *box            `json:"best,omitempty"`
	Notes []string        `json:"notes,omitempty"`
	Marks map[string]bool `json:"marks,omitempty"`
	Count int             `json:"count,omitempty"`
}

type box struct {
	lid  `json:",inline"`
	Size *int `json:"size,omitempty"`
}

type lid struct {
	Color *string `json:"color,omitempty"`
}

func TestDrop(t *testing.T) {
	const full = `{label: a, count: 7, notes: [n], marks: {m: true}, best: {size: 1, color: b}, boxes: [{size: 2, color: c}, {size: 3}], named: {x: {size: 4, color: d}}}`
	for _, tt := range []struct {
		name, features, old, text, want string
	}{
		{"a field", "label", "", full, `{count: 7, notes: [n], marks: {m: true}, best: {size: 1, color: b}, boxes: [{size: 2, color: c}, {size: 3}], named: {x: {size: 4, color: d}}}`},
		{"a list and a map", "notes marks", "", full, `{label: a, count: 7, best: {size: 1, color: b}, boxes: [{size: 2, color: c}, {size: 3}], named: {x: {size: 4, color: d}}}`},
		{"behind a pointer", "best.size", "", full, `{label: a, count: 7, notes: [n], marks: {m: true}, best: {color: b}, boxes: [{size: 2, color: c}, {size: 3}], named: {x: {size: 4, color: d}}}`},
		{"of all items", "boxes[*].size", "", full, `{label: a, count: 7, notes: [n], marks: {m: true}, best: {size: 1, color: b}, boxes: [{color: c}, {}], named: {x: {size: 4, color: d}}}`},
		{"of all values", "named[*].size", "", full, `{label: a, count: 7, notes: [n], marks: {m: true}, best: {size: 1, color: b}, boxes: [{size: 2, color: c}, {size: 3}], named: {x: {color: d}}}`},
		{"embedded", "boxes[*].color", "", full, `{label: a, count: 7, notes: [n], marks: {m: true}, best: {size: 1, color: b}, boxes: [{size: 2}, {size: 3}], named: {x: {size: 4, color: d}}}`},
		{"what there is none of", "label best.size named[*].size", "", "{count: 7}", "{count: 7}"},
		{"empty lists are no use", "notes", "{notes: []}", "{notes: [n]}", "{}"},
		{"used already", "label", "{label: b}", "{label: a}", "{label: a}"},
		{"used already elsewhere", "boxes[*].size,named[*].size", "{boxes: [{}, {size: 1}]}", "{boxes: [{size: 2}], named: {x: {size: 4}}}", "{boxes: [{size: 2}], named: {x: {size: 4}}}"},
		{"another is used", "label notes", "{label: b}", "{label: a, notes: [n]}", "{label: a}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var features []disabled.Feature
			for _, fields := range strings.Fields(tt.features) {
				features = append(features, disabled.Feature{Name: fields, Fields: strings.Split(fields, ",")})
			}
			f, err := disabled.Compile(reflect.TypeFor[shelf](), features...)
			if err != nil {
				t.Fatal(err)
			}
			var old any
			if tt.old != "" {
				old = read(t, tt.old)
			}
			obj := read(t, tt.text)
			f.Drop(obj, old)
			if diff := cmp.Diff(read(t, tt.want), obj, cmp.AllowUnexported(box{})); diff != "" {
				t.Errorf("the objects differ (-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, text string) *shelf {
	t.Helper()
	s := new(shelf)
	if err := yaml.UnmarshalStrict([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCompileRefuses(t *testing.T) {
	for path, want := range map[string]string{
		"lable":         "has no field lable",
		"boxes.size":    "has no field size",
		"label[*].size": "has no items",
		"count":         "int cannot be absent",
		"best.lid":      "has no field lid",
	} {
		_, err := disabled.Compile(reflect.TypeFor[shelf](), disabled.Feature{Name: "F", Fields: []string{path}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", path, err, want)
		}
	}
	if _, err := disabled.Compile(reflect.TypeFor[shelf](), make([]disabled.Feature, 65)...); err == nil {
		t.Error("more features than there are bits are taken")
	}
}

package flowdefaults

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"
)

func TestSchemasNameLevelsThatExist(t *testing.T) {
	levels := make(map[string]bool)
	for _, l := range Levels() {
		if levels[l.Name] {
			t.Errorf("there are two levels %s", l.Name)
		}
		levels[l.Name] = true
	}
	seen := make(map[string]bool)
	for _, s := range Schemas() {
		if name := s.Spec.PriorityLevelConfiguration.Name; !levels[name] || seen[s.Name] {
			t.Errorf("schema %s is there twice, or of the level %s that is not there", s.Name, name)
		}
		seen[s.Name] = true
	}
}

func TestRevise(t *testing.T) {
	const auto = flowcontrolv1.AutoUpdateAnnotationKey
	levels := make(map[string]*flowcontrolv1.PriorityLevelConfiguration)
	for _, l := range Levels() {
		levels[l.Name] = l
	}
	shares := func(l *flowcontrolv1.PriorityLevelConfiguration) {
		l.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](7)
	}
	exemptShares := func(l *flowcontrolv1.PriorityLevelConfiguration) {
		l.Spec.Exempt.NominalConcurrencyShares = ptr.To[int32](7)
	}
	annotated := func(value string) func(*flowcontrolv1.PriorityLevelConfiguration) {
		return func(l *flowcontrolv1.PriorityLevelConfiguration) { l.Annotations[auto] = value }
	}
	bare := func(l *flowcontrolv1.PriorityLevelConfiguration) { l.Annotations = nil }
	changed := func(l *flowcontrolv1.PriorityLevelConfiguration) { l.Generation = 2 }
	type edits []func(*flowcontrolv1.PriorityLevelConfiguration)
	for name, tc := range map[string]struct {
		level   string
		edits   edits
		revised bool
		mine    bool   // the edit of the spec stays
		auto    string // the annotation
	}{
		"as it is":                              {"system", nil, false, false, "true"},
		"a suggested one follows":               {"system", edits{shares}, true, false, "true"},
		"or does not":                           {"system", edits{shares, annotated("false")}, false, true, "false"},
		"without the annotation, untouched":     {"system", edits{shares, bare}, true, false, "true"},
		"without the annotation, changed":       {"system", edits{shares, bare, changed}, true, true, "false"},
		"with something else, changed":          {"system", edits{shares, annotated("maybe"), changed}, true, true, "false"},
		"a mandatory one follows":               {"catch-all", edits{shares, annotated("false"), changed}, true, false, "true"},
		"the annotation alone":                  {"catch-all", edits{annotated("false")}, true, false, "true"},
		"the shares of the exempt are anyone's": {"exempt", edits{exemptShares}, false, true, "true"},
	} {
		t.Run(name, func(t *testing.T) {
			fallback := levels[tc.level]
			stored := fallback.DeepCopy()
			stored.Generation = 1
			for _, edit := range tc.edits {
				edit(stored)
			}
			revised := Revise(stored, fallback)
			if (revised != nil) != tc.revised {
				t.Fatalf("it becomes %v", revised)
			}
			if revised == nil {
				revised = stored
			}
			want := fallback.Spec
			if tc.mine {
				want = stored.Spec
			}
			if diff := cmp.Diff(want, revised.Spec); diff != "" || revised.Annotations[auto] != tc.auto {
				t.Errorf("the annotation is %q, want %q; spec: %s", revised.Annotations[auto], tc.auto, diff)
			}
			if again := Revise(revised, fallback); again != nil {
				t.Errorf("it is revised again, to %v", again)
			}
		})
	}
}

func TestFixed(t *testing.T) {
	mine := func(name string) *flowcontrolv1.FlowSchema {
		s := MandatorySchemas()[1]
		s.Name = name
		s.Spec.MatchingPrecedence = 9000
		return s
	}
	if Fixed(mine("catch-all")) || !Fixed(mine("mine")) || !Fixed(MandatorySchemas()[0]) {
		t.Error("only the mandatory schemas have one spec alone")
	}
	exempt := MandatoryLevels()[0]
	if exempt.Spec.Exempt.LendablePercent = ptr.To[int32](50); !Fixed(exempt) {
		t.Error("the shares of the exempt level are its administrator's")
	}
	if exempt.Spec.Type = flowcontrolv1.PriorityLevelEnablementLimited; Fixed(exempt) {
		t.Error("the exempt level may be limited")
	}
}

package framework

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// spy implements every extension point and notes who was called.
type spy struct {
	name  string
	calls *[]string
	say   map[string]*Status
}

func (s *spy) note(point string) *Status {
	*s.calls = append(*s.calls, s.name+"."+point)
	return s.say[point]
}

func (s *spy) Name() string { return s.name }

func (s *spy) PreFilter(context.Context, *CycleState, *snapshot.PodInfo, *snapshot.Snapshot) ([]string, *Status) {
	return nil, s.note("PreFilter")
}

func (s *spy) Filter(context.Context, *CycleState, *snapshot.PodInfo, *snapshot.NodeInfo) *Status {
	return s.note("Filter")
}

func (s *spy) Reserve(context.Context, *CycleState, *snapshot.PodInfo, string) *Status {
	return s.note("Reserve")
}

func (s *spy) Unreserve(context.Context, *CycleState, *snapshot.PodInfo, string) { s.note("Unreserve") }

func (s *spy) Permit(context.Context, *CycleState, *snapshot.PodInfo, string) (*Status, time.Duration) {
	return s.note("Permit"), time.Minute
}

func (s *spy) Bind(_ context.Context, bindings []Binding) []*Status {
	out := make([]*Status, len(bindings))
	for i, b := range bindings {
		out[i] = s.note("Bind " + b.Node)
		if took := s.say[b.Node]; took != nil {
			out[i] = took
		}
	}
	return out
}

type sorter struct{}

func (sorter) Name() string              { return "Sort" }
func (sorter) Less(a, b *QueuedPod) bool { return false }

func profileOf(t *testing.T, plugins ...Plugin) *Profile {
	t.Helper()
	all := []Weighted{{Plugin: sorter{}}}
	for _, p := range plugins {
		all = append(all, Weighted{Plugin: p})
	}
	p, err := NewProfile(all)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPluginsRunInOrderUntilOneRejects(t *testing.T) {
	var calls []string
	a := &spy{name: "a", calls: &calls}
	b := &spy{name: "b", calls: &calls, say: map[string]*Status{"Filter": NewStatus(Unschedulable, "no"), "Reserve": NewStatus(Unschedulable, "no")}}
	c := &spy{name: "c", calls: &calls, say: map[string]*Status{"PreFilter": NewStatus(Skip)}}
	p := profileOf(t, c, a, b)
	state := &CycleState{}
	if _, _, s := p.PreFilter(t.Context(), state, nil, nil); !s.Success() {
		t.Fatal(s)
	}
	if s := p.Filter(t.Context(), state, nil, nil); s.Plugin() != "b" || s.Code() != Unschedulable {
		t.Errorf("filter: %v by %s", s.Code(), s.Plugin())
	}
	if s := p.Reserve(t.Context(), state, nil, "n"); s.Plugin() != "b" {
		t.Errorf("reserve: by %s", s.Plugin())
	}
	want := "c.PreFilter a.PreFilter b.PreFilter a.Filter b.Filter c.Reserve a.Reserve b.Reserve b.Unreserve a.Unreserve c.Unreserve"
	if diff := cmp.Diff(strings.Fields(want), calls); diff != "" {
		t.Error(diff)
	}
}

func TestPermitWaitsUnlessRejected(t *testing.T) {
	var calls []string
	waits := &spy{name: "waits", calls: &calls, say: map[string]*Status{"Permit": NewStatus(Wait)}}
	rejects := &spy{name: "rejects", calls: &calls, say: map[string]*Status{"Permit": NewStatus(Unschedulable, "no")}}
	if s, timeout := profileOf(t, waits).Permit(t.Context(), nil, nil, "n"); s.Code() != Wait || timeout != time.Minute {
		t.Errorf("%v for %v", s.Code(), timeout)
	}
	if s, _ := profileOf(t, waits, rejects).Permit(t.Context(), nil, nil, "n"); s.Plugin() != "rejects" {
		t.Errorf("%v by %s", s.Code(), s.Plugin())
	}
}

func TestBindersTakeWhatTheFirstSkips(t *testing.T) {
	var calls []string
	first := &spy{name: "first", calls: &calls, say: map[string]*Status{"n2": NewStatus(Skip)}}
	second := &spy{name: "second", calls: &calls, say: map[string]*Status{"n2": NewStatus(Error, "broken")}}
	results := profileOf(t, first, second).Bind(t.Context(), []Binding{{Node: "n1"}, {Node: "n2"}, {Node: "n3"}})
	if !results[0].Success() || !results[2].Success() || results[1].Plugin() != "second" || results[1].Code() != Error {
		t.Errorf("%v", results)
	}
	want := []string{"first.Bind n1", "first.Bind n2", "first.Bind n3", "second.Bind n2"}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Error(diff)
	}
}

func TestNewProfileRefuses(t *testing.T) {
	var calls []string
	binder := &spy{name: "binder", calls: &calls}
	for name, plugins := range map[string][]Weighted{
		"no order":   {{Plugin: binder}},
		"no binder":  {{Plugin: sorter{}}},
		"twice":      {{Plugin: sorter{}}, {Plugin: binder}, {Plugin: binder}},
		"two orders": {{Plugin: sorter{}}, {Plugin: struct{ sorter }{}}, {Plugin: binder}},
	} {
		if _, err := NewProfile(plugins); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

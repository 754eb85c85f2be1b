package framework

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

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
	p, err := NewProfile(Settings{Plugins: Everywhere(all...)})
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
	sort, bind := Weighted{Plugin: sorter{}}, Weighted{Plugin: binder}
	with := func(at Point, plugins ...Weighted) Layout {
		l := Everywhere(sort, bind)
		l[at] = plugins
		return l
	}
	for name, tt := range map[string]struct {
		layout Layout
		want   string
	}{
		"no order":           {Everywhere(bind), "0 scheduler plugins order the queue"},
		"no binder":          {Everywhere(sort), "no scheduler plugin binds"},
		"twice":              {Everywhere(sort, bind, bind), `"binder" is given twice at preFilter`},
		"two orders":         {Everywhere(sort, Weighted{Plugin: renamed{sorter{}, "Other"}}, bind), "2 scheduler plugins order the queue"},
		"no part in it":      {with(ScorePoint, bind), `"binder" has no part in score`},
		"filters unprepared": {with(PreFilterPoint), `"binder" takes part in filter, but not in preFilter`},
	} {
		_, err := NewProfile(Settings{SchedulerName: "x", Plugins: tt.layout})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `profile "x"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// renamed is a sorter of another name.
type renamed struct {
	sorter
	name string
}

func (r renamed) Name() string { return r.name }

func TestProfilesAreToldApartByThePod(t *testing.T) {
	var calls []string
	named := func(name string, plugins ...Plugin) *Profile {
		t.Helper()
		all := []Weighted{{Plugin: sorter{}}, {Plugin: &spy{name: "binder", calls: &calls}}}
		for _, p := range plugins {
			all = append(all, Weighted{Plugin: p})
		}
		p, err := NewProfile(Settings{SchedulerName: name, Plugins: Everywhere(all...)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second := named("first", gate{}), named("second")
	profiles, err := NewProfiles(first, second)
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) *snapshot.PodInfo {
		return snapshot.NewPodInfo(&corev1.Pod{Spec: corev1.PodSpec{SchedulerName: name}})
	}
	if profiles.Of(of("first").Pod) != first || profiles.Of(of("second").Pod) != second || profiles.Of(of("third").Pod) != nil {
		t.Error("the profile of a pod is not the one it names")
	}
	if profiles.Default() != first {
		t.Error("the first is not the default")
	}
	if profiles.PreEnqueue(of("first")).Success() || !profiles.PreEnqueue(of("second")).Success() || !profiles.PreEnqueue(of("third")).Success() {
		t.Error("the gate of the first holds for others, or not for its own")
	}
	if len(profiles.Hints(of("first"), "Gate")) != 1 || profiles.Hints(of("second"), "Gate") != nil {
		t.Error("the hints are not those of the pod's profile")
	}
	for name, bad := range map[string][]*Profile{"none": nil, "one name": {first, first}} {
		if _, err := NewProfiles(bad...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// gate lets no pod in.
type gate struct{}

func (gate) Name() string                         { return "Gate" }
func (gate) PreEnqueue(*snapshot.PodInfo) *Status { return NewStatus(Unschedulable, "no") }
func (gate) EventsToRegister() []EventHint        { return []EventHint{{Resource: Node, Action: Add}} }

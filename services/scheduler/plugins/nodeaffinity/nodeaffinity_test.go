package nodeaffinity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

func in(key string, values ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}
}

func requiring(terms ...corev1.NodeSelectorTerm) *schedtest.PodBuilder {
	return schedtest.Pod("p").With(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	})
}

func TestFilter(t *testing.T) {
	ssd := schedtest.Node("n").Label("disk", "ssd").Label("zone", "a")
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		want bool
	}{
		{"selector matches", schedtest.Pod("p").With(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }), true},
		{"selector differs", schedtest.Pod("p").With(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "hdd"} }), false},
		{"one of two terms", requiring(
			corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in("disk", "hdd")}},
			corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in("zone", "a", "b")}},
		), true},
		{"all of a term", requiring(
			corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in("zone", "a"), in("disk", "hdd")}},
		), false},
		{"affinity and selector", requiring(
			corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in("zone", "a")}},
		).With(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "hdd"} }), false},
		{"no term", requiring(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state := plugin(t, nil), &framework.CycleState{}
			if _, s := p.PreFilter(t.Context(), state, tt.pod.Info(), nil); s.Code() == framework.Skip {
				if !tt.want {
					t.Error("skipped")
				}
				return
			}
			s := p.Filter(t.Context(), state, tt.pod.Info(), ssd.Info())
			if s.Success() != tt.want || !tt.want && s.Message() != Reason {
				t.Errorf("%v %q", s.Code(), s.Message())
			}
		})
	}
}

func TestNamedNodes(t *testing.T) {
	named := func(nodes ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{in("metadata.name", nodes...)}}
	}
	labelled := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in("disk", "ssd")}}
	both := named("a", "b")
	both.MatchFields = append(both.MatchFields, in("metadata.name", "b", "c"))
	neither := named("a")
	neither.MatchFields = append(neither.MatchFields, in("metadata.name", "b"))
	for _, tt := range []struct {
		name  string
		terms []corev1.NodeSelectorTerm
		want  []string
		named bool
	}{
		{"none", nil, nil, false},
		{"one", []corev1.NodeSelectorTerm{named("a")}, []string{"a"}, true},
		{"either", []corev1.NodeSelectorTerm{named("a"), named("b")}, []string{"a", "b"}, true},
		{"or any by label", []corev1.NodeSelectorTerm{named("a"), labelled}, nil, false},
		{"both", []corev1.NodeSelectorTerm{both}, []string{"b"}, true},
		{"no node can be both", []corev1.NodeSelectorTerm{neither}, []string{}, true},
	} {
		got, ok := namedNodes(tt.terms)
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" || ok != tt.named {
			t.Errorf("%s: %v, %s", tt.name, ok, diff)
		}
	}
	_, s := plugin(t, nil).PreFilter(t.Context(), &framework.CycleState{}, requiring(neither).Info(), nil)
	if s.Code() != framework.UnschedulableAndUnresolvable || s.Message() != ReasonConflict {
		t.Errorf("%v %q", s.Code(), s.Message())
	}
}

func plugin(t *testing.T, added *corev1.NodeAffinity) *Plugin {
	t.Helper()
	p, err := New(&configv1.NodeAffinityArgs{AddedAffinity: added})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAddedAffinity(t *testing.T) {
	term := func(key, value string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in(key, value)}}
	}
	p := plugin(t, &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution:  &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term("pool", "batch")}},
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 7, Preference: term("disk", "ssd")}},
	})
	own := schedtest.Pod("p").With(func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{"zone": "a"}
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 5, Preference: term("disk", "ssd")}},
		}}
	})
	for _, tt := range []struct {
		name   string
		pod    *schedtest.PodBuilder
		node   *schedtest.NodeBuilder
		reason string
		score  int64
	}{
		{"in the pool", schedtest.Pod("p"), schedtest.Node("n").Label("pool", "batch").Label("disk", "ssd"), "", 7},
		{"outside of it", schedtest.Pod("p"), schedtest.Node("n"), ReasonAdded, 0},
		{"and the pod's own", own, schedtest.Node("n").Label("pool", "batch").Label("zone", "a").Label("disk", "ssd"), "", 12},
		{"but for the pod's own", own, schedtest.Node("n").Label("pool", "batch"), Reason, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state := &framework.CycleState{}
			if _, s := p.PreFilter(t.Context(), state, tt.pod.Info(), nil); !s.Success() {
				t.Fatal(s.Code())
			}
			if s := p.Filter(t.Context(), state, tt.pod.Info(), tt.node.Info()); s.Message() != tt.reason {
				t.Errorf("%q", s.Message())
			}
			if s := p.PreScore(t.Context(), state, tt.pod.Info(), nil, snapshot.Selection{}); !s.Success() {
				t.Fatal(s.Code())
			}
			if got, _ := p.Score(t.Context(), state, tt.pod.Info(), tt.node.Info()); got != tt.score {
				t.Errorf("score %d", got)
			}
			helps := p.EventsToRegister()[0].Covers(tt.pod.Info(), framework.Event{Resource: framework.Node, Action: framework.Add, New: tt.node.Node()})
			if helps != (tt.reason == "") {
				t.Errorf("the node's coming helps: %v", helps)
			}
		})
	}
}

func TestPreferred(t *testing.T) {
	pod := schedtest.Pod("p").With(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Weight: 10, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in("disk", "ssd")}}},
				{Weight: 5, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{in("zone", "a")}}},
			},
		}}
	})
	p, state := plugin(t, nil), &framework.CycleState{}
	if s := p.PreScore(t.Context(), state, pod.Info(), nil, snapshot.Selection{}); !s.Success() {
		t.Fatal(s)
	}
	for want, node := range map[int64]*schedtest.NodeBuilder{
		15: schedtest.Node("n").Label("disk", "ssd").Label("zone", "a"),
		5:  schedtest.Node("n").Label("zone", "a"),
		0:  schedtest.Node("n"),
	} {
		if got, _ := p.Score(t.Context(), state, pod.Info(), node.Info()); got != want {
			t.Errorf("%d, not %d", got, want)
		}
	}
	if s := p.PreScore(t.Context(), state, schedtest.Pod("p").Info(), nil, snapshot.Selection{}); s.Code() != framework.Skip {
		t.Error("a pod without preferences is scored")
	}
}

package nodeaffinity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
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
			p, state := New(), &framework.CycleState{}
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
	for _, tt := range []struct {
		name  string
		terms []corev1.NodeSelectorTerm
		want  []string
	}{
		{"none", nil, nil},
		{"one", []corev1.NodeSelectorTerm{named("a")}, []string{"a"}},
		{"either", []corev1.NodeSelectorTerm{named("a"), named("b")}, []string{"a", "b"}},
		{"or any by label", []corev1.NodeSelectorTerm{named("a"), labelled}, nil},
	} {
		if diff := cmp.Diff(tt.want, namedNodes(tt.terms)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
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
	p, state := New(), &framework.CycleState{}
	if s := p.PreScore(t.Context(), state, pod.Info(), nil, nil); !s.Success() {
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
	if s := p.PreScore(t.Context(), state, schedtest.Pod("p").Info(), nil, nil); s.Code() != framework.Skip {
		t.Error("a pod without preferences is scored")
	}
}

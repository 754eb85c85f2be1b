package interpodaffinity

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

const zone = corev1.LabelTopologyZone

func term(key, app string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
}

func affinityOf(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}}
	}
	return p.Spec.Affinity
}

func with(terms ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		affinityOf(p).PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = terms
	}
}

func apart(terms ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		affinityOf(p).PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = terms
	}
}

func app(name string) *schedtest.PodBuilder { return schedtest.Pod(name).Label("app", name) }

func TestFilter(t *testing.T) {
	elsewhere := term(zone, "db")
	elsewhere.Namespaces = []string{"other"}
	byLabel := term(zone, "db")
	byLabel.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	// Zone a: n1 has db, n2 nothing. Zone b: n3 has a loner that keeps web
	// away from its node. n4 has no zone.
	nodes := snapshot.New(
		schedtest.Node("n1").Label(zone, "a").Pods(app("db")).Info(),
		schedtest.Node("n2").Label(zone, "a").Info(),
		schedtest.Node("n3").Label(zone, "b").Pods(app("loner").With(apart(term(corev1.LabelHostname, "web")))).Info(),
		schedtest.Node("n4").Info(),
	)
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		want map[string]string // reason by node
	}{
		{"no terms", app("other"), map[string]string{}},
		{"kept away by another", app("web"), map[string]string{"n3": ReasonExistingAntiAffinity}},
		{"with db in the zone", app("x").With(with(term(zone, "db"))), map[string]string{"n3": ReasonAffinity, "n4": ReasonAffinity}},
		{"with db on the node", app("x").With(with(term(corev1.LabelHostname, "db"))), map[string]string{"n2": ReasonAffinity, "n3": ReasonAffinity, "n4": ReasonAffinity}},
		{"apart from db in the zone", app("x").With(apart(term(zone, "db"))), map[string]string{"n1": ReasonAntiAffinity, "n2": ReasonAntiAffinity}},
		{"first of its kind", app("x").With(with(term(zone, "x"))), map[string]string{"n4": ReasonAffinity}},
		{"no such company", app("x").With(with(term(zone, "y"))), map[string]string{"n1": ReasonAffinity, "n2": ReasonAffinity, "n3": ReasonAffinity, "n4": ReasonAffinity}},
		{"another namespace", app("x").With(apart(elsewhere)), map[string]string{}},
		{"namespaces by label", app("x").With(apart(byLabel)), map[string]string{"n1": ReasonAntiAffinity, "n2": ReasonAntiAffinity}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := New(DefaultArgs(), func(string) labels.Set { return labels.Set{"team": "a"} })
			state, got := &framework.CycleState{}, map[string]string{}
			if _, s := p.PreFilter(t.Context(), state, tt.pod.Info(), nodes); s.Code() != framework.Skip {
				for _, n := range nodes.Nodes() {
					if s := p.Filter(t.Context(), state, tt.pod.Info(), n); !s.Success() {
						got[n.Name()] = s.Message()
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestScore(t *testing.T) {
	nodes := snapshot.New(
		schedtest.Node("n1").Label(zone, "a").Pods(app("db")).Info(),
		schedtest.Node("n2").Label(zone, "b").Pods(app("noisy")).Info(),
		schedtest.Node("n3").Label(zone, "c").Info(),
	)
	pod := app("web").With(func(p *corev1.Pod) {
		affinityOf(p).PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: 10, PodAffinityTerm: term(zone, "db")}}
		affinityOf(p).PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: 30, PodAffinityTerm: term(zone, "noisy")}}
	})
	p, state := New(DefaultArgs(), func(string) labels.Set { return nil }), &framework.CycleState{}
	if s := p.PreScore(t.Context(), state, pod.Info(), nodes, nodes.All()); !s.Success() {
		t.Fatal(s)
	}
	var scores []int64
	for _, n := range nodes.Nodes() {
		score, _ := p.Score(t.Context(), state, pod.Info(), n)
		scores = append(scores, score)
	}
	p.NormalizeScore(t.Context(), state, pod.Info(), scores)
	if got := fmt.Sprint(scores); got != "[100 0 75]" {
		t.Error(got)
	}
}

// TestScoreOfTermsOfOthers: n1 has a pod that requires to be with web, n2 one
// that prefers it.
func TestScoreOfTermsOfOthers(t *testing.T) {
	likes := app("likes").With(func(p *corev1.Pod) {
		affinityOf(p).PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: 10, PodAffinityTerm: term(zone, "web")}}
	})
	nodes := snapshot.New(
		schedtest.Node("n1").Label(zone, "a").Pods(app("needs").With(with(term(zone, "web")))).Info(),
		schedtest.Node("n2").Label(zone, "b").Pods(likes).Info(),
	)
	prefers := app("web").With(func(p *corev1.Pod) {
		affinityOf(p).PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term(zone, "none")}}
	})
	for _, tt := range []struct {
		name   string
		weight int32
		ignore bool
		pod    *schedtest.PodBuilder
		want   []int64 // nil is skipped
	}{
		{"default", 1, false, app("web"), []int64{1, 10}},
		{"required counts more", 50, false, app("web"), []int64{50, 10}},
		{"required does not count", 0, false, app("web"), []int64{0, 10}},
		{"others' are ignored", 1, true, app("web"), nil},
		{"but not where the pod prefers too", 1, true, prefers, []int64{1, 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := &configv1.InterPodAffinityArgs{HardPodAffinityWeight: &tt.weight, IgnorePreferredTermsOfExistingPods: tt.ignore}
			p, state := New(args, func(string) labels.Set { return nil }), &framework.CycleState{}
			var got []int64
			if s := p.PreScore(t.Context(), state, tt.pod.Info(), nodes, nodes.All()); s.Success() {
				for _, n := range nodes.Nodes() {
					score, _ := p.Score(t.Context(), state, tt.pod.Info(), n)
					got = append(got, score)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

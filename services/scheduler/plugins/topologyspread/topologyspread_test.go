package topologyspread

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

const zone = corev1.LabelTopologyZone

func web(name string) *schedtest.PodBuilder { return schedtest.Pod(name).Label("app", "web") }

func spread(change func(*corev1.TopologySpreadConstraint)) *schedtest.PodBuilder {
	c := corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: zone, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
	}
	change(&c)
	return web("p").With(func(p *corev1.Pod) { p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{c} })
}

// nodes: zone a has two web pods, zone b one, zone c none; bare has no zone.
func nodes() *snapshot.Snapshot {
	return snapshot.New(
		schedtest.Node("a").Label(zone, "a").Pods(web("w1"), web("w2")).Info(),
		schedtest.Node("b").Label(zone, "b").Pods(web("w3")).Info(),
		schedtest.Node("c").Label(zone, "c").Taint("k", corev1.TaintEffectNoSchedule).Info(),
		schedtest.Node("bare").Pods(web("w4")).Info(),
	)
}

func TestFilter(t *testing.T) {
	honor := corev1.NodeInclusionPolicyHonor
	five := int32(5)
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		want map[string]string
	}{
		{"skew of one", spread(func(*corev1.TopologySpreadConstraint) {}), map[string]string{"a": Reason, "b": Reason, "bare": ReasonMissingLabel}},
		{"skew of two", spread(func(c *corev1.TopologySpreadConstraint) { c.MaxSkew = 2 }), map[string]string{"a": Reason, "bare": ReasonMissingLabel}},
		{"tainted nodes left out", spread(func(c *corev1.TopologySpreadConstraint) { c.NodeTaintsPolicy = &honor }), map[string]string{"a": Reason, "bare": ReasonMissingLabel}},
		{"too few domains", spread(func(c *corev1.TopologySpreadConstraint) { c.NodeTaintsPolicy, c.MinDomains = &honor, &five }), map[string]string{"a": Reason, "b": Reason, "bare": ReasonMissingLabel}},
		{"need not hold", spread(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.ScheduleAnyway }), map[string]string{}},
		{"does not count itself", spread(func(*corev1.TopologySpreadConstraint) {}).Label("app", "other"), map[string]string{"a": Reason, "bare": ReasonMissingLabel}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state, got := New(), &framework.CycleState{}, map[string]string{}
			if _, s := p.PreFilter(t.Context(), state, tt.pod.Info(), nodes()); s.Code() != framework.Skip {
				for _, n := range nodes().Nodes() {
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

func TestScorePrefersEmptyDomains(t *testing.T) {
	pod := spread(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.ScheduleAnyway }).Info()
	p, state, all := New(), &framework.CycleState{}, nodes()
	if s := p.PreScore(t.Context(), state, pod, all, all.Nodes()); !s.Success() {
		t.Fatal(s)
	}
	var scores []int64
	for _, n := range all.Nodes() {
		score, _ := p.Score(t.Context(), state, pod, n)
		scores = append(scores, score)
	}
	p.NormalizeScore(t.Context(), state, pod, all.Nodes(), scores)
	if got := fmt.Sprint(scores); got != "[0 33 100 0]" {
		t.Error(got)
	}
}

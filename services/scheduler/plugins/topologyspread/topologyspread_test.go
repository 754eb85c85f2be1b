package topologyspread

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
			p, state, got := New(DefaultArgs(), alone), &framework.CycleState{}, map[string]string{}
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

// alone is where no pod belongs to any other, byApp where those of one app do.
func alone(*corev1.Pod) labels.Selector { return labels.NewSelector() }

func byApp(pod *corev1.Pod) labels.Selector {
	return labels.SelectorFromSet(labels.Set{"app": pod.Labels["app"]})
}

// scores are the plugin's normalized scores of all nodes; nil if it has none.
func scores(t *testing.T, p *Plugin, pod *snapshot.PodInfo, all *snapshot.Snapshot) []int64 {
	t.Helper()
	state := &framework.CycleState{}
	if s := p.PreScore(t.Context(), state, pod, all, all.All()); !s.Success() {
		return nil
	}
	var out []int64
	for _, n := range all.Nodes() {
		score, _ := p.Score(t.Context(), state, pod, n)
		out = append(out, score)
	}
	p.NormalizeScore(t.Context(), state, pod, out)
	return out
}

// TestDefaultConstraints has scores worked out by hand for the nodes above. Raw
// scores are, of 4 nodes and of 4 zones, one of which is none, with
// ln(4+2) = 1.792 for each:
//
//	a     2·1.792+2 + 2·1.792+4 = 13.17
//	b     1·1.792+2 + 1·1.792+4 =  9.58
//	c     0·1.792+2 + 0·1.792+4 =  6
//	bare  1·1.792+2             =  3.79
func TestDefaultConstraints(t *testing.T) {
	zones := func(when corev1.UnsatisfiableConstraintAction) *configv1.PodTopologySpreadArgs {
		return &configv1.PodTopologySpreadArgs{DefaultingType: configv1.ListDefaulting, DefaultConstraints: []corev1.TopologySpreadConstraint{
			{TopologyKey: zone, MaxSkew: 1, WhenUnsatisfiable: when},
		}}
	}
	own := spread(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.ScheduleAnyway }).Info()
	for _, tt := range []struct {
		name   string
		args   *configv1.PodTopologySpreadArgs
		groups Groups
		pod    *snapshot.PodInfo
		want   []int64
	}{
		// 13, 10, 6 and 4 become 100·(13+4−s)/13.
		{"Kubernetes' own", DefaultArgs(), byApp, web("p").Info(), []int64{30, 53, 84, 100}},
		{"of a pod that belongs to none", DefaultArgs(), alone, web("p").Info(), nil},
		{"none", &configv1.PodTopologySpreadArgs{DefaultingType: configv1.ListDefaulting}, byApp, web("p").Info(), nil},
		// ln(3+2) = 1.609: 3, 2 and 0 become 100·(3−s)/3; bare is in no zone.
		{"of a profile", zones(corev1.ScheduleAnyway), byApp, web("p").Info(), []int64{0, 33, 100, 0}},
		{"not where the pod has its own", zones(corev1.DoNotSchedule), byApp, own, []int64{0, 33, 100, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, scores(t, New(tt.args, tt.groups), tt.pod, nodes())); diff != "" {
				t.Error(diff)
			}
		})
	}
	p, state := New(zones(corev1.DoNotSchedule), byApp), &framework.CycleState{}
	if _, s := p.PreFilter(t.Context(), state, web("p").Info(), nodes()); !s.Success() {
		t.Fatal(s.Code())
	}
	for node, want := range map[string]string{"a": Reason, "b": Reason, "c": "", "bare": ReasonMissingLabel} {
		if s := p.Filter(t.Context(), state, web("p").Info(), nodes().Get(node)); s.Message() != want {
			t.Errorf("%s: %q", node, s.Message())
		}
	}
}

func TestEmptySelectorMatchesNothing(t *testing.T) {
	if n := matching(snapshot.NewSpreadGroup(labels.Everything()), "default").Count(nodes().Get("a")); n != 0 {
		t.Errorf("it counts %d pods", n)
	}
}

func TestScorePrefersEmptyDomains(t *testing.T) {
	pod := spread(func(c *corev1.TopologySpreadConstraint) { c.WhenUnsatisfiable = corev1.ScheduleAnyway }).Info()
	p, state, all := New(DefaultArgs(), alone), &framework.CycleState{}, nodes()
	if s := p.PreScore(t.Context(), state, pod, all, all.All()); !s.Success() {
		t.Fatal(s)
	}
	var scores []int64
	for _, n := range all.Nodes() {
		score, _ := p.Score(t.Context(), state, pod, n)
		scores = append(scores, score)
	}
	p.NormalizeScore(t.Context(), state, pod, scores)
	if got := fmt.Sprint(scores); got != "[0 33 100 0]" {
		t.Error(got)
	}
}

// All nodes at once are judged and scored as one by one.
func TestBatches(t *testing.T) {
	all := snapshot.New(
		schedtest.Node("a").Label(zone, "a").Pods(web("w1"), web("w2")).Info(),
		schedtest.Node("b").Label(zone, "b").Pods(web("w3")).Info(),
		schedtest.Node("c").Label(zone, "c").Info(),
		schedtest.Node("d").Label(zone, "a").Info(),
		schedtest.Node("bare").Pods(web("w4"), web("w5"), web("w6")).Info(),
		schedtest.Node("unnamed").Label(zone, "b").With(func(n *corev1.Node) { delete(n.Labels, corev1.LabelHostname) }).Info(),
	)
	over := func(keys ...string) *snapshot.PodInfo {
		return web("p").With(func(p *corev1.Pod) {
			for _, when := range []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway} {
				for i, key := range keys {
					p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
						MaxSkew: int32(i + 1), TopologyKey: key, WhenUnsatisfiable: when, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels},
					})
				}
			}
		}).Info()
	}
	for name, pod := range map[string]*snapshot.PodInfo{
		"zones": over(zone), "hosts": over(corev1.LabelHostname), "both": over(zone, corev1.LabelHostname), "by default": web("p").Info(),
	} {
		p, state := New(DefaultArgs(), byApp), &framework.CycleState{}
		if _, s := p.PreFilter(t.Context(), state, pod, all); s.Success() {
			// A verdict that another plugin gave stays.
			before := framework.NewStatus(framework.Unschedulable, "before")
			got := make([]*framework.Status, all.All().Len())
			got[1] = before
			p.FilterBatch(t.Context(), state, pod, all.All(), got)
			for i, n := range all.Nodes() {
				want := p.Filter(t.Context(), state, pod, n)
				if i == 1 {
					want = before
				}
				if !got[i].Equal(want) {
					t.Errorf("%s: the verdict on %s is %q, by itself %q", name, n.Name(), got[i].Message(), want.Message())
				}
			}
		}
		if s := p.PreScore(t.Context(), state, pod, all, all.All()); !s.Success() {
			t.Fatal(s)
		}
		got := make([]int64, all.All().Len())
		if s := p.ScoreBatch(t.Context(), state, pod, all.All(), got); !s.Success() {
			t.Fatal(s)
		}
		for i, n := range all.Nodes() {
			if want, _ := p.Score(t.Context(), state, pod, n); got[i] != want {
				t.Errorf("%s: the score of %s is %d, by itself %d", name, n.Name(), got[i], want)
			}
		}
	}
}

func TestAdvise(t *testing.T) {
	five := int32(5)
	plain := spread(func(*corev1.TopologySpreadConstraint) {})
	domains := spread(func(c *corev1.TopologySpreadConstraint) { c.MinDomains = &five })
	for _, tt := range []struct {
		name, node string
		pod        *schedtest.PodBuilder
		detail     string
		want       []string
	}{
		{"too far ahead", "a", plain, "topology.kubernetes.io/zone=a has 2 matching pods, topology.kubernetes.io/zone=c has 0",
			[]string{"make room for a matching pod in topology.kubernetes.io/zone=c", "let maxSkew over topology.kubernetes.io/zone be 3"}},
		{"too few domains", "b", domains, "topology.kubernetes.io/zone=b has 1 matching pods, and there are 3 of at least 5 domains",
			[]string{"let maxSkew over topology.kubernetes.io/zone be 2"}},
		{"no label", "bare", plain, "the node has no label topology.kubernetes.io/zone", []string{"label the node with topology.kubernetes.io/zone"}},
		{"not rejected", "c", plain, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state, all := New(DefaultArgs(), alone), &framework.CycleState{}, nodes()
			if _, s := p.PreFilter(t.Context(), state, tt.pod.Info(), all); !s.Success() {
				t.Fatal(s.Code())
			}
			got := p.Advise(t.Context(), state, tt.pod.Info(), all.Get(tt.node))
			var texts []string
			for _, r := range got.Remedies {
				texts = append(texts, r.Description)
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
				t.Errorf("%q %s", got.Detail, diff)
			}
		})
	}
}

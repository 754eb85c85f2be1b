package placement_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/placement"
	"navarch.dev/navarch/services/scheduler/plugins"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// nobody is nominated.
type nobody struct{}

func (nobody) On(string, *snapshot.PodInfo) []*snapshot.PodInfo { return nil }
func (nobody) Any() bool                                        { return false }

// counting counts how many nodes are filtered.
type counting struct{ nodes *int }

func (counting) Name() string { return "Counting" }
func (counting) NodeLocal()   {}
func (c counting) Filter(context.Context, *framework.CycleState, *snapshot.PodInfo, *snapshot.NodeInfo) *framework.Status {
	*c.nodes++
	return nil
}

func profile(tb testing.TB, extra ...framework.Plugin) *framework.Profile {
	tb.Helper()
	env := plugins.Environment{Namespaces: func(string) labels.Set { return nil }}
	var all []framework.Weighted
	factories := plugins.Factories()
	for _, e := range plugins.Defaults() {
		all = append(all, framework.Weighted{Plugin: factories[e.Name](env), Weight: e.Weight})
	}
	for _, p := range extra {
		all = append(all, framework.Weighted{Plugin: p})
	}
	p, err := framework.NewProfile(all)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func cluster(nodes int) *snapshot.Cache {
	c := snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
	for i := range nodes {
		c.SetNode(schedtest.Node(fmt.Sprintf("n%05d", i)).Label(corev1.LabelTopologyZone, fmt.Sprint("z", i%3)).Node())
	}
	return c
}

func place(tb testing.TB, p *placement.Placer, c *snapshot.Cache, pod *snapshot.PodInfo) *placement.Result {
	tb.Helper()
	r, err := p.Place(tb.Context(), pod)
	if err != nil {
		tb.Fatal(err)
	}
	if r.Node != "" {
		if err := c.Assume(pod, r.Node); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

func TestEqualPodsShareVerdicts(t *testing.T) {
	filtered := 0
	c := cluster(50)
	p := placement.New(placement.Config{}, profile(t, counting{&filtered}), c, nobody{})
	used := make(map[string]int)
	for i := range 100 {
		used[place(t, p, c, schedtest.Pod(fmt.Sprint("p", i)).CPU("1").Info()).Node]++
	}
	if want := 50 + 99; filtered != want { // all once, then only the one that changed
		t.Errorf("%d filters, not %d", filtered, want)
	}
	for node, n := range used {
		if n != 2 {
			t.Errorf("%d pods on %s", n, node)
		}
	}
	filtered = 0
	place(t, p, c, schedtest.Pod("other").CPU("2").Info())
	if filtered != 50 {
		t.Errorf("%d filters for another template", filtered)
	}
}

// TestReuseIsExact compares each decision with that of a Placer which has seen
// no pod before.
func TestReuseIsExact(t *testing.T) {
	c := cluster(7)
	warm := placement.New(placement.Config{}, profile(t), c, nobody{})
	for i := range 40 {
		pod := schedtest.Pod(fmt.Sprint("p", i)).CPU("800m").Memory("300Mi").Info()
		cold, err := placement.New(placement.Config{}, profile(t), c, nobody{}).Place(t.Context(), pod)
		if err != nil {
			t.Fatal(err)
		}
		if i == 20 {
			c.RemovePod("p3")
		}
		if i == 25 {
			c.SetNode(schedtest.Node("n00002").Taint("k", corev1.TaintEffectNoSchedule).Node())
		}
		if i == 20 || i == 25 {
			if cold, err = placement.New(placement.Config{}, profile(t), c, nobody{}).Place(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
		}
		got := place(t, warm, c, pod)
		if got.Feasible != cold.Feasible {
			t.Fatalf("pod %d: %d nodes are feasible, not %d", i, got.Feasible, cold.Feasible)
		}
		if got.Node != "" && got.Best[0].Total != cold.Best[0].Total {
			t.Fatalf("pod %d: best total %v, not %v", i, got.Best[0], cold.Best[0])
		}
		if got.Diagnosis != nil && got.Diagnosis.Message() != cold.Diagnosis.Message() {
			t.Fatalf("pod %d: %q, not %q", i, got.Diagnosis.Message(), cold.Diagnosis.Message())
		}
	}
}

func TestLargeClusterIsSampled(t *testing.T) {
	c := cluster(1000)
	p := placement.New(placement.Config{Parallelism: 2}, profile(t), c, nobody{})
	r := place(t, p, c, schedtest.Pod("p").CPU("1").Info())
	if r.Feasible < 420 || r.Feasible > 600 { // 50 − 1000/125 percent, and what was being looked at
		t.Errorf("%d feasible", r.Feasible)
	}
	none := place(t, p, c, schedtest.Pod("big").CPU("100").Info())
	if got := none.Diagnosis.Message(); got != "0/1000 nodes are available: 1000 Insufficient cpu." {
		t.Error(got)
	}
}

func TestNamedNodeIsTheOnlyOneLookedAt(t *testing.T) {
	filtered := 0
	c := cluster(50)
	p := placement.New(placement.Config{}, profile(t, counting{&filtered}), c, nobody{})
	daemon := func(node string) *snapshot.PodInfo {
		return schedtest.Pod("d-" + node).With(func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
				}}},
			}}
		}).Info()
	}
	if r := place(t, p, c, daemon("n00007")); r.Node != "n00007" || filtered != 1 {
		t.Errorf("on %q after %d filters", r.Node, filtered)
	}
	if r := place(t, p, c, daemon("none")); r.Diagnosis.Message() != "0/50 nodes are available: 50 node(s) didn't satisfy plugin(s) [NodeAffinity]." {
		t.Error(r.Diagnosis.Message())
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		for _, templates := range []int{1, 2} {
			b.Run(fmt.Sprintf("nodes=%d/templates=%d", nodes, templates), func(b *testing.B) {
				c := cluster(nodes)
				p := placement.New(placement.Config{Parallelism: 2}, profile(b), c, nobody{})
				pods := make([]*snapshot.PodInfo, b.N)
				for i := range pods {
					pods[i] = schedtest.Pod(fmt.Sprint("p", i)).CPU("1m").Memory("1Mi").Label("template", fmt.Sprint(i%templates)).Info()
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := range pods {
					r, err := p.Place(context.Background(), pods[i])
					if err != nil || r.Node == "" {
						b.Fatalf("not placed: %v", err)
					}
					if err := c.Assume(pods[i], r.Node); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
			})
		}
	}
}

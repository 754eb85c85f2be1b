package placement_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

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
	return profileOf(tb, framework.Settings{}, extra...)
}

func profileOf(tb testing.TB, settings framework.Settings, extra ...framework.Plugin) *framework.Profile {
	tb.Helper()
	env := plugins.Environment{Namespaces: func(string) labels.Set { return nil }, Groups: byApp}
	var all []framework.Weighted
	registry := plugins.Registry()
	for _, e := range plugins.Defaults() {
		p, err := registry[e.Name].New(env)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, framework.Weighted{Plugin: p, Weight: e.Weight})
	}
	for _, p := range extra {
		all = append(all, framework.Weighted{Plugin: p, Weight: 1})
	}
	settings.Plugins = framework.Everywhere(all...)
	p, err := framework.NewProfile(settings)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// byApp has pods of one label "app" belong together, as those of a service do.
func byApp(pod *corev1.Pod) labels.Selector {
	app, ok := pod.Labels["app"]
	if !ok {
		return labels.NewSelector()
	}
	return labels.SelectorFromSet(labels.Set{"app": app})
}

func cluster(nodes int) *snapshot.Cache {
	c := snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
	for i := range nodes {
		c.SetNode(schedtest.Node(fmt.Sprintf("n%05d", i)).Label(corev1.LabelTopologyZone, fmt.Sprint("z", i%3)).Node())
	}
	return c
}

func place(tb testing.TB, p *placement.Placer, by *framework.Profile, c *snapshot.Cache, pod *snapshot.PodInfo) *placement.Result {
	tb.Helper()
	r, err := p.Place(tb.Context(), by, pod)
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
	p, by := placement.New(placement.Config{}, c, nobody{}), profile(t, counting{&filtered})
	used := make(map[string]int)
	for i := range 100 {
		used[place(t, p, by, c, schedtest.Pod(fmt.Sprint("p", i)).CPU("1").Info()).Node]++
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
	place(t, p, by, c, schedtest.Pod("other").CPU("2").Info())
	if filtered != 50 {
		t.Errorf("%d filters for another template", filtered)
	}
}

// apart keeps a pod off other ones of its group, in the domains of a label.
func apart(p *schedtest.PodBuilder, key string, namespaces *metav1.LabelSelector) *schedtest.PodBuilder {
	return p.Label("group", "g").With(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				TopologyKey: key, NamespaceSelector: namespaces, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"group": "g"}},
			}},
		}}
	})
}

// spread has a pod's group be as even over the domains of a label as it can.
func spread(p *schedtest.PodBuilder, key string, otherwise corev1.UnsatisfiableConstraintAction) *schedtest.PodBuilder {
	return p.Label("group", "g").With(func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: otherwise, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"group": "g"}},
		})
	})
}

// together keeps a pod where there are others of its group.
func together(p *schedtest.PodBuilder) *schedtest.PodBuilder {
	return p.Label("group", "g").With(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"group": "g"}},
			}},
		}}
	})
}

// Of the filters that look at one node each, only those on the node that the first of
// two pods has taken are asked again for the second. Where the pods of that node alone
// keep the second away, nothing is left to ask.
func TestPodsApartShareVerdicts(t *testing.T) {
	const nodes = 18
	elsewhere := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	for name, tt := range map[string]struct {
		hosts              int // of how many names the nodes are
		pod                func(*schedtest.PodBuilder) *schedtest.PodBuilder
		feasible, filtered int
	}{
		"by host": {nodes, func(p *schedtest.PodBuilder) *schedtest.PodBuilder { return apart(p, corev1.LabelHostname, nil) }, nodes - 1, 0},
		"by host, of two nodes each": {
			nodes / 2, func(p *schedtest.PodBuilder) *schedtest.PodBuilder { return apart(p, corev1.LabelHostname, nil) }, nodes - 2, 1,
		},
		"by zone": {
			nodes, func(p *schedtest.PodBuilder) *schedtest.PodBuilder { return apart(p, corev1.LabelTopologyZone, nil) }, nodes * 2 / 3, 1,
		},
		"by the labels of namespaces": {
			nodes, func(p *schedtest.PodBuilder) *schedtest.PodBuilder { return apart(p, corev1.LabelHostname, elsewhere) }, nodes, 1,
		},
		"together": {nodes, together, 1, 1},
		"spread over zones": {
			nodes, func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
				return spread(p, corev1.LabelTopologyZone, corev1.DoNotSchedule)
			}, nodes * 2 / 3, 1,
		},
		"spread over hosts": {
			nodes, func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
				return spread(p, corev1.LabelHostname, corev1.DoNotSchedule)
			}, nodes - 1, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
			for i := range nodes {
				c.SetNode(schedtest.Node(fmt.Sprint("n", i)).Label(corev1.LabelTopologyZone, fmt.Sprint("z", i%3)).
					Label(corev1.LabelHostname, fmt.Sprint("h", i%tt.hosts)).Node())
			}
			filtered := 0
			p, by := placement.New(placement.Config{}, c, nobody{}), profile(t, counting{&filtered})
			place(t, p, by, c, tt.pod(schedtest.Pod("first").CPU("1m")).Info())
			filtered = 0
			r := place(t, p, by, c, tt.pod(schedtest.Pod("second").CPU("1m")).Info())
			if r.Feasible != tt.feasible || filtered != tt.filtered {
				t.Errorf("%d nodes are feasible and %d were filtered, want %d and %d", r.Feasible, filtered, tt.feasible, tt.filtered)
			}
		})
	}
}

// Verdicts and scores that are shared are those of every plugin for each node by itself,
// whatever comes and goes in between.
func TestSharedVerdictsAreTheSame(t *testing.T) {
	const nodes = 12
	random := rand.New(rand.NewPCG(1, 2))
	c := snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
	label := func(i int) {
		n := schedtest.Node(fmt.Sprint("n", i)).Label(corev1.LabelHostname, fmt.Sprint("h", max(i-random.IntN(6)/5, 0))) // now and then another's
		if random.IntN(12) > 0 {
			n.Label(corev1.LabelTopologyZone, fmt.Sprint("z", i%3))
		}
		if random.IntN(12) == 0 {
			n.Taint("k", corev1.TaintEffectNoSchedule)
		}
		c.SetNode(n.Node())
	}
	for i := range nodes {
		label(i)
	}
	sharing, by := placement.New(placement.Config{}, c, nobody{}), profile(t)
	kinds := []func(*schedtest.PodBuilder) *schedtest.PodBuilder{
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder { return apart(p, corev1.LabelHostname, nil) },
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder { return apart(p, corev1.LabelTopologyZone, nil) },
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder { return p.Label("group", "g") },
		together,
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
			return spread(spread(p, corev1.LabelTopologyZone, corev1.DoNotSchedule), corev1.LabelHostname, corev1.ScheduleAnyway)
		},
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
			return spread(spread(p, corev1.LabelHostname, corev1.DoNotSchedule), corev1.LabelTopologyZone, corev1.ScheduleAnyway)
		},
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
			return apart(spread(p, corev1.LabelTopologyZone, corev1.DoNotSchedule), corev1.LabelTopologyZone, nil)
		},
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
			return apart(spread(p.CPU("2.5"), corev1.LabelTopologyZone, corev1.DoNotSchedule), corev1.LabelHostname, nil)
		},
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
			return apart(spread(p, corev1.LabelHostname, corev1.DoNotSchedule), corev1.LabelHostname, nil)
		},
		func(p *schedtest.PodBuilder) *schedtest.PodBuilder {
			return spread(p.CPU("5"), corev1.LabelTopologyZone, corev1.DoNotSchedule)
		},
	}
	var placed []types.UID
	kind := 0
	for i := range 2000 {
		switch random.IntN(6) {
		case 0:
			kind = random.IntN(len(kinds))
		case 1:
			label(random.IntN(nodes))
		case 2:
			if n := len(placed); n > 0 {
				gone := random.IntN(n)
				c.RemovePod(placed[gone])
				placed = slices.Delete(placed, gone, gone+1)
			}
		}
		pod := kinds[kind](schedtest.Pod(fmt.Sprint("p", i)).CPU("1m"))
		r, err := sharing.Place(t.Context(), by, pod.Info())
		if err != nil {
			t.Fatal(err)
		}
		e, err := placement.Explain(t.Context(), by, c, pod.Info())
		if err != nil {
			t.Fatal(err)
		}
		compare(t, i, r, e)
		if r.Node != "" && len(placed) < 20 {
			there := pod.Info().Pod.DeepCopy()
			there.Spec.NodeName = r.Node
			c.SetPod(there)
			placed = append(placed, there.UID)
		}
	}
}

// compare sees whether a decision, the i-th, is made by what each plugin says of each node.
func compare(t *testing.T, i int, r *placement.Result, e *placement.Explanation) {
	t.Helper()
	want := make(map[string]placement.NodeScore)
	for _, n := range e.Nodes {
		if len(n.Rejections) == 0 {
			want[n.Node] = n.Score
		}
	}
	if r.Feasible != len(want) {
		t.Fatalf("pod %d: %d nodes are feasible, one by one %d", i, r.Feasible, len(want))
	}
	if diff := cmp.Diff(want, totals(r)); diff != "" {
		t.Fatalf("pod %d: other scores than one by one (-want +got):\n%s", i, diff)
	}
	if r.Feasible > 0 {
		return
	}
	if diff := cmp.Diff(e.Diagnosis.Rejections, r.Diagnosis.Rejections); diff != "" {
		t.Fatalf("pod %d: other verdicts than one by one (-want +got):\n%s", i, diff)
	}
}

// busy is a plugin of one profile alone that likes the nodes with the most
// pods.
type busy struct{}

func (busy) Name() string { return "Busy" }
func (busy) NodeLocal()   {}
func (busy) Score(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, n *snapshot.NodeInfo) (int64, *framework.Status) {
	return 10 * int64(len(n.Pods)), nil
}

// TestReuseIsExact compares each decision with that of a Placer which has seen
// no pod before, for pods of two templates, one of which is spread, and of two
// profiles.
func TestReuseIsExact(t *testing.T) {
	c := cluster(7)
	warm := placement.New(placement.Config{}, c, nobody{})
	profiles := []*framework.Profile{
		profileOf(t, framework.Settings{SchedulerName: "a"}), profileOf(t, framework.Settings{SchedulerName: "b"}, busy{}),
	}
	for i := range 60 {
		switch i {
		case 20:
			c.RemovePod("p3")
		case 25:
			c.SetNode(schedtest.Node("n00002").Taint("k", corev1.TaintEffectNoSchedule).Node())
		case 30:
			c.SetPod(schedtest.Pod("p5").Node("n00001").Label("app", "web").CPU("800m").Memory("300Mi").Pod())
		}
		pod := schedtest.Pod(fmt.Sprint("p", i)).CPU("400m").Memory("300Mi")
		if i%10 < 5 {
			pod.Label("app", "web")
		}
		by := profiles[i/3%2]
		cold, err := placement.New(placement.Config{}, c, nobody{}).Place(t.Context(), by, pod.Info())
		if err != nil {
			t.Fatal(err)
		}
		got := place(t, warm, by, c, pod.Info())
		if got.Feasible != cold.Feasible {
			t.Fatalf("pod %d: %d nodes are feasible, not %d", i, got.Feasible, cold.Feasible)
		}
		if got.Node != "" && !cmp.Equal(totals(got), totals(cold)) {
			t.Fatalf("pod %d: %v, not %v", i, totals(got), totals(cold))
		}
		if got.Diagnosis != nil && got.Diagnosis.Message() != cold.Diagnosis.Message() {
			t.Fatalf("pod %d: %q, not %q", i, got.Diagnosis.Message(), cold.Diagnosis.Message())
		}
	}
}

// totals are the scores of every node.
func totals(r *placement.Result) map[string]placement.NodeScore {
	out := make(map[string]placement.NodeScore)
	for _, n := range r.Best.Nodes() {
		out[n.Node] = n
	}
	return out
}

func TestProfileSaysHowManyNodesAreEnough(t *testing.T) {
	c := cluster(1000)
	p := placement.New(placement.Config{}, c, nobody{})
	for percentage, want := range map[int]int{0: 420, 20: 200, 100: 1000} {
		by := profileOf(t, framework.Settings{PercentageOfNodes: percentage})
		if got := place(t, p, by, c, schedtest.Pod(fmt.Sprint("p", percentage)).Info()); got.Feasible != want {
			t.Errorf("%d%%: %d nodes were found, not %d", percentage, got.Feasible, want)
		}
	}
}

func TestLargeClusterIsSampled(t *testing.T) {
	c := cluster(1000)
	p, by := placement.New(placement.Config{Parallelism: 2}, c, nobody{}), profile(t)
	r := place(t, p, by, c, schedtest.Pod("p").CPU("1").Info())
	if r.Feasible < 420 || r.Feasible > 600 { // 50 − 1000/125 percent, and what was being looked at
		t.Errorf("%d feasible", r.Feasible)
	}
	none := place(t, p, by, c, schedtest.Pod("big").CPU("100").Info())
	if got := none.Diagnosis.Message(); got != "0/1000 nodes are available: 1000 Insufficient cpu." {
		t.Error(got)
	}
}

func TestNamedNodeIsTheOnlyOneLookedAt(t *testing.T) {
	filtered := 0
	c := cluster(50)
	p, by := placement.New(placement.Config{}, c, nobody{}), profile(t, counting{&filtered})
	daemon := func(node string) *snapshot.PodInfo {
		return schedtest.Pod("d-" + node).With(func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
				}}},
			}}
		}).Info()
	}
	if r := place(t, p, by, c, daemon("n00007")); r.Node != "n00007" || filtered != 1 {
		t.Errorf("on %q after %d filters", r.Node, filtered)
	}
	if r := place(t, p, by, c, daemon("none")); r.Diagnosis.Message() != "0/50 nodes are available: 50 node(s) didn't satisfy plugin(s) [NodeAffinity]." {
		t.Error(r.Diagnosis.Message())
	}
}

// TestExplainAdvisesOnTheClosestNodes: of 60 nodes all lack CPU, and the first 45
// are tainted as well.
func TestExplainAdvisesOnTheClosestNodes(t *testing.T) {
	c := snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
	for i := range 60 {
		node := schedtest.Node(fmt.Sprintf("n%02d", i))
		if i < 45 {
			node.Taint("k", corev1.TaintEffectNoSchedule)
		}
		c.SetNode(node.Node())
	}
	e, err := placement.Explain(t.Context(), profile(t), c, schedtest.Pod("p").CPU("5").Info())
	if err != nil {
		t.Fatal(err)
	}
	advised := make(map[int]int) // nodes by their rejections
	for _, n := range e.Nodes {
		if n.Rejections[0].Advice.Detail != "" {
			advised[len(n.Rejections)]++
		}
	}
	if advised[1] != 15 || advised[2] != 5 {
		t.Errorf("advice is given on %v", advised)
	}
}

// BenchmarkPlace is the decision alone: nothing is written or watched.
func BenchmarkPlace(b *testing.B) {
	pod := func(i int) *schedtest.PodBuilder { return schedtest.Pod(fmt.Sprint("p", i)).CPU("1m").Memory("1Mi") }
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"group": "g"}}
	for _, kind := range []struct {
		name string
		pod  func(i int) *schedtest.PodBuilder
	}{
		{"alike", pod},
		{"of two templates", func(i int) *schedtest.PodBuilder { return pod(i).Label("template", fmt.Sprint(i%2)) }},
		{"that belong together", func(i int) *schedtest.PodBuilder { return pod(i).Label("app", "web") }},
		{"apart", func(i int) *schedtest.PodBuilder {
			return pod(i).Label("group", "g").With(func(p *corev1.Pod) {
				p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: selector}},
				}}
			})
		}},
		{"spread", func(i int) *schedtest.PodBuilder {
			return pod(i).Label("group", "g").With(func(p *corev1.Pod) {
				p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{
					{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selector},
					{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: selector},
				}
			})
		}},
	} {
		b.Run(fmt.Sprintf("nodes=5000/pods %s", kind.name), func(b *testing.B) { benchmarkPlace(b, 5000, kind.pod) })
	}
}

func benchmarkPlace(b *testing.B, nodes int, pod func(i int) *schedtest.PodBuilder) {
	c := snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
	for i := range nodes {
		name := fmt.Sprint("n", i)
		c.SetNode(schedtest.Node(name).Label(corev1.LabelHostname, name).Label(corev1.LabelTopologyZone, fmt.Sprint("z", i%3)).Node())
	}
	p, by := placement.New(placement.Config{Parallelism: 2}, c, nobody{}), profile(b)
	pods := make([]*snapshot.PodInfo, b.N)
	for i := range pods {
		pods[i] = pod(i).Info()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range pods {
		r, err := p.Place(context.Background(), by, pods[i])
		if err != nil || r.Node == "" {
			b.Fatalf("not placed: %v", err)
		}
		if err := c.Assume(pods[i], r.Node); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

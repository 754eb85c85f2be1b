package snapshot_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

const zone = corev1.LabelTopologyZone

var webPods = snapshot.Counter{ID: "web", Count: func(n *snapshot.NodeInfo) int64 {
	var count int64
	for _, p := range n.Pods {
		if p.Pod.Labels["app"] == "web" {
			count++
		}
	}
	return count
}}

// read is a Tally in words that do not depend on how domains are numbered.
func read(s *snapshot.Snapshot, c snapshot.Counter, needs ...string) []string {
	t := s.Tally(c, zone, needs...)
	out := []string{fmt.Sprintf("%d in all", t.Total)}
	for d, value := range t.Values {
		out = append(out, fmt.Sprintf("%d on %d nodes in %s", t.Sums[d], t.Members[d], value))
	}
	for _, n := range s.Nodes() {
		_, in := t.Of(n)
		out = append(out, fmt.Sprintf("%d on %s, %d in its domain (%t)", t.On(n), n.Name(), t.In(n), in))
	}
	slices.Sort(out)
	return out
}

func terms(s *snapshot.Snapshot) []string {
	var out []string
	for term := range s.AntiAffinity() {
		out = append(out, term.ID())
	}
	slices.Sort(out)
	return out
}

// TestTalliesAreKeptUpToDate compares what is kept over random changes of nodes
// and pods with what is counted afresh.
func TestTalliesAreKeptUpToDate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	cache := snapshot.NewCache(time.Minute, slog.New(slog.DiscardHandler))
	name := func() string { return fmt.Sprintf("n%d", random.IntN(6)) }
	pod := func() *corev1.Pod {
		p := schedtest.Pod(fmt.Sprintf("p%d", random.IntN(20))).Node(name()).Label("app", []string{"web", "db"}[random.IntN(2)])
		if random.IntN(3) == 0 {
			p.With(func(p *corev1.Pod) { p.Spec.Affinity = keepOff(fmt.Sprintf("app-%d", random.IntN(3))) })
		}
		return p.Pod()
	}
	changes := []func(){
		func() { cache.SetPod(pod()) },
		func() { cache.SetPod(pod()) },
		func() { cache.RemovePod(pod().UID) },
		func() {
			cache.SetNode(schedtest.Node(name()).Label(zone, fmt.Sprintf("z%d", random.IntN(3))).Label("disk", "ssd").Node())
		},
		func() { cache.SetNode(schedtest.Node(name()).Label(zone, "z0").Node()) },
		func() { cache.SetNode(schedtest.Node(name()).Node()) },
		func() { cache.RemoveNode(name()) },
	}
	kept := &snapshot.Snapshot{}
	for step := range 1000 {
		changes[random.IntN(len(changes)-3*min(step%10, 1))]() // nodes change less than pods
		if random.IntN(3) == 0 {
			continue // several changes at once
		}
		kept.Refresh(cache)
		fresh := &snapshot.Snapshot{}
		fresh.Refresh(cache)
		if len(fresh.Nodes()) == 0 {
			continue
		}
		for _, needs := range [][]string{nil, {zone, "disk"}} {
			if diff := gocmp.Diff(read(fresh, webPods, needs...), read(kept, webPods, needs...)); diff != "" {
				t.Fatalf("step %d, needs %v: %s", step, needs, diff)
			}
		}
		if diff := gocmp.Diff(terms(fresh), terms(kept)); diff != "" {
			t.Fatalf("step %d: terms: %s", step, diff)
		}
	}
}

func keepOff(app string) *corev1.Affinity {
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
		{TopologyKey: zone, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}}}
}

// TestWhatIsTriedIsCountedApart: a Snapshot made by With has its own counts and
// leaves those of its base alone.
func TestWhatIsTriedIsCountedApart(t *testing.T) {
	web := func(name string) *schedtest.PodBuilder { return schedtest.Pod(name).Label("app", "web") }
	base := snapshot.New(
		schedtest.Node("a").Label(zone, "x").Pods(web("1"), web("2")).Info(),
		schedtest.Node("b").Label(zone, "x").Pods(web("3")).Info(),
	)
	before := read(base, webPods)
	tried := base.Get("a").Clone()
	tried.RemovePod("1")
	view := base.With(tried)
	tried.AddPod(web("4").With(func(p *corev1.Pod) { p.Spec.Affinity = keepOff("web") }).Info())
	tried.RemovePod("2")
	view = view.With(tried)
	if got := view.Tally(webPods, zone); got.Total != 2 || got.On(tried) != 1 {
		t.Errorf("%d pods in all, %d on the node", got.Total, got.On(tried))
	}
	if got := len(terms(view)); got != 1 {
		t.Errorf("%d terms", got)
	}
	if diff := gocmp.Diff(before, read(base, webPods)); diff != "" {
		t.Error(diff)
	}
	if got := terms(base); len(got) != 0 {
		t.Errorf("the base has terms %v", got)
	}
}

func TestUnnamedCountersAreNotKept(t *testing.T) {
	s := snapshot.New(schedtest.Node("a").Label(zone, "x").Info())
	for want := range int64(3) {
		c := snapshot.Counter{Count: func(*snapshot.NodeInfo) int64 { return want }}
		if got := s.Tally(c, zone).Total; got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
}

func TestGroupsOfTerms(t *testing.T) {
	term := func(change func(*corev1.PodAffinityTerm)) *snapshot.PodTerm {
		affinity := keepOff("web")
		change(&affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0])
		p := schedtest.Pod("p").With(func(p *corev1.Pod) { p.Spec.Affinity = affinity }).Info()
		return &p.AntiAffinity.Required[0]
	}
	all := map[string]*snapshot.PodTerm{
		"plain":           term(func(*corev1.PodAffinityTerm) {}),
		"other key":       term(func(t *corev1.PodAffinityTerm) { t.TopologyKey = "disk" }),
		"other selector":  term(func(t *corev1.PodAffinityTerm) { t.LabelSelector.MatchLabels["app"] = "db" }),
		"no selector":     term(func(t *corev1.PodAffinityTerm) { t.LabelSelector = nil }),
		"empty selector":  term(func(t *corev1.PodAffinityTerm) { t.LabelSelector = &metav1.LabelSelector{} }),
		"other namespace": term(func(t *corev1.PodAffinityTerm) { t.Namespaces = []string{"b"} }),
		"all namespaces":  term(func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = &metav1.LabelSelector{} }),
		"some namespaces": term(func(t *corev1.PodAffinityTerm) {
			t.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
		}),
	}
	names := slices.SortedFunc(maps.Keys(all), cmp.Compare[string])
	for i, a := range names {
		for _, b := range names[i+1:] {
			if all[a].ID() == all[b].ID() {
				t.Errorf("%s and %s have the same ID %q", a, b, all[a].ID())
			}
		}
	}
	if all["plain"].Group() != all["other key"].Group() {
		t.Error("terms of one group differ by their key")
	}
	if got := all["some namespaces"].Group(); got != "" {
		t.Errorf("what namespaces' labels decide has the group %q", got)
	}
}

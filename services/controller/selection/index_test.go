package selection

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/client"
)

// world is an index and what an informer would tell it of.
type world struct {
	*Index[*corev1.Pod]
	services client.Handler[*corev1.Service]
}

// newWorld has Services that select pods, finished ones excepted.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	informers := client.NewInformers(client.New(nil, "selection-test"))
	x, err := Follow(informers, selectorOf, isRunning)
	if err != nil {
		tb.Fatal(err)
	}
	if again, err := Follow(informers, selectorOf, isRunning); err != nil || again != x {
		tb.Fatalf("another index for the second who asks, error %v", err)
	}
	return &world{x, ownersOf(x, selectorOf)}
}

func selectorOf(s *corev1.Service) labels.Selector {
	if len(s.Spec.Selector) == 0 {
		return labels.Nothing()
	}
	return labels.SelectorFromSet(s.Spec.Selector)
}

func isRunning(pod *corev1.Pod) bool { return pod.Status.Phase != corev1.PodSucceeded }

// set makes a pod what is given.
func (w *world) set(tb testing.TB, pod *corev1.Pod) {
	tb.Helper()
	old, existed := w.objects.Get(pod.Namespace, pod.Name)
	if err := w.objects.Indexer().Update(pod); err != nil {
		tb.Fatal(err)
	}
	if existed {
		w.update(old, pod)
	} else {
		w.add(pod)
	}
}

func (w *world) end(tb testing.TB, pod *corev1.Pod) {
	tb.Helper()
	if err := w.objects.Indexer().Delete(pod); err != nil {
		tb.Fatal(err)
	}
	w.remove(pod)
}

func podOf(name, set string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labelsOf(set)}}
}

func labelsOf(set string) labels.Set {
	l, err := labels.ConvertSelectorToLabelsMap(set)
	if err != nil {
		panic(err)
	}
	return l
}

func serviceOf(name, selector string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Selector: labelsOf(selector)}}
}

func finished(pod *corev1.Pod) *corev1.Pod {
	pod.Status.Phase = corev1.PodSucceeded
	return pod
}

func named(pods []*corev1.Pod) []string {
	names := []string{}
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

// TestChanges begins with pods a and b of app=web and c of app=db, and with the
// Services web (app=web), data (app=db) and none (without a selector).
func TestChanges(t *testing.T) {
	web := serviceOf("web", "app=web")
	for name, tt := range map[string]struct {
		change    func(*testing.T, *world)
		web, data []string
	}{
		"nothing":                         {func(*testing.T, *world) {}, []string{"a", "b"}, []string{"c"}},
		"a pod comes":                     {func(t *testing.T, w *world) { w.set(t, podOf("d", "app=web,rev=2")) }, []string{"a", "b", "d"}, []string{"c"}},
		"one of nobody comes":             {func(t *testing.T, w *world) { w.set(t, podOf("d", "rev=2")) }, []string{"a", "b"}, []string{"c"}},
		"a pod goes":                      {func(t *testing.T, w *world) { w.end(t, podOf("a", "app=web")) }, []string{"b"}, []string{"c"}},
		"a pod changes sides":             {func(t *testing.T, w *world) { w.set(t, podOf("a", "app=db")) }, []string{"b"}, []string{"a", "c"}},
		"a pod loses its labels":          {func(t *testing.T, w *world) { w.set(t, podOf("a", "")) }, []string{"b"}, []string{"c"}},
		"a label that nobody asks for":    {func(t *testing.T, w *world) { w.set(t, podOf("a", "app=web,rev=2")) }, []string{"a", "b"}, []string{"c"}},
		"a pod ceases to count":           {func(t *testing.T, w *world) { w.set(t, finished(podOf("a", "app=web"))) }, []string{"b"}, []string{"c"}},
		"a pod of another namespace":      {func(t *testing.T, w *world) { d := podOf("d", "app=web"); d.Namespace = "other"; w.set(t, d) }, []string{"a", "b"}, []string{"c"}},
		"a Service selects more narrowly": {func(t *testing.T, w *world) { w.services.OnUpdate(web, serviceOf("web", "app=web,tier=front")) }, []string{"b"}, []string{"c"}},
		"a Service selects others":        {func(t *testing.T, w *world) { w.services.OnUpdate(web, serviceOf("web", "app=db")) }, []string{"c"}, []string{"c"}},
		"a Service selects nothing more":  {func(t *testing.T, w *world) { w.services.OnUpdate(web, serviceOf("web", "")) }, []string{}, []string{"c"}},
		"a Service goes":                  {func(t *testing.T, w *world) { w.services.OnDelete(web) }, []string{}, []string{"c"}},
		"a Service goes and comes again":  {func(t *testing.T, w *world) { w.services.OnDelete(web); w.services.OnAdd(web) }, []string{"a", "b"}, []string{"c"}},
		"another comes":                   {func(t *testing.T, w *world) { w.services.OnAdd(serviceOf("front", "tier=front")) }, []string{"a", "b"}, []string{"c"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.set(t, podOf("a", "app=web"))
			w.set(t, podOf("c", "app=db"))
			w.services.OnAdd(web)
			w.services.OnAdd(serviceOf("data", "app=db"))
			w.services.OnAdd(serviceOf("none", ""))
			w.set(t, podOf("b", "app=web,tier=front"))
			tt.change(t, w)
			for service, want := range map[string][]string{"web": tt.web, "data": tt.data, "none": {}} {
				if diff := cmp.Diff(want, w.selectedBy(service)); diff != "" {
					t.Errorf("%s selects (-want +got):\n%s", service, diff)
				}
			}
		})
	}
}

// selectedBy returns whom a Service selects by the index alone.
func (w *world) selectedBy(service string) []string {
	t := w.tables["default"]
	if t == nil || t.byName[service] == nil {
		return []string{}
	}
	return named(w.Selected("default", service, t.byName[service].selector))
}

func TestSelecting(t *testing.T) {
	w := newWorld(t)
	w.services.OnAdd(serviceOf("web", "app=web,part-of=shop"))
	w.services.OnAdd(serviceOf("data", "app=db,part-of=shop"))
	w.services.OnAdd(serviceOf("shop", "part-of=shop"))
	for name, selector := range map[string]string{"either": "app in (web, db)", "not": "app!=web", "has": "tier", "has-not": "!tier", "all": ""} {
		s, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		w.Put("default", name, s)
	}
	for set, want := range map[string][]string{
		"app=web,part-of=shop": {"all", "either", "has-not", "shop", "web"},
		"app=web,tier=front":   {"all", "either", "has"},
		"app=db,part-of=shop":  {"all", "data", "either", "has-not", "not", "shop"},
		"app=web":              {"all", "either", "has-not"},
		"":                     {"all", "has-not", "not"},
	} {
		for i := range want {
			want[i] = "default/" + want[i]
		}
		got := w.Selecting(podOf("p", set))
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("who selects {%s} (-want +got):\n%s", set, diff)
		}
	}
	if got := w.Selecting(finished(podOf("p", "app=web"))); len(got) != 0 {
		t.Errorf("a pod that does not count is selected by %v", got)
	}
	elsewhere := podOf("p", "app=web,part-of=shop")
	elsewhere.Namespace = "other"
	if got := w.Selecting(elsewhere); len(got) != 0 {
		t.Errorf("a pod of another namespace is selected by %v", got)
	}
}

// TestAnchors has selectors that all ask for one label and each for another:
// an object is held against none but its own.
func TestAnchors(t *testing.T) {
	table := newTable()
	for i := range 10 {
		table.put(fmt.Sprint(i), labels.SelectorFromSet(labels.Set{"app": fmt.Sprint(i), "part-of": "shop"}))
	}
	if n := len(table.anchored[label{"part-of", "shop"}]); n > 1 {
		t.Errorf("%d of 10 selectors are tried for every object", n)
	}
	for i := range 10 {
		table.drop(fmt.Sprint(i))
	}
	if len(table.anchored)+len(table.loose)+len(table.byName) != 0 {
		t.Errorf("what is left of dropped selectors: %+v", table)
	}
}

// TestNews asks before the index has been told what the informer, or the one
// who asks, knows already.
func TestNews(t *testing.T) {
	w := newWorld(t)
	w.set(t, podOf("a", "app=web"))
	w.set(t, podOf("b", "app=db"))
	w.services.OnAdd(serviceOf("web", "app=web"))
	for _, selector := range []string{"app=web", "app=db", "app in (web,db)"} {
		s, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		for _, owner := range []string{"web", "new"} {
			if diff := cmp.Diff(named(w.scan("default", s)), named(w.Selected("default", owner, s))); diff != "" {
				t.Errorf("%s selects by %s (-want +got):\n%s", owner, selector, diff)
			}
		}
	}
	if err := w.objects.Indexer().Update(podOf("a", "app=db")); err != nil {
		t.Fatal(err)
	}
	if got := w.selectedBy("web"); len(got) != 0 {
		t.Errorf("%v is selected by labels it has no more", got)
	}
}

// TestLikeALook makes random changes and compares with what a look at all
// objects and all selectors tells.
func TestLikeALook(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	selectors := []string{"x=0", "x=1", "x=0,y=1", "y=0,z=1", "x in (0,1)", "x!=0", "y", "!z", "x notin (0,1),z=0", ""}
	w := newWorld(t)
	have := make(map[string]labels.Selector)
	for range 2000 {
		pod := podOf(fmt.Sprint("p", random.IntN(20)), "")
		owner := fmt.Sprint("o", random.IntN(8))
		switch random.IntN(6) {
		case 0:
			s, err := labels.Parse(selectors[random.IntN(len(selectors))])
			if err != nil {
				t.Fatal(err)
			}
			w.Put("default", owner, s)
			have[owner] = s
		case 1:
			w.Drop("default", owner)
			delete(have, owner)
		case 2:
			if old, ok := w.objects.Get("default", pod.Name); ok {
				w.end(t, old)
			}
		default:
			pod.Labels = randomLabels(random)
			if random.IntN(8) == 0 {
				finished(pod)
			}
			w.set(t, pod)
		}
		w.compare(t, have)
	}
}

func randomLabels(random *rand.Rand) map[string]string {
	set := make(map[string]string)
	for _, key := range []string{"x", "y", "z"} {
		if n := random.IntN(4); n < 3 {
			set[key] = fmt.Sprint(n)
		}
	}
	return set
}

func (w *world) compare(t *testing.T, selectors map[string]labels.Selector) {
	t.Helper()
	for owner, s := range selectors {
		members, ok := w.members("default", owner, s)
		slices.Sort(members)
		if diff := cmp.Diff(named(w.scan("default", s)), append([]string{}, members...)); diff != "" || !ok {
			t.Fatalf("%s selects by %s (known: %t, -want +got):\n%s", owner, s, ok, diff)
		}
	}
	for _, pod := range w.objects.List() {
		want := make(map[string]bool)
		for owner, s := range selectors {
			if isRunning(pod) && s.Matches(labels.Set(pod.Labels)) {
				want["default/"+owner] = true
			}
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(slices.Values(w.Selecting(pod)))); diff != "" {
			t.Fatalf("who selects %s %v (-want +got):\n%s", pod.Name, pod.Labels, diff)
		}
	}
}

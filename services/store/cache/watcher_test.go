package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/cache"
)

// fixture is a running cache of pods whose nodes the test moves.
type fixture struct {
	t       *testing.T
	kind    *kinds.Kind
	backend backend.Backend
	cache   *cache.Cache
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	kind, err := kinds.Default().ForObject(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, kind: kind, backend: memory.New()}
	t.Cleanup(func() { _ = f.backend.Close() })
	f.cache = f.another()
	return f
}

// another returns a further cache of the same pods, which has read them.
func (f *fixture) another() *cache.Cache {
	f.t.Helper()
	c := cache.New(f.kind, "/pods/", f.backend, cache.NewClock(f.backend), cache.NewBudget(1<<20), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	f.t.Cleanup(func() { cancel(); <-done })
	if err := c.Fresh(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// put stores a pod on a node and waits until the cache has it.
func (f *fixture) put(name, node string) int64 {
	f.t.Helper()
	return f.store(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node}})
}

// store is put for any pod.
func (f *fixture) store(pod *corev1.Pod) int64 {
	f.t.Helper()
	key := "/pods/" + pod.Name
	draft, err := cache.NewDraft(f.kind, key, pod, cache.Envelope{})
	if err != nil {
		f.t.Fatal(err)
	}
	result, err := f.backend.Commit(f.t.Context(), backend.Op{Type: backend.Put, Key: key, Value: draft.Value(), Expect: backend.Any})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.cache.Reach(f.t.Context(), result.Revision); err != nil {
		f.t.Fatal(err)
	}
	return result.Revision
}

// watch watches the pods of a node from the present on.
func (f *fixture) watch(node *string) *cache.Watcher {
	return f.watchPart(cache.Part{Only: node})
}

// watchPart watches a part of the pods from the present on.
func (f *fixture) watchPart(p cache.Part) *cache.Watcher {
	_, w := f.cache.WatchPresent(p)
	f.t.Cleanup(w.Stop)
	return w
}

// names returns what a watcher sees, and its channel for more.
func (f *fixture) names(w *cache.Watcher) (names []string, revision int64, more <-chan struct{}) {
	f.t.Helper()
	events, revision, err := w.Next(100)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range events {
		names = append(names, e.Version.Object().GetName())
	}
	return names, revision, w.Woken()
}

// woken tells whether something woke a watcher, once whatever may wake it has
// come to rest: the cache reaches a revision before it wakes who waits for it.
// The test runs in a synctest bubble.
func woken(ch <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// A watcher of one node's pods is woken by their changes, coming and going
// included, and by no others; how far it has come it knows all the same.
func TestWatchersOfANodeSleepThroughOthers(t *testing.T) {
	synctest.Test(t, watchersOfANodeSleepThroughOthers)
}

func watchersOfANodeSleepThroughOthers(t *testing.T) {
	f := newFixture(t)
	n1, n2 := "n1", "n2"
	all, one, two := f.watch(nil), f.watch(&n1), f.watch(&n2)
	_, _, moreAll := f.names(all)
	_, _, moreOne := f.names(one)
	_, _, moreTwo := f.names(two)

	f.put("a", "n1")
	if !woken(moreAll) || !woken(moreOne) || woken(moreTwo) {
		t.Errorf("woken by a pod on n1: all %t, n1 %t, n2 %t", woken(moreAll), woken(moreOne), woken(moreTwo))
	}
	revision := f.put("a", "n2")
	for name, w := range map[string]*cache.Watcher{"all": all, "n1": one} {
		if got, at, _ := f.names(w); fmt.Sprint(got) != "[a a]" || at != revision {
			t.Errorf("watcher of %s: %v at %d, want both changes at %d", name, got, at, revision)
		}
	}
	if got, _, _ := f.names(two); fmt.Sprint(got) != "[a]" {
		t.Errorf("watcher of n2: %v, want the pod's coming alone", got)
	}
	revision = f.put("b", "")
	if got, at, _ := f.names(one); len(got) > 0 || at != revision {
		t.Errorf("watcher of n1 after another's change: %v at %d, want nothing at %d", got, at, revision)
	}
	resumed, err := f.cache.Watch(1, cache.Part{Only: &n2})
	if err != nil {
		t.Fatal(err)
	}
	defer resumed.Stop()
	if got, _, _ := f.names(resumed); fmt.Sprint(got) != "[a]" {
		t.Errorf("resumed watcher of n2: %v", got)
	}
}

// A watcher that misses changes which the history has dropped is cut off; one
// whose own changes are all there is not, however many others were dropped.
func TestSlowWatchersAreCutOff(t *testing.T) {
	f := newFixture(t)
	quiet, busy := "quiet", "busy"
	all, idle, slow, quick := f.watch(nil), f.watch(&quiet), f.watch(&busy), f.watch(&busy)
	f.put("q", "quiet")
	const longerThanHistory = 9000
	for i := range longerThanHistory {
		f.put("b", "busy")
		if i%100 == 0 {
			f.names(quick)
		}
	}
	for name, w := range map[string]*cache.Watcher{"all": all, "the busy node": slow, "the quiet node": idle} {
		if _, _, err := w.Next(1); !errors.Is(err, cache.ErrSlow) {
			t.Errorf("watcher of %s after more changes than are kept: %v, want ErrSlow", name, err)
		}
	}
	f.names(quick)
	late := f.watch(&quiet)
	for range longerThanHistory {
		f.put("b", "busy")
	}
	if got, _, _ := f.names(late); len(got) > 0 {
		t.Errorf("watcher of the quiet node sees %v", got)
	}
	f.put("q", "quiet")
	if got, _, _ := f.names(late); fmt.Sprint(got) != "[q]" {
		t.Errorf("watcher of the quiet node: %v, want its pod", got)
	}
}

// What large objects were does not fill the memory: a watcher of them falls
// behind sooner.
func TestHistoriesOfLargeObjectsAreShort(t *testing.T) {
	f := newFixture(t)
	large := func(n int) int64 {
		return f.store(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "large", Annotations: map[string]string{"n": strconv.Itoa(n), "text": strings.Repeat("x", 1<<20)}}})
	}
	w := f.watch(nil)
	first := large(0)
	for n := range 100 {
		large(n)
	}
	if _, _, err := w.Next(1); err != nil {
		t.Errorf("watcher after a hundred changes: %v, but so many are kept whatever they are", err)
	}
	for n := range 100 {
		large(n)
	}
	if _, _, err := w.Next(1); !errors.Is(err, cache.ErrSlow) {
		t.Errorf("watcher after 200 MiB of changes: %v, want ErrSlow", err)
	}
	if _, err := f.cache.Watch(first, cache.Part{}); !errors.Is(err, cache.ErrExpired) {
		t.Errorf("a watch from before 200 MiB of changes: %v, want ErrExpired", err)
	}
}

// A watcher of a namespace or of one object is woken by changes there and by no
// others, and misses none: not those from before it began, if it resumes, nor
// those of a time when others watched the same.
func TestWatchersOfANamespaceOrAnObjectSleepThroughOthers(t *testing.T) {
	synctest.Test(t, watchersOfANamespaceOrAnObjectSleepThroughOthers)
}

func watchersOfANamespaceOrAnObjectSleepThroughOthers(t *testing.T) {
	f := newFixture(t)
	before := f.put("x/a", "")
	inX, inY := cache.Part{Prefix: "/pods/x/"}, cache.Part{Prefix: "/pods/y/"}
	oneInX := cache.Part{Prefix: "/pods/x/", Key: "/pods/x/a"}
	everything := cache.Part{Prefix: "/pods/"}
	watchers := map[string]*cache.Watcher{
		"x": f.watchPart(inX), "y": f.watchPart(inY), "x/a": f.watchPart(oneInX), "all": f.watchPart(everything),
	}
	names := func() string {
		var woke []string
		for _, name := range []string{"x", "x/a", "y", "all"} {
			if woken(watchers[name].Woken()) {
				woke = append(woke, name)
			}
		}
		return fmt.Sprint(woke)
	}
	for _, step := range []struct {
		change func() int64
		want   string
	}{
		{func() int64 { return f.put("x/b", "") }, "[x all]"},
		{func() int64 { return f.put("x/a", "") }, "[x x/a all]"},
		{func() int64 { return f.put("y/a", "") }, "[y all]"},
		{func() int64 { return f.remove("x/a") }, "[x x/a all]"},
	} {
		revision := step.change()
		if got := names(); got != step.want {
			t.Errorf("woken at %d: %s, want %s", revision, got, step.want)
		}
	}
	seen := func(what, want string, w *cache.Watcher) {
		t.Helper()
		if got, at, _ := f.names(w); fmt.Sprint(got) != want || at != f.cache.Revision() {
			t.Errorf("%s: %v at %d, want %s at %d", what, got, at, want, f.cache.Revision())
		}
	}
	seen("watcher of x", "[x/b x/a x/a]", watchers["x"])
	seen("watcher of x/a", "[x/a x/a]", watchers["x/a"])
	seen("watcher of y", "[y/a]", watchers["y"])
	seen("watcher of all", "[x/b x/a y/a x/a]", watchers["all"])

	for name, tc := range map[string]struct {
		part cache.Part
		want string
	}{
		"x": {inX, "[x/b x/a x/a]"}, "x/a": {oneInX, "[x/a x/a]"}, "y": {inY, "[y/a]"}, "all": {everything, "[x/b x/a y/a x/a]"},
	} {
		for _, others := range []bool{true, false} {
			resumed, err := f.cache.Watch(before, tc.part)
			if err != nil {
				t.Fatal(err)
			}
			seen(fmt.Sprintf("resumed watcher of %s, others there: %t", name, others), tc.want, resumed)
			resumed.Stop()
			if others {
				watchers[name].Stop()
			}
		}
	}
}

// A watcher that is stopped leaves the others of its lane in their places.
func TestStoppedWatchersAreNotWoken(t *testing.T) {
	synctest.Test(t, stoppedWatchersAreNotWoken)
}

func stoppedWatchersAreNotWoken(t *testing.T) {
	f := newFixture(t)
	var all []*cache.Watcher
	for range 5 {
		all = append(all, f.watchPart(cache.Part{Prefix: "/pods/x/"}))
	}
	for _, i := range []int{1, 4, 0} {
		all[i].Stop()
		all[i].Stop() // which does nothing
	}
	f.put("x/a", "")
	for i, w := range all {
		if got, want := woken(w.Woken()), i == 2 || i == 3; got != want {
			t.Errorf("watcher %d is woken: %t, want %t", i, got, want)
		}
	}
}

package cache_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/testseed"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// label stores a pod with labels and waits until the cache has it.
func (f *fixture) label(name string, labels map[string]string) int64 {
	f.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	draft, err := cache.NewDraft(f.kind, "/pods/"+name, pod, cache.Envelope{})
	if err != nil {
		f.t.Fatal(err)
	}
	result, err := f.backend.Commit(f.t.Context(), backend.Op{Type: backend.Put, Key: "/pods/" + name, Value: draft.Value(), Expect: backend.Any})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.cache.Reach(f.t.Context(), result.Revision); err != nil {
		f.t.Fatal(err)
	}
	return result.Revision
}

// labelled is the labels that pods have.
type labelled map[string]map[string]string

// having returns the keys of the pods that have a label, in order.
func (l labelled) having(label cache.Label, prefix, after string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		key := "/pods/" + name
		if value, has := l[name][label.Key]; has && value == label.Value && strings.HasPrefix(key, prefix) && key > after {
			out = append(out, key)
		}
	}
	return out
}

func keysOf(t *testing.T, s cache.Snapshot, prefix, after string) []string {
	t.Helper()
	var out []string
	err := s.Ascend(t.Context(), prefix, after, func(v *cache.Version) bool {
		out = append(out, v.Key)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What an index shows is exactly what has the label: now, in snapshots that are
// held, and as of each past revision.
func TestALabelIndexIsExact(t *testing.T) {
	f := newFixture(t)
	rnd := rand.New(rand.NewPCG(testseed.Of(t), 1))
	now, states, held := labelled{}, map[int64]labelled{}, map[int64]cache.Snapshot{}
	keys, values := []string{"app", "tier"}, []string{"", "a", "b", "c"}
	times := testseed.Times(t, 300)
	for i := range times {
		switch i {
		case times / 4, times/4 + 1: // wanted twice
			f.cache.Want([]cache.Label{{Key: keys[0]}})
		case times / 3, times/3 + 1:
			f.cache.Want([]cache.Label{{Key: keys[1]}})
		}
		name := fmt.Sprintf("%s/p%d", []string{"x", "y"}[rnd.IntN(2)], rnd.IntN(20))
		var revision int64
		if _, there := now[name]; there && rnd.IntN(4) == 0 {
			revision = f.remove(name)
			delete(now, name)
		} else {
			labels := map[string]string{}
			for _, key := range keys {
				if rnd.IntN(3) > 0 {
					labels[key] = values[rnd.IntN(len(values))]
				}
			}
			revision = f.label(name, labels)
			now[name] = labels
		}
		states[revision] = maps.Clone(now)
		if rnd.IntN(10) == 0 {
			held[revision] = f.cache.Snapshot()
		}
	}
	check := func(what string, s cache.Snapshot, state labelled) {
		t.Helper()
		for _, from := range []struct{ prefix, after string }{{"/pods/", ""}, {"/pods/x/", ""}, {"/pods/y/", "/pods/y/p13"}, {"/pods/", "/pods/x/p2"}} {
			for _, key := range keys {
				for _, value := range values {
					l := cache.Label{Key: key, Value: value}
					if diff := cmp.Diff(state.having(l, from.prefix, from.after), keysOf(t, s.Labelled([]cache.Label{l}), from.prefix, from.after)); diff != "" {
						t.Errorf("%v %s, %+v (-want +got):\n%s", l, what, from, diff)
					}
				}
			}
		}
	}
	check("now", f.cache.Snapshot(), now)
	indexed := slices.Sorted(maps.Keys(states))[times/2:]
	for _, revision := range indexed {
		check(fmt.Sprintf("as of %d", revision), f.cache.SnapshotAt(revision), states[revision])
		if s, there := held[revision]; there {
			check(fmt.Sprintf("held since %d", revision), s, states[revision])
		}
	}
}

// A label has an index from the second time on that it is wanted; until then, and
// for a label that has none, all objects are shown.
func TestLabelIndexesAreMadeWhenWanted(t *testing.T) {
	f := newFixture(t)
	for n := range 100 {
		f.label(fmt.Sprintf("p%02d", n), map[string]string{
			"a": "1", "b": fmt.Sprint(n % 2), "c": fmt.Sprint(n % 10), "d": "1", "e": "1",
		})
	}
	shown := func(labels ...cache.Label) int {
		t.Helper()
		f.cache.Want(labels)
		return len(keysOf(t, f.cache.Snapshot().Labelled(labels), "/pods/", ""))
	}
	a, b, c := cache.Label{Key: "a", Value: "1"}, cache.Label{Key: "b", Value: "1"}, cache.Label{Key: "c", Value: "1"}
	for i, step := range []struct {
		labels []cache.Label
		want   int
	}{
		{nil, 100},
		{[]cache.Label{b}, 100},
		{[]cache.Label{b}, 50},
		{[]cache.Label{{Key: "b", Value: "none"}}, 0},
		{[]cache.Label{a, b, c}, 50}, // a and c are wanted for the first time
		{[]cache.Label{a, b, c}, 10}, // the rarest
		{[]cache.Label{{Key: "d", Value: "none"}}, 100},
		{[]cache.Label{{Key: "d", Value: "none"}}, 0},
		{[]cache.Label{{Key: "e", Value: "none"}}, 100},
		{[]cache.Label{{Key: "e", Value: "none"}}, 100}, // there are four already, and all in use
	} {
		if got := shown(step.labels...); got != step.want {
			t.Errorf("step %d: %v shows %d objects, want %d", i, step.labels, got, step.want)
		}
	}
}

package cache_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/internal/testseed"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// remove deletes a pod and waits until the cache knows.
func (f *fixture) remove(name string) int64 {
	f.t.Helper()
	result, err := f.backend.Commit(f.t.Context(), backend.Op{Type: backend.Delete, Key: "/pods/" + name, Expect: backend.Any})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.cache.Reach(f.t.Context(), result.Revision); err != nil {
		f.t.Fatal(err)
	}
	return result.Revision
}

// shown returns the pods of a snapshot as name@revision, in its order.
func (f *fixture) shown(s cache.Snapshot, prefix, after string) []string {
	f.t.Helper()
	var out []string
	err := s.Ascend(f.t.Context(), prefix, after, func(v *cache.Version) bool {
		out = append(out, fmt.Sprintf("%s@%d", v.Key, v.Revision))
		return true
	})
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := s.Count(f.t.Context(), prefix, after)
	if err != nil || n != int64(len(out)) {
		f.t.Errorf("the snapshot counts %d (%v) and shows %d", n, err, len(out))
	}
	return out
}

// place is where a pod was at a revision.
type place struct {
	node     string
	revision int64
}

// expected is what a state shows of a node's pods.
func expected(state map[string]place, node *string, prefix, after string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(state)) {
		key, at := "/pods/"+name, state[name]
		if strings.HasPrefix(key, prefix) && key > after && (node == nil || at.node == *node) {
			out = append(out, fmt.Sprintf("%s@%d", key, at.revision))
		}
	}
	return out
}

// movement is pods that come, move and go at random, and what is known of them.
type movement struct {
	*fixture
	nodes []string
	// now is the true state, states what it was after each change.
	now    map[string]place
	states map[int64]map[string]place
	// held are snapshots that were taken at these revisions.
	held map[int64]cache.Snapshot
	// watchers watch one node each, from the beginning; seen is what they know.
	watchers map[string]*cache.Watcher
	seen     map[string]map[string]place
}

func newMovement(f *fixture) *movement {
	m := &movement{
		fixture: f, nodes: []string{"", "n1", "n2", "n3"},
		now: map[string]place{}, states: map[int64]map[string]place{}, held: map[int64]cache.Snapshot{},
		watchers: map[string]*cache.Watcher{}, seen: map[string]map[string]place{},
	}
	for _, node := range m.nodes {
		snapshot, w := f.cache.WatchPresent(cache.Part{Only: &node})
		f.t.Cleanup(w.Stop)
		m.watchers[node], m.seen[node] = w, map[string]place{}
		if got := f.shown(snapshot, "/pods/", ""); len(got) > 0 {
			f.t.Fatalf("pods of node %q at the beginning: %v", node, got)
		}
	}
	return m
}

// change changes one pod.
func (m *movement) change(rnd *rand.Rand) {
	name := fmt.Sprintf("%s/p%d", []string{"a", "b"}[rnd.IntN(2)], rnd.IntN(20))
	var revision int64
	if _, there := m.now[name]; there && rnd.IntN(4) == 0 {
		revision = m.remove(name)
		delete(m.now, name)
	} else {
		node := m.nodes[rnd.IntN(len(m.nodes))]
		revision = m.put(name, node)
		m.now[name] = place{node, revision}
	}
	m.states[revision] = maps.Clone(m.now)
	if rnd.IntN(20) == 0 {
		m.held[revision] = m.cache.Snapshot()
	}
}

// What is shown of one node's pods is exactly what a look at all pods would
// find, whatever moves: now, at each past revision, whether it is in memory or
// not, page by page, and by a watch from its beginning on.
func TestAViewOfOneNodeIsExact(t *testing.T) {
	m := newMovement(newFixture(t))
	rnd := rand.New(rand.NewPCG(testseed.Of(t), 1))
	for range testseed.Times(t, 200) {
		m.change(rnd)
		if rnd.IntN(20) == 0 {
			m.checkWatchers()
		}
	}
	m.checkWatchers()
	m.checkPresent()
	for revision, snapshot := range m.held {
		m.checkSnapshot(fmt.Sprintf("held since %d", revision), snapshot, m.states[revision])
	}
	late := m.another() // it knows nothing of the past, which it reads from the backend
	for revision, state := range m.states {
		if rnd.IntN(4) == 0 {
			m.checkSnapshot(fmt.Sprintf("as of %d", revision), m.cache.SnapshotAt(revision), state)
			m.checkSnapshot(fmt.Sprintf("read as of %d", revision), late.SnapshotAt(revision), state)
		}
	}
}

// checkPresent compares what is read without a snapshot with the truth.
func (m *movement) checkPresent() {
	m.t.Helper()
	for _, node := range m.nodes {
		for _, prefix := range []string{"/pods/", "/pods/a/", "/pods/b/"} {
			var got []string
			for _, v := range m.cache.Only(node, prefix) {
				got = append(got, fmt.Sprintf("%s@%d", v.Key, v.Revision))
			}
			if diff := cmp.Diff(expected(m.now, &node, prefix, ""), got); diff != "" {
				m.t.Errorf("pods of node %q now (-want +got):\n%s", node, diff)
			}
		}
	}
}

// checkSnapshot compares each node's part of a snapshot, and all of it, with the
// truth.
func (m *movement) checkSnapshot(what string, s cache.Snapshot, state map[string]place) {
	m.t.Helper()
	nowhere := "nowhere"
	nodes := []*string{nil, &nowhere}
	for _, node := range m.nodes {
		nodes = append(nodes, &node)
	}
	for _, node := range nodes {
		for _, from := range []struct{ prefix, after string }{
			{"/pods/", ""}, {"/pods/a/", ""}, {"/pods/b/", "/pods/b/p13"}, {"/pods/", "/pods/a/p2"},
			{"/pods/a/", "/pods/b/p13"}, {"/pods/b/", "/pods/a/p2"}, {"/pods/a/p1", "/pods/a/p1"},
		} {
			if diff := cmp.Diff(expected(state, node, from.prefix, from.after), m.shown(s.Only(node), from.prefix, from.after)); diff != "" {
				m.t.Errorf("%s, %+v (-want +got):\n%s", what, from, diff)
			}
		}
	}
}

// checkWatchers applies what the watchers have to tell and compares what they
// know then with the truth.
func (m *movement) checkWatchers() {
	m.t.Helper()
	for node, w := range m.watchers {
		events, _, err := w.Next(1000)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, e := range events {
			name := e.Version.Key[len("/pods/"):]
			delete(m.seen[node], name)
			if at := e.Version.Field("spec.nodeName"); !e.Deleted && at == node {
				m.seen[node][name] = place{at, e.Revision}
			}
		}
		if diff := cmp.Diff(expected(m.now, &node, "/pods/", ""), expected(m.seen[node], nil, "/pods/", "")); diff != "" {
			m.t.Errorf("pods of node %q as watched (-want +got):\n%s", node, diff)
		}
	}
}

// A kind without such a field has all its objects in every view.
func TestAViewByNoField(t *testing.T) {
	f := newFixture(t)
	kind := *f.kind
	kind.WatchField = ""
	f.kind = &kind
	f.put("a", "n1")
	f.put("b", "n2")
	plain, node := f.another(), "n1"
	if got := f.shown(plain.Snapshot().Only(&node), "/pods/", ""); len(got) != 2 {
		t.Errorf("a view by no field: %v, want both pods", got)
	}
}

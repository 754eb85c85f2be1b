package backendtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/services/store/backend"
)

// everyRevision: what many write at a time are changes with revisions of their own.
// A read as of each of them, in whatever pages, shows exactly the changes up to it,
// and a watch from each exactly the others.
func everyRevision(t *testing.T, b backend.Backend, dir string) {
	const writers, each = 24, 6
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := put(t, b, dir+"start", "s", 0)
	var mu sync.Mutex
	told := make(map[int64]string) // what the writers were told
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			at := int64(0)
			for i := range each {
				op := backend.Op{Type: backend.Put, Key: fmt.Sprintf("%sk%02d", dir, w), Value: fmt.Append(nil, w, i), Expect: at}
				if i == each/2 {
					op.Type, op.Value = backend.Delete, nil
				}
				r, err := b.Commit(ctx, op)
				if err != nil || !r.Committed {
					t.Errorf("writer %d: %+v, %v", w, r, err)
					return
				}
				if newest, err := b.Revision(ctx); err != nil || newest < r.Revision {
					t.Errorf("the newest revision is %d, %v, after a write at %d", newest, err, r.Revision)
				}
				if at = r.Revision; op.Type == backend.Delete {
					at = 0
				}
				mu.Lock()
				told[r.Revision] = op.Key
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	events := collect(t, started(ctx, b, dir, start+1), writers*each)
	seen := make(map[int64]string)
	for _, e := range events {
		seen[e.Revision] = e.Key
	}
	if diff := cmp.Diff(told, seen); diff != "" {
		t.Fatalf("revisions of the writers and of the watch (-want +got):\n%s", diff)
	}
	state := map[string]backend.KeyValue{dir + "start": {Key: dir + "start", Value: []byte("s"), Revision: start}}
	for i, e := range events {
		if i > 0 && e.Revision <= events[i-1].Revision {
			t.Fatalf("the change at %d comes after that at %d", e.Revision, events[i-1].Revision)
		}
		if state[e.Key] = e.KeyValue; e.Deleted {
			delete(state, e.Key)
		}
		showsState(t, b, dir, e.Revision, state)
		if i%writers > 0 {
			continue // a watch that begins in the past may take a while
		}
		if got := collect(t, started(ctx, b, dir, e.Revision), 1)[0]; got.Revision != e.Revision {
			t.Errorf("a watch from %d begins at %d", e.Revision, got.Revision)
		}
	}
}

// showsState checks reads of one key and of all, as of a revision.
func showsState(t *testing.T, b backend.Backend, dir string, revision int64, state map[string]backend.KeyValue) {
	t.Helper()
	want := slices.SortedFunc(maps.Values(state), func(a, b backend.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	opts := backend.ListOptions{Revision: revision, Limit: rand.Int64N(int64(len(state)) + 2)}
	var got []backend.KeyValue
	for {
		page, err := b.List(t.Context(), dir, opts)
		if err != nil {
			t.Fatalf("list as of %d: %v", revision, err)
		}
		if got = append(got, page.Items...); page.Remaining == 0 {
			break
		}
		if n := len(page.Items); n == 0 || opts.Limit > 0 && int64(n) > opts.Limit {
			t.Fatalf("a page as of %d, of which %d keys remain, has %d; the limit is %d", revision, page.Remaining, n, opts.Limit)
		}
		opts.After = page.Items[len(page.Items)-1].Key
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("listed as of %d in pages of %d (-want +got):\n%s", revision, opts.Limit, diff)
	}
	key := fmt.Sprintf("%sk%02d", dir, rand.IntN(24))
	kv, err := b.Get(t.Context(), key, revision)
	if err != nil {
		t.Fatalf("get as of %d: %v", revision, err)
	}
	if wanted, there := state[key]; there != (kv != nil) || there && kv.Revision != wanted.Revision {
		t.Errorf("%s as of %d is %+v, want %+v", key, revision, kv, wanted)
	}
}

// writeSkew: of transactions that each write what the others look at, one is first,
// and the others find that.
func writeSkew(t *testing.T, b backend.Backend, dir string) {
	const keys = 8
	for round := range 20 {
		name := func(i int) string { return fmt.Sprintf("%s%02d/%d", dir, round, i%keys) }
		var committed [keys]bool
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				r, err := b.Commit(t.Context(),
					backend.Op{Type: backend.Put, Key: name(i), Value: []byte("v")},
					backend.Op{Type: backend.Check, Key: name(i + 1)})
				if err != nil {
					t.Error(err)
				}
				committed[i] = r.Committed
			})
		}
		wg.Wait()
		// Each that was committed came before the one that it looked at.
		if !slices.Contains(committed[:], false) {
			t.Fatalf("round %d: each was committed before another: %v", round, committed)
		}
		for i := range keys {
			if !committed[i] && !committed[(i+1)%keys] {
				t.Fatalf("round %d: %d was refused for what was never written: %v", round, i, committed)
			}
		}
	}
}

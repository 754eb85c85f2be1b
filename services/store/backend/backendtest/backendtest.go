// Package backendtest holds the tests that every backend.Backend must pass.
package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/services/store/backend"
)

// Run tests the backends that open makes. Each test uses keys of its own, so
// open may return the same backend every time.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	for name, test := range map[string]func(*testing.T, backend.Backend, string){
		"Conditions":          conditions,
		"Transaction":         transaction,
		"ListPages":           listPages,
		"ReadThePast":         readThePast,
		"Watch":               watch,
		"WatchKeepsRevisions": watchKeepsRevisions,
		"Progress":            progress,
		"ProgressBesideNew":   progressBesideNew,
		"ProgressOfResumed":   progressOfResumed,
		"Compaction":          compaction,
		"Expiry":              expiry,
		"ConcurrentWriters":   concurrentWriters,
		"EveryRevision":       everyRevision,
		"WriteSkew":           writeSkew,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, open(t), "/test/"+name+"/")
		})
	}
}

func put(t *testing.T, b backend.Backend, key, value string, expect int64) int64 {
	t.Helper()
	r, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: key, Value: []byte(value), Expect: expect})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	if !r.Committed {
		t.Fatalf("put %s expecting %d: not committed", key, expect)
	}
	return r.Revision
}

func conditions(t *testing.T, b backend.Backend, dir string) {
	key := dir + "a"
	first := put(t, b, key, "1", 0)
	tests := []struct {
		name      string
		op        backend.Op
		committed bool
	}{
		{"create what exists", backend.Op{Type: backend.Put, Key: key, Value: []byte("x"), Expect: 0}, false},
		{"update an old revision", backend.Op{Type: backend.Put, Key: key, Value: []byte("x"), Expect: first - 1}, false},
		{"delete an old revision", backend.Op{Type: backend.Delete, Key: key, Expect: first - 1}, false},
		{"update", backend.Op{Type: backend.Put, Key: key, Value: []byte("2"), Expect: first}, true},
		{"delete the replaced revision", backend.Op{Type: backend.Delete, Key: key, Expect: first}, false},
		{"delete whatever it is", backend.Op{Type: backend.Delete, Key: key, Expect: backend.Any}, true},
		{"update what is gone", backend.Op{Type: backend.Put, Key: key, Value: []byte("x"), Expect: first}, false},
	}
	for _, test := range tests {
		before, err := b.Get(t.Context(), key, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.Commit(t.Context(), test.op)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if r.Committed != test.committed {
			t.Errorf("%s: committed %t, want %t", test.name, r.Committed, test.committed)
		}
		if !r.Committed {
			if diff := cmp.Diff([]*backend.KeyValue{before}, r.Current); diff != "" {
				t.Errorf("%s: reported as current (-want +got):\n%s", test.name, diff)
			}
		}
	}
}

func transaction(t *testing.T, b backend.Backend, dir string) {
	ctx := t.Context()
	a := put(t, b, dir+"a", "1", 0)
	r, err := b.Commit(ctx,
		backend.Op{Type: backend.Put, Key: dir + "a", Value: []byte("2"), Expect: a},
		backend.Op{Type: backend.Put, Key: dir + "b", Value: []byte("2")},
		backend.Op{Type: backend.Check, Key: dir + "c", Expect: 7})
	if err != nil || r.Committed || len(r.Current) != 3 || r.Current[0] == nil || r.Current[1] != nil {
		t.Fatalf("a transaction with a failing check: %+v, %v", r, err)
	}
	r, err = b.Commit(ctx,
		backend.Op{Type: backend.Put, Key: dir + "a", Value: []byte("2"), Expect: a},
		backend.Op{Type: backend.Put, Key: dir + "b", Value: []byte("2")},
		backend.Op{Type: backend.Check, Key: dir + "c"})
	if err != nil || !r.Committed {
		t.Fatalf("a transaction whose conditions hold: %+v, %v", r, err)
	}
	for i, key := range []string{"a", "b"} {
		kv, err := b.Get(ctx, dir+key, 0)
		if err != nil || kv == nil || string(kv.Value) != "2" || kv.Revision != r.Of(i) {
			t.Errorf("%s after the transaction at %d: %+v, %v", key, r.Of(i), kv, err)
		}
	}
}

func listPages(t *testing.T, b backend.Backend, dir string) {
	ctx := t.Context()
	var want []string
	for i := range 7 {
		key := fmt.Sprintf("%s%d", dir, i)
		want = append(want, key)
		put(t, b, key, "v", 0)
	}
	var got []string
	opts := backend.ListOptions{Limit: 3}
	for {
		page, err := b.List(ctx, dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range page.Items {
			got = append(got, kv.Key)
		}
		if n := int64(len(want) - len(got)); page.Remaining != n {
			t.Errorf("after %d keys %d remain, want %d", len(got), page.Remaining, n)
		}
		if page.Remaining == 0 {
			break
		}
		opts.Revision, opts.After = page.Revision, page.Items[len(page.Items)-1].Key
		put(t, b, dir+"5x"+fmt.Sprint(len(got)), "later", 0) // must not show up
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paged keys (-want +got):\n%s", diff)
	}
	if n, err := b.Count(ctx, dir); err != nil || n != 9 {
		t.Errorf("count %d, %v, want 9", n, err)
	}
}

func readThePast(t *testing.T, b backend.Backend, dir string) {
	ctx := t.Context()
	first := put(t, b, dir+"a", "1", 0)
	second := put(t, b, dir+"a", "2", first)
	if kv, err := b.Get(ctx, dir+"a", first); err != nil || string(kv.Value) != "1" {
		t.Errorf("at %d: %+v, %v", first, kv, err)
	}
	if kv, err := b.Get(ctx, dir+"a", first-1); err != nil || kv != nil {
		t.Errorf("before it was made: %+v, %v", kv, err)
	}
	if _, err := b.Get(ctx, dir+"a", second+1<<32); !errors.Is(err, backend.ErrFutureRevision) {
		t.Errorf("in the future: %v", err)
	}
	if r, err := b.Revision(ctx); err != nil || r < second {
		t.Errorf("revision %d, %v, want at least %d", r, err, second)
	}
}

// started begins a watch, which lasts as long as ctx, and returns what it yields.
func started(ctx context.Context, b backend.Backend, prefix string, revision int64) <-chan backend.Batch {
	out := make(chan backend.Batch)
	go func() {
		defer close(out)
		for batch := range b.Watch(ctx, prefix, revision) {
			select {
			case out <- batch:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// collect reads events until it has n.
func collect(t *testing.T, batches <-chan backend.Batch, n int) []backend.Event {
	t.Helper()
	var events []backend.Event
	for len(events) < n {
		select {
		case batch, ok := <-batches:
			if !ok || batch.Err != nil {
				t.Fatalf("the watch ended after %d of %d events: %v", len(events), n, batch.Err)
			}
			events = append(events, batch.Events...)
		case <-t.Context().Done():
			t.Fatalf("%d of %d events came", len(events), n)
		}
	}
	return events
}

func watch(t *testing.T, b backend.Backend, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := put(t, b, dir+"a", "1", 0)
	fromStart := started(ctx, b, dir, one)
	two := put(t, b, dir+"a", "2", one)
	put(t, b, "/other"+dir, "x", backend.Any)
	r, err := b.Commit(ctx, backend.Op{Type: backend.Delete, Key: dir + "a", Expect: two})
	if err != nil {
		t.Fatal(err)
	}
	want := []backend.Event{
		{KeyValue: backend.KeyValue{Key: dir + "a", Value: []byte("1"), Revision: one}},
		{KeyValue: backend.KeyValue{Key: dir + "a", Value: []byte("2"), Revision: two}},
		{KeyValue: backend.KeyValue{Key: dir + "a", Revision: r.Revision}, Deleted: true},
	}
	if diff := cmp.Diff(want, collect(t, fromStart, 3)); diff != "" {
		t.Errorf("watched from the start (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], collect(t, started(ctx, b, dir, two), 2)); diff != "" {
		t.Errorf("watched from the second revision (-want +got):\n%s", diff)
	}
}

// watchKeepsRevisions: the changes of one transaction come in one batch.
func watchKeepsRevisions(t *testing.T, b backend.Backend, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ops []backend.Op
	for i := range 50 {
		ops = append(ops, backend.Op{Type: backend.Put, Key: fmt.Sprintf("%s%02d", dir, i), Value: []byte("v")})
	}
	r, err := b.Commit(ctx, ops...)
	if err != nil {
		t.Fatal(err)
	}
	first := r.Revision
	for i := range ops {
		first = min(first, r.Of(i))
	}
	batch := <-started(ctx, b, dir, first)
	if len(batch.Events) != len(ops) {
		t.Errorf("the first batch has %d of the transaction's %d changes: %v", len(batch.Events), len(ops), batch.Err)
	}
}

func progress(t *testing.T, b backend.Backend, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	now, err := b.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	batches := started(ctx, b, dir, now+1)
	awaitProgress(ctx, t, b, dir, batches, put(t, b, "/elsewhere"+dir, "x", backend.Any))
}

// progressBesideNew: a watch whose first revision is still to come keeps no
// other watch from hearing how far it is.
func progressBesideNew(t *testing.T, b backend.Backend, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	now, err := b.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	batches := started(ctx, b, dir+"old/", now+1)
	elsewhere := put(t, b, "/elsewhere"+dir, "x", backend.Any)
	started(ctx, b, dir+"new/", elsewhere+1)
	awaitProgress(ctx, t, b, dir+"old/", batches, elsewhere)
}

func awaitProgress(ctx context.Context, t *testing.T, b backend.Backend, dir string, batches <-chan backend.Batch, revision int64) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case batch := <-batches:
			if batch.Err != nil {
				t.Fatal(batch.Err)
			}
			if batch.Progress >= revision {
				return
			}
		case <-ticker.C: // a request may be lost
			if err := b.RequestProgress(ctx, dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// progressOfResumed: a watch that begins in the past is not told of progress
// before it has seen the past, however often progress is asked for.
func progressOfResumed(t *testing.T, b backend.Backend, dir string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first := put(t, b, dir+"k0", "v", 0)
	present := started(ctx, b, dir, first+1)
	for i := range 4 {
		put(t, b, fmt.Sprintf("%sk%d", dir, i+1), "v", 0)
	}
	last := put(t, b, dir+"last", "v", 0)
	var others, wg sync.WaitGroup
	others.Go(func() { // somebody who is up to date
		for range present {
		}
	})
	for range 40 {
		wg.Go(func() {
			own, stop := context.WithCancel(ctx)
			defer stop()
			if err := b.RequestProgress(ctx, dir); err != nil {
				t.Errorf("request progress: %v", err)
			}
			seen := int64(0)
			for batch := range b.Watch(own, dir, first) {
				if batch.Err != nil {
					t.Errorf("watch: %v", batch.Err)
				}
				for _, e := range batch.Events {
					seen = e.Revision
				}
				if batch.Progress >= last && seen < last {
					t.Errorf("progress up to %d was reported after the change at %d", batch.Progress, seen)
				}
				if seen == last {
					return
				}
			}
			t.Errorf("the watch ended at %d, before %d", seen, last)
		})
	}
	wg.Wait()
	cancel()
	others.Wait()
}

func compaction(t *testing.T, b backend.Backend, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := put(t, b, dir+"a", "1", 0)
	put(t, b, dir+"kept", "k", 0)
	second := put(t, b, dir+"a", "2", first)
	if err := b.Compact(ctx, second); err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(ctx, second); err != nil {
		t.Errorf("compacting again: %v", err)
	}
	if _, err := b.Get(ctx, dir+"a", first); !errors.Is(err, backend.ErrCompacted) {
		t.Errorf("read before the compaction: %v", err)
	}
	if _, err := b.List(ctx, dir, backend.ListOptions{Revision: first}); !errors.Is(err, backend.ErrCompacted) {
		t.Errorf("list before the compaction: %v", err)
	}
	if page, err := b.List(ctx, dir, backend.ListOptions{Revision: second}); err != nil || len(page.Items) != 2 {
		t.Errorf("list at the compaction: %+v, %v", page, err)
	}
	if batch := <-started(ctx, b, dir, first); !errors.Is(batch.Err, backend.ErrCompacted) {
		t.Errorf("watch from before the compaction: %+v", batch)
	}
	third := put(t, b, dir+"a", "3", second)
	if got := collect(t, started(ctx, b, dir, third), 1); got[0].Revision != third {
		t.Errorf("watch from after the compaction: %+v", got)
	}
}

func expiry(t *testing.T, b backend.Backend, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := b.Commit(ctx, backend.Op{Type: backend.Put, Key: dir + "a", Value: []byte("v"), TTL: time.Second})
	if err != nil || !r.Committed {
		t.Fatalf("put with a TTL: %+v, %v", r, err)
	}
	if e := collect(t, started(ctx, b, dir, r.Revision+1), 1); !e[0].Deleted {
		t.Errorf("instead of expiring: %+v", e)
	}
}

// concurrentWriters count up together; no count may be lost, and the watch must
// see them all in order.
func concurrentWriters(t *testing.T, b backend.Backend, dir string) {
	const writers, each = 8, 10
	key := dir + "counter"
	start := put(t, b, key, "0", 0)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), b, key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i, e := range collect(t, started(ctx, b, key, start+1), writers*each) {
		if want := fmt.Sprint(i + 1); string(e.Value) != want {
			t.Fatalf("event %d counts %s, want %s", i, e.Value, want)
		}
	}
}

func increment(ctx context.Context, b backend.Backend, key string) error {
	for {
		kv, err := b.Get(ctx, key, 0)
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(string(kv.Value), &n); err != nil {
			return err
		}
		r, err := b.Commit(ctx, backend.Op{Type: backend.Put, Key: key, Value: fmt.Append(nil, n+1), Expect: kv.Revision})
		if err != nil || r.Committed {
			return err
		}
	}
}

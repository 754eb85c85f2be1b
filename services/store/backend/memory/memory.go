// Package memory is a Backend that keeps everything in memory, with revisions
// and compaction as etcd has them. It is for tests and simulations: what it
// holds is gone with the process.
package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	"navarch.dev/navarch/services/store/backend"
)

// Backend is an in-memory backend.Backend.
type Backend struct {
	mu sync.Mutex // guards everything below
	// revision is the newest. It begins at 1, as etcd's does.
	revision int64
	// compacted is the oldest revision that can still be read.
	compacted int64
	keys      *btree.BTreeG[*history]
	// log holds every change after compacted, in order.
	log      []backend.Event
	watchers map[*watcher]struct{}
	timers   map[string]*time.Timer
	closed   bool
}

// history is a key's past, oldest first.
type history struct {
	key      string
	versions []backend.Event
}

// New returns an empty backend.
func New() *Backend {
	return &Backend{
		revision: 1, compacted: 1,
		keys:     btree.NewG(32, func(a, b *history) bool { return a.key < b.key }),
		watchers: make(map[*watcher]struct{}),
		timers:   make(map[string]*time.Timer),
	}
}

// at returns the key's value as of a revision, nil if it was absent.
func (h *history) at(revision int64) *backend.KeyValue {
	for _, v := range slices.Backward(h.versions) {
		if v.Revision > revision {
			continue
		}
		if v.Deleted {
			return nil
		}
		return &v.KeyValue
	}
	return nil
}

// readable resolves 0 to the newest revision and refuses what is out of reach.
func (b *Backend) readable(revision int64) (int64, error) {
	switch {
	case b.closed:
		return 0, backend.ErrUnavailable
	case revision == 0:
		return b.revision, nil
	case revision < b.compacted:
		return 0, backend.ErrCompacted
	case revision > b.revision:
		return 0, backend.ErrFutureRevision
	}
	return revision, nil
}

// Get implements backend.Backend.
func (b *Backend) Get(_ context.Context, key string, revision int64) (*backend.KeyValue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	revision, err := b.readable(revision)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return b.get(key, revision), nil
}

func (b *Backend) get(key string, revision int64) *backend.KeyValue {
	if h, ok := b.keys.Get(&history{key: key}); ok {
		return h.at(revision)
	}
	return nil
}

// List implements backend.Backend.
func (b *Backend) List(_ context.Context, prefix string, opts backend.ListOptions) (backend.Page, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	revision, err := b.readable(opts.Revision)
	if err != nil {
		return backend.Page{}, fmt.Errorf("list %s: %w", prefix, err)
	}
	page := backend.Page{Revision: revision}
	b.keys.AscendGreaterOrEqual(&history{key: max(prefix, opts.After)}, func(h *history) bool {
		if !strings.HasPrefix(h.key, prefix) {
			return false
		}
		kv := h.at(revision)
		if kv == nil || h.key == opts.After {
			return true
		}
		if opts.Limit > 0 && int64(len(page.Items)) >= opts.Limit {
			page.Remaining++
			return true
		}
		page.Items = append(page.Items, *kv)
		return true
	})
	return page, nil
}

// Count implements backend.Backend.
func (b *Backend) Count(ctx context.Context, prefix string) (int64, error) {
	page, err := b.List(ctx, prefix, backend.ListOptions{})
	return int64(len(page.Items)), err
}

// Revision implements backend.Backend.
func (b *Backend) Revision(context.Context) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.readable(0)
}

// Between implements backend.Backend.
func (*Backend) Between(earlier, later int64) int64 { return later - earlier }

// Known implements backend.Backend. Whoever wants to know asks for the revision,
// which takes no time here.
func (*Backend) Known(string) (int64, bool) { return 0, false }

// Commit implements backend.Backend.
func (b *Backend) Commit(_ context.Context, ops ...backend.Op) (backend.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return backend.Result{}, fmt.Errorf("commit: %w", backend.ErrUnavailable)
	}
	current := make([]*backend.KeyValue, len(ops))
	holds := true
	for i, op := range ops {
		current[i] = b.get(op.Key, b.revision)
		holds = holds && meets(current[i], op.Expect)
	}
	if !holds {
		return backend.Result{Revision: b.revision, Current: current}, nil
	}
	b.apply(ops, current)
	return backend.Result{Committed: true, Revision: b.revision}, nil
}

func meets(kv *backend.KeyValue, expect int64) bool {
	switch {
	case expect == backend.Any:
		return true
	case kv == nil:
		return expect == 0
	}
	return kv.Revision == expect
}

// apply makes the changes of a transaction whose conditions hold.
func (b *Backend) apply(ops []backend.Op, current []*backend.KeyValue) {
	next := b.revision + 1
	var events []backend.Event
	for i, op := range ops {
		switch {
		case op.Type == backend.Put:
			events = append(events, backend.Event{KeyValue: backend.KeyValue{Key: op.Key, Value: op.Value, Revision: next}})
			b.expire(op.Key, next, op.TTL)
		case op.Type == backend.Delete && current[i] != nil:
			events = append(events, backend.Event{KeyValue: backend.KeyValue{Key: op.Key, Revision: next}, Deleted: true})
		}
	}
	if len(events) == 0 {
		return
	}
	b.revision = next
	for _, e := range events {
		h, ok := b.keys.Get(&history{key: e.Key})
		if !ok {
			h = &history{key: e.Key}
			b.keys.ReplaceOrInsert(h)
		}
		h.versions = append(h.versions, e)
	}
	b.log = append(b.log, events...)
	b.wake()
}

// expire removes a key after ttl unless it has been written again by then.
func (b *Backend) expire(key string, revision int64, ttl time.Duration) {
	if t, ok := b.timers[key]; ok {
		t.Stop()
		delete(b.timers, key)
	}
	if ttl <= 0 {
		return
	}
	b.timers[key] = time.AfterFunc(ttl, func() {
		// The key may have been written or removed meanwhile; then the
		// condition fails, and that is right.
		_, _ = b.Commit(context.Background(), backend.Op{Type: backend.Delete, Key: key, Expect: revision})
	})
}

// Compact implements backend.Backend.
func (b *Backend) Compact(_ context.Context, revision int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case revision <= b.compacted:
		return nil
	case revision > b.revision:
		return fmt.Errorf("compact at %d: %w", revision, backend.ErrFutureRevision)
	}
	b.compacted = revision
	var gone []*history
	b.keys.Ascend(func(h *history) bool {
		if h.compact(revision); len(h.versions) == 0 {
			gone = append(gone, h)
		}
		return true
	})
	for _, h := range gone {
		b.keys.Delete(h)
	}
	b.log = slices.Clone(b.log[b.after(revision-1):])
	b.wake()
	return nil
}

// compact drops the versions that no revision from the given one on can see.
func (h *history) compact(revision int64) {
	first := 0
	for i, v := range h.versions {
		if v.Revision <= revision {
			first = i
		}
	}
	if v := h.versions[first]; v.Deleted && v.Revision <= revision {
		first++
	}
	h.versions = slices.Clone(h.versions[first:])
}

// after returns the position in the log of the first change after a revision.
func (b *Backend) after(revision int64) int {
	i, _ := slices.BinarySearchFunc(b.log, revision+1, func(e backend.Event, r int64) int {
		return int(e.Revision - r)
	})
	return i
}

// Close implements backend.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, t := range b.timers {
		t.Stop()
	}
	b.wake()
	return nil
}

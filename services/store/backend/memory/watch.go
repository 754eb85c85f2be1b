package memory

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"navarch.dev/navarch/services/store/backend"
)

// watcher reads the log at its own pace.
type watcher struct {
	prefix string
	// next is the first revision it has not seen; only its goroutine uses it.
	next int64
	// wake has room for one token: there may be something to do.
	wake chan struct{}
	// progress says that a report was asked for; guarded by Backend.mu.
	progress bool
}

// Watch implements backend.Backend.
func (b *Backend) Watch(ctx context.Context, prefix string, revision int64) iter.Seq[backend.Batch] {
	return func(yield func(backend.Batch) bool) {
		w := &watcher{prefix: prefix, next: revision, wake: make(chan struct{}, 1)}
		b.mu.Lock()
		b.watchers[w] = struct{}{}
		b.mu.Unlock()
		defer b.forget(w)
		w.signal()
		b.follow(ctx, w, yield)
	}
}

func (b *Backend) forget(w *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchers, w)
}

// follow hands changes to one watcher until it wants no more, ctx or the watch
// ends.
func (b *Backend) follow(ctx context.Context, w *watcher, yield func(backend.Batch) bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		batch := b.collect(w)
		if len(batch.Events) == 0 && batch.Progress == 0 && batch.Err == nil {
			continue
		}
		if ctx.Err() != nil || !yield(batch) || batch.Err != nil {
			return
		}
	}
}

// collect takes what a watcher has not seen yet.
func (b *Backend) collect(w *watcher) backend.Batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return backend.Batch{Err: fmt.Errorf("watch %s: %w", w.prefix, backend.ErrUnavailable)}
	case w.next < b.compacted:
		return backend.Batch{Err: fmt.Errorf("watch %s from %d: %w", w.prefix, w.next, backend.ErrCompacted)}
	}
	var batch backend.Batch
	for _, e := range b.log[b.after(w.next-1):] {
		if strings.HasPrefix(e.Key, w.prefix) {
			batch.Events = append(batch.Events, e)
		}
	}
	w.next = max(w.next, b.revision+1)
	if w.progress || len(batch.Events) > 0 {
		batch.Progress = b.revision
		w.progress = false
	}
	return batch
}

// RequestProgress implements backend.Backend.
func (b *Backend) RequestProgress(_ context.Context, prefix string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		w.progress = w.progress || w.prefix == prefix
	}
	b.wake()
	return nil
}

// wake tells every watcher to look. The caller holds mu.
func (b *Backend) wake() {
	for w := range b.watchers {
		w.signal()
	}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

var _ backend.Backend = (*Backend)(nil)

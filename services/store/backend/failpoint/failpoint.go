// Package failpoint makes a backend fail at named points, for tests of what is
// built on it. A point does nothing until it is armed; then it strikes as often
// as it was told to.
//
//	b := failpoint.New(memory.New())
//	b.Arm(failpoint.AnswerLost, 1)
//	_, err := b.Commit(ctx, op) // has committed; err is backend.ErrUnavailable
package failpoint

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"navarch.dev/navarch/services/store/backend"
)

// Point is where a Backend can fail.
type Point string

// The points.
const (
	// CommitFails: a transaction is refused, and nothing is written.
	CommitFails Point = "commit fails"
	// AnswerLost: a transaction is committed, but whoever asked for it does not
	// learn that.
	AnswerLost Point = "committed but the answer got lost"
	// ReadFails: a Get, List or Revision finds the backend unavailable.
	ReadFails Point = "read fails"
	// WatchBroke: a watch ends before it delivers its next batch.
	WatchBroke Point = "watch broke"
	// WatchCompacted: a watch is told that what it was to deliver next has been
	// compacted.
	WatchCompacted Point = "compacted"
	// ProgressLost: a request for progress is never answered.
	ProgressLost Point = "progress lost"
)

// Points returns all of them.
func Points() []Point {
	return []Point{CommitFails, AnswerLost, ReadFails, WatchBroke, WatchCompacted, ProgressLost}
}

// Backend is a backend that can be made to fail.
type Backend struct {
	backend.Backend

	mu    sync.Mutex // guards armed
	armed map[Point]int
}

// New returns a backend that does what another does, but at its points.
func New(b backend.Backend) *Backend {
	return &Backend{Backend: b, armed: make(map[Point]int)}
}

// Arm makes a point strike the next times it is passed.
func (b *Backend) Arm(p Point, times int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed[p] += times
}

// Disarm makes every point let everything pass.
func (b *Backend) Disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.armed)
}

// strikes says whether a point that is passed now does harm.
func (b *Backend) strikes(p Point) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.armed[p] == 0 {
		return false
	}
	b.armed[p]--
	return true
}

func (p Point) err() error { return fmt.Errorf("failpoint %q: %w", string(p), backend.ErrUnavailable) }

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, key string, revision int64) (*backend.KeyValue, error) {
	if b.strikes(ReadFails) {
		return nil, ReadFails.err()
	}
	return b.Backend.Get(ctx, key, revision)
}

// List implements backend.Backend.
func (b *Backend) List(ctx context.Context, prefix string, opts backend.ListOptions) (backend.Page, error) {
	if b.strikes(ReadFails) {
		return backend.Page{}, ReadFails.err()
	}
	return b.Backend.List(ctx, prefix, opts)
}

// Revision implements backend.Backend.
func (b *Backend) Revision(ctx context.Context) (int64, error) {
	if b.strikes(ReadFails) {
		return 0, ReadFails.err()
	}
	return b.Backend.Revision(ctx)
}

// Commit implements backend.Backend.
func (b *Backend) Commit(ctx context.Context, ops ...backend.Op) (backend.Result, error) {
	if b.strikes(CommitFails) {
		return backend.Result{}, CommitFails.err()
	}
	result, err := b.Backend.Commit(ctx, ops...)
	if err == nil && b.strikes(AnswerLost) {
		return backend.Result{}, AnswerLost.err()
	}
	return result, err
}

// RequestProgress implements backend.Backend.
func (b *Backend) RequestProgress(ctx context.Context, prefix string) error {
	if b.strikes(ProgressLost) {
		return nil
	}
	return b.Backend.RequestProgress(ctx, prefix)
}

// Watch implements backend.Backend.
func (b *Backend) Watch(ctx context.Context, prefix string, revision int64) iter.Seq[backend.Batch] {
	return func(yield func(backend.Batch) bool) {
		for batch := range b.Backend.Watch(ctx, prefix, revision) {
			switch {
			case b.strikes(WatchBroke):
				batch = backend.Batch{Err: WatchBroke.err()}
			case b.strikes(WatchCompacted):
				batch = backend.Batch{Err: fmt.Errorf("failpoint %q: %w", string(WatchCompacted), backend.ErrCompacted)}
			}
			if !yield(batch) || batch.Err != nil {
				return
			}
		}
	}
}

var _ backend.Backend = (*Backend)(nil)

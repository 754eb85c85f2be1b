package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"navarch.dev/navarch/services/store/backend"
)

// progressInterval is how often a reader that waits for the cache to catch up
// asks the backend how far its watch has come.
const progressInterval = 50 * time.Millisecond

// progressAge is how far back the revision of a cache that is read may lie: whoever
// lists the resource goes on from there, and the past is dropped some time.
const progressAge = 30 * time.Second

// Fresh waits until the cache holds everything that was written before the
// call.
func (c *Cache) Fresh(ctx context.Context) error {
	c.want()
	if revision, ok := c.backend.Known(c.prefix); ok {
		c.moveOn(ctx)
		return c.Reach(ctx, revision)
	}
	revision, err := c.clock.Now(ctx)
	if err != nil {
		return fmt.Errorf("read the newest revision: %w", err)
	}
	return c.Reach(ctx, revision)
}

// moveOn sees to it that the revision of a resource that is read, but does not change,
// follows that of the backend from a distance.
func (c *Cache) moveOn(ctx context.Context) {
	now, asked := time.Now().UnixNano(), c.movedOn.Load()
	if now-asked > int64(progressAge) && c.movedOn.CompareAndSwap(asked, now) {
		c.requestProgress(ctx)
	}
}

// Wrote tells the cache that this process changed the resource at a revision.
func (c *Cache) Wrote(revision int64) {
	for {
		have := c.wrote.Load()
		if have >= revision || c.wrote.CompareAndSwap(have, revision) {
			return
		}
	}
}

// Settled waits until the cache holds what this process has written. It costs
// nothing where that is so already, as it mostly is; what other processes have
// just written may be missing.
func (c *Cache) Settled(ctx context.Context) error { return c.Reach(ctx, c.wrote.Load()) }

// Reach waits until the cache has reached a revision. It gives up when ctx
// ends, with ErrFuture if the cache is alive but has not come that far.
func (c *Cache) Reach(ctx context.Context, revision int64) error {
	c.want()
	for {
		c.mu.RLock()
		ready, closed, reached, changed := c.ready, c.closed, c.revision, c.changed
		c.mu.RUnlock()
		if closed {
			return ErrClosed
		}
		if ready && reached >= revision {
			return nil
		}
		if ready && c.asked.Swap(revision) < revision {
			c.requestProgress(ctx)
		}
		timer := time.NewTimer(progressInterval)
		select {
		case <-changed:
		case <-timer.C:
			if ready {
				c.requestProgress(ctx)
			}
		case <-ctx.Done():
			timer.Stop()
			if ready {
				return fmt.Errorf("%w: %d, the newest is %d", ErrFuture, revision, reached)
			}
			return ctx.Err()
		}
		timer.Stop()
	}
}

func (c *Cache) requestProgress(ctx context.Context) {
	if err := c.backend.RequestProgress(ctx, c.prefix); err != nil && ctx.Err() == nil {
		c.log.DebugContext(ctx, "the backend was not asked for its progress", "error", err)
	}
}

// Get returns the present version of a key, nil if there is none. Call Fresh
// or Reach first.
func (c *Cache) Get(key string) *Version {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.items.get(key)
}

// Only returns the present versions whose key begins with prefix and in which
// the kind's WatchField has a value, in order; all with that prefix where the
// kind has no such field. It is for few: it makes no Snapshot, but nobody writes
// to the cache meanwhile. Call Fresh or Reach first.
func (c *Cache) Only(value, prefix string) []*Version {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*Version
	c.items.ascend(&value, prefix, "", func(v *Version) bool {
		out = append(out, v)
		return true
	})
	return out
}

// Revision returns the revision that the cache has reached.
func (c *Cache) Revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// LastChange returns a number that differs after every change of the resource.
func (c *Cache) LastChange() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.history.next() + int64(c.epoch)<<40
}

// Snapshot is the state of a resource as of one revision.
type Snapshot struct {
	// Revision is the one that the snapshot shows.
	Revision int64
	items    present
	// only is the value of the kind's WatchField that is looked for; nil for all.
	only *string
	// label is the index in which a value is looked for; nil for all.
	label *labelIndex
	value string
	// past is where a state is read from that is no longer in memory; nil for
	// one that is.
	past *Cache
}

// Only returns the part of the snapshot in which the kind's WatchField has a
// value: all of it if value is nil, or if the kind has no such field.
func (s Snapshot) Only(value *string) Snapshot {
	s.only = value
	return s
}

// Ascend calls yield for each version whose key begins with prefix and is
// greater than after, in order, until yield returns false. It fails only on a
// snapshot of SnapshotAt, with ErrExpired if that has been dropped meanwhile.
func (s Snapshot) Ascend(ctx context.Context, prefix, after string, yield func(*Version) bool) error {
	if s.past != nil {
		return s.past.ascendPast(ctx, s.Revision, prefix, after, s.picked(yield))
	}
	if s.label != nil && (s.only == nil || s.items.byValue == nil) {
		s.label.ascend(s.value, prefix, after, yield)
		return nil
	}
	s.items.ascend(s.only, prefix, after, yield)
	return nil
}

// picked returns a yield for versions of the past, which are in the order of
// their keys alone.
func (s Snapshot) picked(yield func(*Version) bool) func(*Version) bool {
	field := s.past.kind.WatchField
	if s.only == nil || field == "" {
		return yield
	}
	return func(v *Version) bool { return v.Field(field) != *s.only || yield(v) }
}

// Count returns how many versions Ascend would yield, without decoding them
// where the snapshot is of all values.
func (s Snapshot) Count(ctx context.Context, prefix, after string) (int64, error) {
	if s.past != nil && s.only == nil {
		page, err := s.past.listPast(ctx, prefix, backend.ListOptions{Revision: s.Revision, After: after, Limit: 1})
		return int64(len(page.Items)) + page.Remaining, err
	}
	n := int64(0)
	err := s.Ascend(ctx, prefix, after, func(*Version) bool { n++; return true })
	return n, err
}

// Snapshot returns the present state.
func (c *Cache) Snapshot() Snapshot {
	c.mu.Lock() // not RLock: Clone marks the tree as shared
	defer c.mu.Unlock()
	return Snapshot{Revision: c.revision, items: c.items.clone()}
}

// SnapshotAt returns the state as of a revision that the cache has reached:
// from memory where the history of changes reaches back that far, or else one
// that is read from the backend as far as it is looked at.
func (c *Cache) SnapshotAt(revision int64) Snapshot {
	if s, ok := c.rewind(revision); ok {
		return s
	}
	return Snapshot{Revision: revision, past: c}
}

// pastPage is how many keys are read from the backend at a time.
const pastPage = 500

// ascendPast is Ascend as of a revision that only the backend still knows.
func (c *Cache) ascendPast(ctx context.Context, revision int64, prefix, after string, yield func(*Version) bool) error {
	opts := backend.ListOptions{Revision: revision, After: after, Limit: pastPage}
	for {
		page, err := c.listPast(ctx, prefix, opts)
		if err != nil {
			return err
		}
		for _, kv := range page.Items {
			v, err := Decode(c.kind, kv)
			if err != nil {
				return err
			}
			if !yield(v) {
				return nil
			}
			opts.After = kv.Key
		}
		if page.Remaining == 0 || len(page.Items) == 0 {
			return nil
		}
	}
}

func (c *Cache) listPast(ctx context.Context, prefix string, opts backend.ListOptions) (backend.Page, error) {
	page, err := c.backend.List(ctx, prefix, opts)
	switch {
	case errors.Is(err, backend.ErrCompacted):
		return page, fmt.Errorf("%w: %w", ErrExpired, err)
	case err != nil:
		return page, fmt.Errorf("read %s as of %d: %w", prefix, opts.Revision, err)
	}
	return page, nil
}

// rewind undoes the changes after a revision, if the history holds them all.
func (c *Cache) rewind(revision int64) (Snapshot, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready || revision < c.history.since || revision > c.revision {
		return Snapshot{}, false
	}
	items := c.items.clone()
	for n := c.history.next() - 1; n >= c.history.after(revision); n-- {
		e := c.history.events[n-c.history.first]
		if e.Prev != nil {
			items.put(e.Prev)
		} else {
			items.remove(e.Version.Key)
		}
	}
	return Snapshot{Revision: revision, items: items}, true
}

// LastRemoval returns the newest removal of a key that the cache remembers, of
// those before a revision unless that is 0.
func (c *Cache) LastRemoval(key string, before int64) (Event, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.history.lastRemoval(key, before)
}

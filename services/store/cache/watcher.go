package cache

import "fmt"

// Watcher is a position in the history of a resource, or in the part of it
// that concerns one value of the kind's WatchField. It belongs to one
// goroutine.
type Watcher struct {
	cache *Cache
	epoch int
	// next is the number of the first change not yet seen.
	next int64
	// revision is the one up to which the watcher has seen everything.
	revision int64
	// lane is nil for a watcher of all changes.
	lane  *lane
	value string
}

// Watch returns a watcher of the changes after a revision that the cache has
// reached, or ErrExpired. only, if not nil, is the value of the kind's
// WatchField, before or after a change, that the watcher is for: it gets those
// changes alone. Stop the watcher in the end.
func (c *Cache) Watch(revision int64, only *string) (*Watcher, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready || revision < c.history.since {
		return nil, &ExpiredError{Revision: revision, Oldest: c.history.since}
	}
	return c.watcher(c.history.after(revision), revision, only), nil
}

// WatchPresent returns the present state, as far as it has the value of only,
// and a watcher of the changes after it, as Watch does.
func (c *Cache) WatchPresent(only *string) (Snapshot, *Watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Snapshot{Revision: c.revision, items: c.items.clone(), only: only}, c.watcher(c.history.next(), c.revision, only)
}

// watcher returns a watcher at a position. The caller holds mu.
func (c *Cache) watcher(next, revision int64, only *string) *Watcher {
	w := &Watcher{cache: c, epoch: c.epoch, next: next, revision: revision}
	if only != nil && c.kind.WatchField != "" {
		w.lane, w.value = c.history.lanes.get(*only), *only
		w.lane.watchers++
	}
	return w
}

// Stop ends the watch.
func (w *Watcher) Stop() {
	if w.lane == nil {
		return
	}
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	w.lane.watchers--
	w.cache.history.lanes.discard(w.value)
	w.lane = nil
}

// Next returns the changes that the watcher has not seen, at most about limit,
// in order, without waiting, and the revision up to which it has now seen
// everything. more is closed when there may be further ones; it is closed
// already if the limit was met. ErrSlow and ErrExpired end the watch.
func (w *Watcher) Next(limit int) (events []Event, revision int64, more <-chan struct{}, err error) {
	c := w.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	if w.epoch != c.epoch {
		return nil, w.revision, nil, fmt.Errorf("%w: the watch cache had to start over", ErrExpired)
	}
	if w.lane != nil {
		return w.nextInLane(limit)
	}
	if w.next < c.history.first {
		return nil, w.revision, nil, fmt.Errorf("%w: %d changes behind", ErrSlow, c.history.next()-w.next)
	}
	events = c.history.from(w.next, limit)
	w.next += int64(len(events))
	return w.moved(events, w.next < c.history.next(), c.changed)
}

// nextInLane is Next for a watcher of a lane. The caller holds mu.
func (w *Watcher) nextInLane(limit int) ([]Event, int64, <-chan struct{}, error) {
	h := &w.cache.history
	if w.next < w.lane.dropped {
		return nil, w.revision, nil, fmt.Errorf("%w: %d changes behind", ErrSlow, h.next()-w.next)
	}
	numbers := w.lane.from(w.next)
	events := h.pick(numbers, limit)
	rest := len(events) < len(numbers)
	if rest {
		w.next = numbers[len(events)]
	} else {
		w.next = h.next()
	}
	return w.moved(events, rest, w.lane.changed)
}

// moved notes how far the watcher has come. rest says that there are changes
// left.
func (w *Watcher) moved(events []Event, rest bool, changed <-chan struct{}) ([]Event, int64, <-chan struct{}, error) {
	if rest {
		w.revision = events[len(events)-1].Revision
		return events, w.revision, closedChannel(), nil
	}
	w.revision = max(w.revision, w.cache.revision)
	return events, w.revision, changed, nil
}

func closedChannel() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

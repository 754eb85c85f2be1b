package cache

import "fmt"

// Watcher is a position in the history of a resource, or in a part of it. It
// belongs to one goroutine.
type Watcher struct {
	cache *Cache
	epoch int
	// next is the number of the first change not yet seen.
	next int64
	// revision is the one up to which the watcher has seen everything.
	revision int64
	woken    chan struct{}

	lane *lane
	// place is the watcher's among those of its lane.
	place int
	// key, if it is one of a key or a prefix, or else value name the lane.
	key, value string
	// events are those that Next returned last; the slice is used again.
	events []Event
}

// keptEvents is how long a slice of events a watcher keeps that sleeps.
const keptEvents = 16

// Watch returns a watcher of a part of the changes after a revision that the
// cache has reached, or ErrExpired. Stop the watcher in the end.
func (c *Cache) Watch(revision int64, part Part) (*Watcher, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready || revision < c.history.since {
		return nil, &ExpiredError{Revision: revision, Oldest: c.history.since}
	}
	return c.watcher(c.history.after(revision), revision, part), nil
}

// WatchPresent returns the present state, as far as it has the value of
// part.Only, and a watcher of the changes after it, as Watch does.
func (c *Cache) WatchPresent(part Part) (Snapshot, *Watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Snapshot{Revision: c.revision, items: c.items.clone(), only: part.Only}, c.watcher(c.history.next(), c.revision, part)
}

// watcher returns a watcher at a position. The caller holds mu.
func (c *Cache) watcher(next, revision int64, part Part) *Watcher {
	if part.Prefix == c.prefix {
		part.Prefix = ""
	}
	w := &Watcher{cache: c, epoch: c.epoch, next: next, revision: revision, woken: make(chan struct{}, 1)}
	c.history.join(w, part)
	return w
}

// Stop ends the watch.
func (w *Watcher) Stop() {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	if w.lane != nil {
		w.cache.history.leave(w)
		w.lane = nil
	}
}

// Woken gets a value when Next may have more to tell, and whenever Wake is
// called; several may be one.
func (w *Watcher) Woken() <-chan struct{} { return w.woken }

// Wake wakes who waits for Woken. Anybody may call it.
func (w *Watcher) Wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// Next returns the changes that the watcher has not seen, at most about limit,
// in order, without waiting, and the revision up to which it has now seen
// everything. They are valid until it is called again. ErrSlow and ErrExpired end
// the watch.
func (w *Watcher) Next(limit int) (events []Event, revision int64, err error) {
	c := w.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	if w.epoch != c.epoch {
		return nil, w.revision, fmt.Errorf("%w: the watch cache had to start over", ErrExpired)
	}
	if cap(w.events) > keptEvents {
		w.events = nil
	}
	if w.lane != &c.history.lanes.all {
		return w.nextInLane(limit)
	}
	if w.next < c.history.first {
		return nil, w.revision, fmt.Errorf("%w: %d changes behind", ErrSlow, c.history.next()-w.next)
	}
	w.events = c.history.from(w.events[:0], w.next, limit)
	w.next += int64(len(w.events))
	return w.moved(w.next < c.history.next())
}

// nextInLane is Next for a watcher of a lane. The caller holds mu.
func (w *Watcher) nextInLane(limit int) ([]Event, int64, error) {
	h := &w.cache.history
	if w.next < w.lane.dropped {
		return nil, w.revision, fmt.Errorf("%w: %d changes behind", ErrSlow, h.next()-w.next)
	}
	numbers := w.lane.from(w.next)
	w.events = h.pick(w.events[:0], numbers, limit)
	rest := len(w.events) < len(numbers)
	if rest {
		w.next = numbers[len(w.events)]
	} else {
		w.next = h.next()
	}
	return w.moved(rest)
}

// moved notes how far the watcher has come. rest says that there are changes
// left.
func (w *Watcher) moved(rest bool) ([]Event, int64, error) {
	if rest {
		w.revision = w.events[len(w.events)-1].Revision
		w.Wake()
		return w.events, w.revision, nil
	}
	w.revision = max(w.revision, w.cache.revision)
	return w.events, w.revision, nil
}

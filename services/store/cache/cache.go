// Package cache keeps resources in memory and serves every read and watch from
// there. Each resource has one Cache, fed by one watch of the backend.
//
// A Cache holds the present objects, ordered by key, and the recent changes.
// Readers see immutable Versions; encodings of a Version are shared, and kept
// as long as a Budget allows. A watcher is a position in the history of changes
// that moves at the watcher's own pace: it can never hold up the cache or
// another watcher, and when the history has moved past it, it is told so.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend"
)

var (
	// ErrExpired says that a read or a watch asked for a version that is no
	// longer held. For a watch it is an *ExpiredError.
	ErrExpired = errors.New("the version is too old")
	// ErrSlow says that a watcher fell behind by more than the history holds.
	ErrSlow = errors.New("the watcher was too slow")
	// ErrFuture says that a version has not been reached in time.
	ErrFuture = errors.New("the version has not been reached")
	// ErrClosed says that there is no such resource any longer.
	ErrClosed = errors.New("the resource is gone")
)

// ExpiredError is ErrExpired for a watch that was to begin after a revision
// that lies before all that is held.
type ExpiredError struct {
	Revision int64
	// Oldest is the first revision after which a watch can begin.
	Oldest int64
}

// Error implements error.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("%v: %d, the oldest is %d", ErrExpired, e.Revision, e.Oldest)
}

// Unwrap makes errors.Is find ErrExpired.
func (e *ExpiredError) Unwrap() error { return ErrExpired }

// Cache is one resource in memory.
type Cache struct {
	kind    *kinds.Kind
	prefix  string
	backend backend.Backend
	clock   *Clock
	budget  *Budget
	log     *slog.Logger

	wanted   chan struct{}
	wantOnce sync.Once

	mu sync.RWMutex // guards the fields below
	// ready is false until the resource has been read for the first time.
	ready bool
	// closed says that the resource is gone for good.
	closed bool
	items  present
	// revision is the one up to which every change has been applied.
	revision int64
	history  history
	// epoch is raised when the history has a gap; older watches end.
	epoch int
	// changed is closed and replaced whenever any of the above changes. Watchers
	// wait for the lanes of the history instead.
	changed chan struct{}

	// indexing is held while an index of a label is made; it is taken before mu.
	indexing sync.Mutex
	wantedMu sync.Mutex // guards wantedLabels; a leaf lock
	// wantedLabels are labels that have been looked for.
	wantedLabels map[string]bool

	draftsMu sync.Mutex // guards drafts; a leaf lock
	drafts   map[string][]*Draft

	// asked is the highest revision that progress has been asked for.
	asked atomic.Int64
	// movedOn is when progress was last asked for without a reason, in nanoseconds.
	movedOn atomic.Int64
	// wrote is the highest revision at which this process changed the resource.
	wrote atomic.Int64
}

// New returns a cache of the objects of a kind, whose keys begin with prefix.
// It reads nothing until it is used for the first time.
func New(kind *kinds.Kind, prefix string, b backend.Backend, clock *Clock, budget *Budget, log *slog.Logger) *Cache {
	return &Cache{
		kind: kind, prefix: prefix, backend: b, clock: clock, budget: budget, log: log.With("resource", kind.Resource, "group", kind.Group),
		wanted: make(chan struct{}), changed: make(chan struct{}),
		items:   newPresent(kind),
		history: history{lanes: newLanes(kind.WatchField)},
		drafts:  make(map[string][]*Draft), wantedLabels: make(map[string]bool),
	}
}

// Run feeds the cache until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	select {
	case <-c.wanted:
	case <-ctx.Done():
		return
	}
	const shortest, longest = 20 * time.Millisecond, 2 * time.Second
	delay := shortest
	for {
		progressed, err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if progressed {
			delay = shortest
		}
		c.log.WarnContext(ctx, "the watch cache lost its feed and tries again", "error", err, "retry", delay)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay/2 + rand.N(delay/2)):
		}
		delay = min(2*delay, longest)
	}
}

// want makes Run begin, if it has not.
func (c *Cache) want() { c.wantOnce.Do(func() { close(c.wanted) }) }

// follow reads the resource if that is needed, then applies changes until the
// backend's watch ends.
func (c *Cache) follow(ctx context.Context) (progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.RLock()
	ready, revision := c.ready, c.revision
	c.mu.RUnlock()
	if !ready {
		if revision, err = c.load(ctx); err != nil {
			return false, err
		}
	}
	for batch := range c.backend.Watch(ctx, c.prefix, revision+1) {
		if errors.Is(batch.Err, backend.ErrCompacted) {
			c.reset()
		}
		if batch.Err != nil {
			return progressed, batch.Err
		}
		if err := c.apply(batch); err != nil {
			c.reset()
			return progressed, err
		}
		progressed = true
	}
	return progressed, fmt.Errorf("watch %s: the watch ended", c.prefix)
}

// Close ends all watches, and says to all readers that the resource is gone. The
// context of Run is to end, too.
func (c *Cache) Close() {
	c.update(func() {
		c.closed, c.ready = true, false
		c.items = newPresent(c.kind)
		c.history.restart(c.revision)
		c.epoch++
	})
}

// reset makes the next follow begin with a fresh read.
func (c *Cache) reset() {
	c.update(func() {
		c.ready = false
		c.epoch++
		c.history.lanes.restart(c.history.next())
	})
}

// load reads the whole resource as of one revision.
func (c *Cache) load(ctx context.Context) (int64, error) {
	items, revision, err := c.readAll(ctx)
	if err != nil {
		return 0, err
	}
	c.update(func() {
		if c.closed {
			err = ErrClosed
			return
		}
		c.items, c.revision, c.ready = items, revision, true
		c.history.restart(revision)
		c.epoch++
	})
	if err != nil {
		return 0, err
	}
	c.dropDrafts(revision)
	return revision, nil
}

// readAll reads and decodes the resource page by page, as of one revision.
func (c *Cache) readAll(ctx context.Context) (present, int64, error) {
	items := newPresent(c.kind)
	opts := backend.ListOptions{Limit: 1000}
	for {
		page, err := c.backend.List(ctx, c.prefix, opts)
		if err != nil {
			return items, 0, fmt.Errorf("read %s: %w", c.prefix, err)
		}
		for _, kv := range page.Items {
			v, err := Decode(c.kind, kv)
			if err != nil {
				return items, 0, err
			}
			c.budget.adopt(v)
			items.put(v)
		}
		opts.Revision = page.Revision
		if page.Remaining == 0 || len(page.Items) == 0 {
			return items, page.Revision, nil
		}
		opts.After = page.Items[len(page.Items)-1].Key
	}
}

// apply takes a batch of changes over.
func (c *Cache) apply(batch backend.Batch) error {
	versions := make([]*Version, len(batch.Events))
	for i, e := range batch.Events {
		if e.Deleted {
			continue
		}
		v, err := c.decode(e.KeyValue)
		if err != nil {
			return err
		}
		versions[i] = v
	}
	now := time.Now()
	c.update(func() {
		for i, e := range batch.Events {
			c.record(e, versions[i], now)
			c.revision = max(c.revision, e.Revision)
		}
		c.revision = max(c.revision, batch.Progress)
	})
	return nil
}

// record applies one change. The caller holds mu.
func (c *Cache) record(e backend.Event, v *Version, now time.Time) {
	if !e.Deleted {
		c.budget.adopt(v)
		prev := c.items.put(v)
		c.history.append(Event{Revision: e.Revision, Version: v, Prev: prev}, now)
		return
	}
	if prev := c.items.remove(e.Key); prev != nil {
		gone := prev.GoneAt(e.Revision)
		c.budget.adopt(gone)
		c.history.append(Event{Revision: e.Revision, Version: gone, Prev: prev, Deleted: true}, now)
	}
}

// update changes the cache and then wakes everybody who waits for that: watchers
// once mu is free, which they take first.
func (c *Cache) update(change func()) {
	c.mu.Lock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
	woken := c.history.lanes.woken()
	c.mu.Unlock()
	for _, w := range woken {
		w.Wake()
	}
}

package cache

import (
	"context"
	"sync"
	"time"

	"navarch.dev/navarch/services/store/backend"
)

// Clock tells the backend's newest revision, with one question for all who ask
// at the same time. An answer counts only for those who asked before the
// question was put: it may miss writes that ended later.
type Clock struct {
	backend backend.Backend

	mu sync.Mutex // guards the fields below
	// waiting is the question that has not been put yet; nil if none is due.
	waiting *question
	asking  bool
}

type question struct {
	done     chan struct{}
	revision int64
	err      error
}

// askTimeout bounds one question; it does not depend on any asker's patience.
const askTimeout = 10 * time.Second

// NewClock returns a clock of a backend.
func NewClock(b backend.Backend) *Clock { return &Clock{backend: b} }

// Now returns the newest revision.
func (c *Clock) Now(ctx context.Context) (int64, error) {
	c.mu.Lock()
	if !c.asking {
		// Nobody else can be waiting for this question, so that it is put without
		// another goroutine.
		c.asking = true
		c.mu.Unlock()
		defer c.goOn(ctx)
		return c.put(ctx)
	}
	if c.waiting == nil {
		c.waiting = &question{done: make(chan struct{})}
	}
	q := c.waiting
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.revision, q.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// goOn has the questions be put of those who came while one was being put.
func (c *Clock) goOn(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.asking = false
		return
	}
	go c.ask(context.WithoutCancel(ctx))
}

// ask puts questions until nobody waits.
func (c *Clock) ask(ctx context.Context) {
	for {
		c.mu.Lock()
		q := c.waiting
		c.waiting = nil
		if q == nil {
			c.asking = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		q.revision, q.err = c.put(ctx)
		close(q.done)
	}
}

func (c *Clock) put(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.backend.Revision(ctx)
}

package runner

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Status is a controller's state at one moment.
type Status struct {
	Name       string
	Workers    int
	QueueDepth int
	Reconciles int64
	Errors     int64
	// Failing are the keys whose last reconcile failed, ordered by key.
	Failing []Failure
}

// Failure is the last error of a key.
type Failure struct {
	Key     string
	Message string
	// Attempts is how often in a row it has failed.
	Attempts int
	Time     time.Time
}

// Status returns the controller's present state.
func (c *Controller) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{
		Name: c.name, Workers: c.opts.Workers, QueueDepth: c.queue.Len(),
		Reconciles: c.reconciles, Errors: c.errors,
		Failing: slices.SortedFunc(maps.Values(c.failing), func(a, b Failure) int { return cmp.Compare(a.Key, b.Key) }),
	}
}

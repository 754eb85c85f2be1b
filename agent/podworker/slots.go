package podworker

import "context"

// slots bound how many of the operations that keep a processor busy are under
// way at a time. Started all at once, many pods' programs take the processors and
// their caches from one another, and the first pod runs hardly before the last.
type slots chan struct{}

// run does f when it is its turn.
func (s slots) run(ctx context.Context, f func() error) error {
	select {
	case s <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s }()
	return f()
}

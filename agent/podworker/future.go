package podworker

import "context"

// future is the result of an operation that others wait for.
type future[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// begin runs f beside the caller.
func begin[T any](f func() (T, error)) *future[T] {
	r := &future[T]{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.value, r.err = f()
	}()
	return r
}

// resolved is a future that is known already.
func resolved[T any](v T) *future[T] {
	r := &future[T]{done: make(chan struct{}), value: v}
	close(r.done)
	return r
}

// wait returns the result, or ctx's error if that comes first.
func (r *future[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// broken says that an operation has failed or is yet to be begun.
func broken[T any](r *future[T]) bool { return r == nil || r.finished() && r.err != nil }

// settle waits for an operation to end, whatever its result.
func settle[T any](r *future[T]) {
	if r != nil {
		<-r.done
	}
}

// finished says whether the result is known.
func (r *future[T]) finished() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

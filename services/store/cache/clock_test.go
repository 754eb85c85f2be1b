package cache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// slow is a backend that answers when it may.
type slow struct {
	backend.Backend
	asked  atomic.Int64
	answer chan int64
}

func (s *slow) Revision(ctx context.Context) (int64, error) {
	s.asked.Add(1)
	select {
	case revision := <-s.answer:
		return revision, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Who asks while a question is being put cannot have its answer, which may miss what
// they have seen, but all of them have the next.
func TestClockSharesQuestions(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &slow{answer: make(chan int64)}
			clock := cache.NewClock(s)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			first := make(chan error, 1)
			go func() {
				revision, err := clock.Now(ctx)
				if err == nil && revision != 1 {
					t.Errorf("the first is told %d, want 1", revision)
				}
				first <- err
			}()
			synctest.Wait()
			var others sync.WaitGroup
			for range 10 {
				others.Go(func() {
					if revision, err := clock.Now(t.Context()); revision != 2 || err != nil {
						t.Errorf("told %d (%v), want 2", revision, err)
					}
				})
			}
			synctest.Wait()
			if asked := s.asked.Load(); asked != 1 {
				t.Errorf("%d questions at a time", asked)
			}
			if leaves { // and does not take the others' answer along
				leave()
			} else {
				s.answer <- 1
			}
			if err := <-first; leaves != errors.Is(err, context.Canceled) {
				t.Errorf("the first ends with %v", err)
			}
			s.answer <- 2
			others.Wait()
			if asked := s.asked.Load(); asked != 2 {
				t.Errorf("%d questions for ten who asked meanwhile and one", asked)
			}
			go func() { s.answer <- 3 }()
			if revision, err := clock.Now(t.Context()); revision != 3 || err != nil {
				t.Errorf("then %d (%v), want 3", revision, err)
			}
		})
	}
}

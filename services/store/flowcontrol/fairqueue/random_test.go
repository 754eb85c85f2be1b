package fairqueue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestNoSeatIsLost lets many clients of several flows ask, give up, be cancelled
// and hold seats for as long as they like, while the level is configured anew.
// There are never more seats taken than there have been since, and in the end
// all are back.
func TestNoSeatIsLost(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { randomly(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func randomly(t *testing.T, random *rand.Rand) {
	const most = 8 // seats at any time
	l := NewLevel(most, Queuing{Queues: 8, HandSize: 2, Length: 4})
	var held, served, refused atomic.Int64
	var wg sync.WaitGroup
	for range 40 {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		wg.Go(func() {
			for range 50 {
				time.Sleep(below(own, 20*time.Millisecond))
				ctx, cancel := context.WithTimeout(t.Context(), below(own, 30*time.Millisecond))
				seat, err := enter(ctx, l, own.Uint64N(6), below(own, 30*time.Millisecond))
				switch {
				case err == nil:
					if n := held.Add(1); n > most {
						t.Errorf("%d seats are taken, there are %d", n, most)
					}
					time.Sleep(below(own, 20*time.Millisecond))
					held.Add(-1)
					seat.Release()
					served.Add(1)
				case errors.Is(err, ErrFull), errors.Is(err, ErrLimit), errors.Is(err, ErrPatience), errors.Is(err, ctx.Err()):
					refused.Add(1)
				default:
					t.Errorf("a request was told %v", err)
				}
				cancel()
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			time.Sleep(below(random, 20*time.Millisecond))
			l.Configure(random.Int64N(most+1), Queuing{Queues: random.IntN(10), HandSize: 1 + random.IntN(3), Length: random.IntN(5)})
		}
		l.Configure(most, Queuing{Queues: 8, HandSize: 2, Length: 4})
	})
	wg.Wait()
	if n := served.Load() + refused.Load(); n != 40*50 || served.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d requests were served and %d refused, of 2000", served.Load(), refused.Load())
	}
	idle(t, l)
}

func BenchmarkUncontended(b *testing.B) {
	l := NewLevel(1000, Queuing{Queues: 64, HandSize: 6, Length: 50})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			seat, ok := l.Try()
			if !ok {
				b.Error("no seat is free")
			}
			seat.Release()
		}
	})
}

// below returns a time at random.
func below(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most)))
}

package fairqueue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asked is what became of a request.
type asked struct {
	seat Seat
	err  error
}

// ask lets a request of a flow wait. It returns once it does, or has its answer.
func ask(ctx context.Context, l *Level, flow uint64, patience time.Duration) *asked {
	a := &asked{err: errors.New("it waits")}
	go func() { a.seat, a.err = enter(ctx, l, flow, patience) }()
	synctest.Wait()
	return a
}

// enter is what callers do.
func enter(ctx context.Context, l *Level, flow uint64, patience time.Duration) (Seat, error) {
	if seat, ok := l.Try(); ok {
		return seat, nil
	}
	return l.Wait(ctx, flow, patience)
}

func (a *asked) waits() bool { return a.err != nil && a.err.Error() == "it waits" }

// idle fails unless a level has nobody.
func idle(t *testing.T, l *Level) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Used() != 0 || l.Waiting() != 0 || len(l.queues) != 0 || len(l.ready) != 0 {
		t.Errorf("an idle level has %d seats taken, %d requests waiting and %d queues, of which %d are ready", l.Used(), l.Waiting(), len(l.queues), len(l.ready))
	}
}

func TestSeats(t *testing.T) {
	oneQueue := Queuing{Queues: 1, HandSize: 1, Length: 2}
	for name, tc := range map[string]struct {
		limit   int64
		queuing Queuing
		asks    int
		running int
		waiting int
		err     error // of those that neither run nor wait
	}{
		"all find a seat":               {3, oneQueue, 3, 3, 0, nil},
		"two wait, further are told":    {1, oneQueue, 5, 1, 2, ErrFull},
		"none wait":                     {2, Queuing{}, 4, 2, 0, ErrLimit},
		"no seats are one":              {0, Queuing{}, 2, 1, 0, ErrLimit},
		"no seats are one, others wait": {0, oneQueue, 3, 1, 2, nil},
		"any number":                    {Unlimited, Queuing{}, 100, 100, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLevel(tc.limit, tc.queuing)
				all := make([]*asked, tc.asks)
				var running, waiting int
				for i := range all {
					all[i] = ask(t.Context(), l, 7, time.Hour)
					switch {
					case all[i].err == nil:
						running++
					case all[i].waits():
						waiting++
					case !errors.Is(all[i].err, tc.err):
						t.Errorf("request %d: %v, want %v", i, all[i].err, tc.err)
					}
				}
				if running != tc.running || waiting != tc.waiting || l.Used() != int64(running) || l.Waiting() != int64(waiting) {
					t.Errorf("%d run and %d wait (%d and %d by the level), want %d and %d", running, waiting, l.Used(), l.Waiting(), tc.running, tc.waiting)
				}
				if peak := l.TakePeak(); peak != int64(running+waiting) {
					t.Errorf("%d seats were wanted, want %d", peak, running+waiting)
				}
				for _, a := range all { // each that ends lets one that waits begin
					a.seat.Release()
					a.seat.Release()
					synctest.Wait()
				}
				for _, a := range all {
					a.seat.Release()
				}
				idle(t, l)
			})
		})
	}
}

func TestWaitingEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(cancel context.CancelFunc)
		want error
	}{
		"the turn does not come": {func(context.CancelFunc) { time.Sleep(time.Minute) }, ErrPatience},
		"the caller goes away":   {func(cancel context.CancelFunc) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLevel(1, Queuing{Queues: 4, HandSize: 2, Length: 10})
				first := ask(t.Context(), l, 1, time.Minute)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				second := ask(ctx, l, 2, time.Minute)
				third := ask(t.Context(), l, 3, time.Hour)
				tc.end(cancel)
				synctest.Wait()
				if !errors.Is(second.err, tc.want) {
					t.Errorf("the request was told %v, want %v", second.err, tc.want)
				}
				first.seat.Release()
				synctest.Wait()
				if third.err != nil {
					t.Errorf("the next request was told %v", third.err)
				}
				third.seat.Release()
				idle(t, l)
			})
		})
	}
}

func TestMoreSeatsLetMoreIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLevel(1, Queuing{Queues: 1, HandSize: 1, Length: 10})
		var all []*asked
		for range 4 {
			all = append(all, ask(t.Context(), l, 1, time.Hour))
		}
		l.SetLimit(3)
		synctest.Wait()
		if l.Used() != 3 || l.Waiting() != 1 {
			t.Errorf("%d run and %d wait, want 3 and 1", l.Used(), l.Waiting())
		}
		l.Configure(1, Queuing{}) // nobody waits any longer, but who does
		if late := ask(t.Context(), l, 1, time.Hour); !errors.Is(late.err, ErrLimit) {
			t.Errorf("a request was told %v, want %v", late.err, ErrLimit)
		}
		for _, a := range all { // in the order in which they got their seats
			a.seat.Release()
			synctest.Wait()
		}
		idle(t, l)
	})
}

// TestFairness lets flows ask for one seat, each with many requests at a time, and
// compares for how long each has had it.
func TestFairness(t *testing.T) {
	type flow struct {
		hash     uint64
		at, long int // how many requests at a time, and for how many milliseconds each
		sleep    time.Duration
	}
	for name, tc := range map[string]struct {
		flows []flow
		want  []float64 // parts of the time
	}{
		"many requests and few":           {[]flow{{0, 30, 10, 0}, {1, 2, 10, 0}}, []float64{.5, .5}},
		"long requests and short":         {[]flow{{0, 4, 100, 0}, {1, 4, 5, 0}}, []float64{.5, .5}},
		"three":                           {[]flow{{0, 3, 10, 0}, {1, 20, 20, 0}, {2, 5, 1, 0}}, []float64{1. / 3, 1. / 3, 1. / 3}},
		"one that wants less than it may": {[]flow{{0, 30, 10, 0}, {1, 1, 10, 90 * time.Millisecond}}, []float64{.9, .1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLevel(1, Queuing{Queues: 64, HandSize: 1, Length: 50})
				ctx, cancel := context.WithCancel(t.Context())
				had := make([]time.Duration, len(tc.flows))
				var wg sync.WaitGroup
				for i, f := range tc.flows {
					for range f.at {
						wg.Go(func() {
							for ctx.Err() == nil {
								seat, err := enter(ctx, l, f.hash, time.Hour)
								if err != nil {
									continue
								}
								time.Sleep(time.Duration(f.long) * time.Millisecond)
								had[i] += time.Duration(f.long) * time.Millisecond // there is one seat
								seat.Release()
								time.Sleep(f.sleep)
							}
						})
					}
				}
				time.Sleep(time.Minute)
				cancel()
				wg.Wait()
				var all time.Duration
				for _, d := range had {
					all += d
				}
				for i, d := range had {
					if part := d.Seconds() / all.Seconds(); part < tc.want[i]-.05 || part > tc.want[i]+.05 {
						t.Errorf("flow %d had %.2f of the time, want %.2f", i, part, tc.want[i])
					}
				}
				idle(t, l)
			})
		})
	}
}

// TestFloodLeavesQueues lets one flow fill its whole hand. Others find queues.
func TestFloodLeavesQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLevel(1, Queuing{Queues: 64, HandSize: 6, Length: 5})
		ctx, cancel := context.WithCancel(t.Context())
		first := ask(ctx, l, 0, time.Hour)
		full := 0
		for range 100 {
			if a := ask(ctx, l, 12345, time.Hour); errors.Is(a.err, ErrFull) {
				full++
			}
		}
		if full != 70 {
			t.Errorf("%d of 100 requests were refused, want 70: the hand's six queues hold five each", full)
		}
		if other := ask(ctx, l, 987654321, time.Hour); !other.waits() {
			t.Errorf("a request of another flow was told %v", other.err)
		}
		first.seat.Release()
		cancel()
		synctest.Wait()
	})
}

func TestDeal(t *testing.T) {
	seen := make([]int, 8)
	const hands = 8 * 7 * 6
	for flow := range uint64(hands) {
		hand := deal(nil, flow, 8, 3)
		if len(hand) != 3 || hand[0] < 0 || hand[0] >= hand[1] || hand[1] >= hand[2] || hand[2] >= 8 {
			t.Fatalf("flow %d has the hand %v", flow, hand)
		}
		for _, card := range hand {
			seen[card]++
		}
	}
	if want := slices.Repeat([]int{hands * 3 / 8}, 8); !slices.Equal(seen, want) {
		t.Errorf("the cards were dealt %v times, want %v", seen, want)
	}
	for _, tc := range []struct{ deck, size, want int }{{1, 1, 1}, {2, 8, 2}, {15, 15, 15}, {4, 0, 1}} {
		hand := deal(nil, 1<<60-1, tc.deck, tc.size)
		if slices.Sort(hand); len(slices.Compact(hand)) != tc.want {
			t.Errorf("of %d cards, %d were wanted and dealt %v", tc.deck, tc.size, hand)
		}
	}
}

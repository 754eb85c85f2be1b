// Package fairqueue shares the seats of one priority level out among requests,
// one seat each.
//
// A request that finds a seat costs two atomic operations. Others are refused
// or, where the level queues, wait for their turn. A flow (say, all requests of
// one user) is dealt a hand of queues by shuffle sharding, and each of its
// requests joins the shortest of them: a flow that floods the level fills its
// own hand, and hardly any other flow has the same one.
//
// Seats that become free go to the queues by start-time fair queuing (Goyal,
// Vin, Cheng, SIGCOMM 1996), counted in the seconds for which seats are held:
// each queue gets as much as every other that has somebody waiting, whether its
// requests are many or long.
//
// What found a seat at once belongs to no queue and is counted in none. So
// fairness begins with contention, and owes nobody what was before.
package fairqueue

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Why a request got no seat.
var (
	// ErrLimit says that no seat is free and that the level does not queue.
	ErrLimit = errors.New("no seat is free")
	// ErrFull says that every queue of the flow's hand is full.
	ErrFull = errors.New("the flow's queues are full")
	// ErrPatience says that the request's turn did not come in time.
	ErrPatience = errors.New("the request's turn did not come in time")
)

// Unlimited is the limit of a level that nobody waits for.
const Unlimited = math.MaxInt64

// Queuing says how requests wait. The zero value: they do not.
type Queuing struct {
	// Queues is how many there are, HandSize how many of them a flow has, at
	// most Queues, and Length how many requests each holds.
	Queues, HandSize, Length int
}

// Level is the seats of one priority level. It is safe for concurrent use.
type Level struct {
	limit atomic.Int64
	used  atomic.Int64
	// waiting changes under mu alone. Who gives a seat back looks at it
	// afterwards, and who joins a queue looks at used afterwards: one of the two
	// sees the other.
	waiting atomic.Int64
	// peak is the most that used and waiting have been together since TakePeak.
	peak atomic.Int64

	mu      sync.Mutex // guards the fields below
	queuing Queuing
	// queues are those that have a request, waiting or running, by their numbers.
	queues map[int]*queue
	// ready are those of them that have one waiting.
	ready []*queue
	// virtual is the start tag of the last request that came out of a queue.
	virtual float64
	// joined and dispatched count requests.
	joined, dispatched uint64
}

// NewLevel returns a level of limit seats.
func NewLevel(limit int64, q Queuing) *Level {
	l := &Level{queuing: q, queues: make(map[int]*queue)}
	l.limit.Store(limit)
	return l
}

// Seat is held by a request that runs. The zero value is no seat. A copy is the
// same seat: only one of the two may be given back.
type Seat struct {
	level *Level
	queue *queue // nil: the request had not to wait
	began time.Time
}

// Try takes a seat if one is free and nobody waits for it.
func (l *Level) Try() (Seat, bool) {
	if l.waiting.Load() > 0 || !l.take() {
		return Seat{}, false
	}
	return Seat{level: l}, true
}

// take takes a seat if one is free. A level without any still serves one request
// at a time, so that nobody is shut out for good.
func (l *Level) take() bool {
	for {
		n := l.used.Load()
		if n >= l.limit.Load() && n > 0 {
			return false
		}
		if l.used.CompareAndSwap(n, n+1) {
			l.notePeak(n + 1)
			return true
		}
	}
}

func (l *Level) notePeak(n int64) {
	for p := l.peak.Load(); n > p && !l.peak.CompareAndSwap(p, n); p = l.peak.Load() {
	}
}

// Wait takes a seat once it is the flow's turn. flow is a hash of what tells the
// flow from others. The error is one of this package's, after patience too, or
// ctx's.
func (l *Level) Wait(ctx context.Context, flow uint64, patience time.Duration) (Seat, error) {
	w, err := l.join(flow)
	switch {
	case err != nil:
		return Seat{}, err
	case w == nil:
		return Seat{level: l}, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	err = ErrPatience
	select {
	case <-w.granted:
		return w.seat(l), nil
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if !l.leave(w) { // the seat came first
		return w.seat(l), nil
	}
	return Seat{}, err
}

// join lets a request wait in a queue of its flow. Nil without an error is a seat
// in a level that does not queue.
func (l *Level) join(flow uint64) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queuing.Queues <= 0 {
		if len(l.ready) > 0 || !l.take() { // some may wait from when it did
			return nil, ErrLimit
		}
		return nil, nil
	}
	q := l.shortest(flow)
	if len(q.waiting) >= max(l.queuing.Length, 1) {
		return nil, ErrFull
	}
	w := &waiter{queue: q, arrival: l.virtual, granted: make(chan struct{})}
	if len(q.waiting) == 0 {
		l.ready = append(l.ready, q)
	}
	q.waiting = append(q.waiting, w)
	l.notePeak(l.used.Load() + l.waiting.Add(1))
	l.dispatch()
	return w, nil
}

// leave takes a request out of its queue; false if it has a seat already.
func (l *Level) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.granted:
		return false
	default:
	}
	l.drop(w)
	l.waiting.Add(-1)
	return true
}

// Release gives the seat back. Of a seat that was given back it does nothing.
func (s *Seat) Release() {
	l := s.level
	if l == nil {
		return
	}
	s.level = nil
	if s.queue != nil {
		l.settle(s.queue, time.Since(s.began))
		return
	}
	l.used.Add(-1)
	if l.waiting.Load() > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dispatch()
	}
}

// Configure changes how many seats there are and how requests wait for them.
// Those who wait or run go on.
func (l *Level) Configure(limit int64, q Queuing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queuing = q
	l.limit.Store(limit)
	l.dispatch()
}

// SetLimit changes how many seats there are.
func (l *Level) SetLimit(limit int64) {
	if l.limit.Load() == limit {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit.Store(limit)
	l.dispatch()
}

// Limit returns how many seats there are.
func (l *Level) Limit() int64 { return l.limit.Load() }

// Used returns how many requests have a seat.
func (l *Level) Used() int64 { return l.used.Load() }

// Waiting returns how many requests wait in queues.
func (l *Level) Waiting() int64 { return l.waiting.Load() }

// TakePeak returns the most seats that were wanted at a time since it was called
// last.
func (l *Level) TakePeak() int64 { return l.peak.Swap(l.used.Load() + l.waiting.Load()) }

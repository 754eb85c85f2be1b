package fairqueue

import (
	"slices"
	"time"
)

// guess is what a request is charged as long as nobody knows for how long it
// runs.
const guess = 3 * time.Millisecond

// queue holds requests of the flows that have it in their hands. All of its
// fields are guarded by the level's mu.
type queue struct {
	number  int
	waiting []*waiter // the oldest first
	// running counts those that came out of this queue.
	running int
	// next is the start tag of the request that comes out next, in seconds of
	// seats.
	next float64
	// last is when one came out, as the level counts.
	last uint64
}

// waiter is a request in a queue.
type waiter struct {
	queue *queue
	// arrival is the level's virtual time when it came: it cannot have been
	// served before.
	arrival float64
	// granted is closed when it has a seat, since began.
	granted chan struct{}
	began   time.Time
}

func (w *waiter) seat(l *Level) Seat { return Seat{level: l, queue: w.queue, began: w.began} }

// start is the start tag of the queue's oldest request.
func (q *queue) start() float64 { return max(q.next, q.waiting[0].arrival) }

// shortest returns that queue of a flow's hand in which the fewest wait. Where
// several do, requests take turns, so that hands that overlap in one queue do not
// meet there.
func (l *Level) shortest(flow uint64) *queue {
	var room [maxHand]int
	hand := deal(room[:0], flow, l.queuing.Queues, l.queuing.HandSize)
	l.joined++
	best, fewest := 0, -1
	for i := range hand {
		number := hand[(uint64(i)+l.joined)%uint64(len(hand))]
		n := 0
		if q := l.queues[number]; q != nil {
			n = len(q.waiting)
		}
		if fewest < 0 || n < fewest {
			best, fewest = number, n
		}
	}
	q := l.queues[best]
	if q == nil {
		q = &queue{number: best, next: l.virtual}
		l.queues[best] = q
	}
	return q
}

// dispatch gives the free seats to those who wait. The caller holds mu.
func (l *Level) dispatch() {
	for len(l.ready) > 0 && l.take() {
		i := l.turn()
		q := l.ready[i]
		w := q.waiting[0]
		l.virtual = max(l.virtual, q.start())
		q.next = q.start() + guess.Seconds()
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.running++
		l.dispatched++
		q.last = l.dispatched
		if len(q.waiting) == 0 {
			l.ready = slices.Delete(l.ready, i, i+1)
		}
		l.waiting.Add(-1)
		w.began = time.Now()
		close(w.granted)
	}
}

// turn returns the place among ready of the queue whose turn it is: the one with
// the earliest start tag and, of these, the one that has waited longest.
func (l *Level) turn() int {
	best := 0
	for i, q := range l.ready[1:] {
		b := l.ready[best]
		if s, t := q.start(), b.start(); s < t || s == t && q.last < b.last {
			best = i + 1
		}
	}
	return best
}

// settle takes back the seat of a request that came out of a queue, and charges
// the queue what it took.
func (l *Level) settle(q *queue, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.next += (took - guess).Seconds()
	q.running--
	l.forget(q)
	l.used.Add(-1)
	l.dispatch()
}

// drop takes a request out of its queue that has waited for too long.
func (l *Level) drop(w *waiter) {
	q := w.queue
	i := slices.Index(q.waiting, w)
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if len(q.waiting) == 0 {
		i := slices.Index(l.ready, q)
		l.ready = slices.Delete(l.ready, i, i+1)
	}
	l.forget(q)
}

// forget drops a queue that has no request. Its flows begin anew when they come
// back.
func (l *Level) forget(q *queue) {
	if q.running == 0 && len(q.waiting) == 0 {
		delete(l.queues, q.number)
	}
}

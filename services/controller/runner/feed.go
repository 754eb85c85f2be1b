package runner

import (
	"sync"
	"time"
)

// feedBuffer is how far a subscriber may fall behind before it is cut off.
const feedBuffer = 256

// Reconcile is one call of a reconciler that has ended.
type Reconcile struct {
	Controller string
	Key        string
	Time       time.Time
	Duration   time.Duration
	Err        error
	// RequeueAfter is 0 if only a change brings the key back.
	RequeueAfter time.Duration
}

// Feed hands every reconcile to its subscribers, and never waits for one.
type Feed struct {
	mu          sync.Mutex
	subscribers map[chan Reconcile]struct{}
}

// NewFeed returns a feed without subscribers.
func NewFeed() *Feed { return &Feed{subscribers: make(map[chan Reconcile]struct{})} }

// Subscribe returns the reconciles from now on. The channel is closed when the
// subscriber has fallen too far behind, or by cancel.
func (f *Feed) Subscribe() (reconciles <-chan Reconcile, cancel func()) {
	ch := make(chan Reconcile, feedBuffer)
	f.mu.Lock()
	f.subscribers[ch] = struct{}{}
	f.mu.Unlock()
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drop(ch)
	}
}

func (f *Feed) publish(r Reconcile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subscribers {
		select {
		case ch <- r:
		default:
			f.drop(ch)
		}
	}
}

// drop ends a subscription. f.mu is held.
func (f *Feed) drop(ch chan Reconcile) {
	if _, ok := f.subscribers[ch]; ok {
		delete(f.subscribers, ch)
		close(ch)
	}
}

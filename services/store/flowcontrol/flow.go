package flowcontrol

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/flowcontrol/fairqueue"
	"navarch.dev/navarch/services/store/flowcontrol/matching"
)

// Flow is where the requests of a FlowSchema go.
type Flow struct {
	schema     matching.Schema
	precedence int32
	name       string
	method     flowcontrolv1.FlowDistinguisherMethodType
	level      *level
	counts     *counts
	header     metadata.MD
	seed       maphash.Seed
}

// Header is what tells the request's author how it was classified, nil if
// nothing does. It is shared and must not be changed.
func (f *Flow) Header() metadata.MD { return f.header }

// counts are of one FlowSchema in one priority level.
type counts struct {
	schema, level string
	executing     atomic.Int64
	waiting       atomic.Int64
	dispatched    atomic.Uint64
	// refused are counted by the reasons.
	refused [len(reasons)]atomic.Uint64
}

// reasons are why requests are refused, as Kubernetes' metrics name them.
var reasons = [...]string{"concurrency-limit", "queue-full", "time-out", "cancelled"}

func reasonOf(err error) int {
	switch {
	case errors.Is(err, fairqueue.ErrLimit):
		return 0
	case errors.Is(err, fairqueue.ErrFull):
		return 1
	case errors.Is(err, context.Canceled):
		return 3
	}
	return 2
}

// Seat is what a request holds while it is served. The zero value is that of a
// request that needs none. Only one of its copies may be given back.
type Seat struct {
	seat   fairqueue.Seat
	counts *counts
}

// Release gives the seat back. It may be called again.
func (s *Seat) Release() {
	if s.counts == nil {
		return
	}
	s.counts.executing.Add(-1)
	s.counts = nil
	s.seat.Release()
}

const (
	// patience is how long a request without a deadline waits, longestPatience
	// how long any does. One with a deadline waits for a quarter of its time.
	patience        = 15 * time.Second
	longestPatience = time.Minute
)

// Try takes a seat for a request of the flow if one is free. Otherwise the request
// has to Wait.
func (f *Flow) Try() (Seat, bool) {
	seat, ok := f.level.seats.Try()
	if !ok {
		return Seat{}, false
	}
	return f.seated(seat), true
}

func (f *Flow) seated(seat fairqueue.Seat) Seat {
	f.counts.dispatched.Add(1)
	f.counts.executing.Add(1)
	return Seat{seat, f.counts}
}

// Wait takes a seat for a request of the flow when it is its turn. The error is 429
// TooManyRequests.
func (f *Flow) Wait(ctx context.Context, a *access.Attributes) (Seat, error) {
	f.counts.waiting.Add(1)
	began := time.Now()
	seat, err := f.level.seats.Wait(ctx, f.hash(a), patienceOf(ctx, a))
	f.counts.waiting.Add(-1)
	if !errors.Is(err, fairqueue.ErrLimit) && !errors.Is(err, fairqueue.ErrFull) {
		f.level.waited(f.counts, err == nil, time.Since(began))
	}
	if err != nil {
		f.counts.refused[reasonOf(err)].Add(1)
		return Seat{}, tooManyRequests(f.level.drops.another(time.Now()))
	}
	return f.seated(seat), nil
}

// Names are those of the flow's FlowSchema and of its priority level.
func (f *Flow) Names() (schema, level string) { return f.counts.schema, f.counts.level }

// tooManyRequests is the error of a refused request.
func tooManyRequests(retryAfter int) error {
	return apierrors.NewTooManyRequests("Too many requests, please try again later.", retryAfter)
}

// patienceOf is how long a request waits. The deadline of a watch is when it ends if
// all goes well, and says nothing about that.
func patienceOf(ctx context.Context, a *access.Attributes) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || a.Verb == "watch" {
		return patience
	}
	return min(time.Until(deadline)/4, longestPatience)
}

// hash tells the request's flow from those of others.
func (f *Flow) hash(a *access.Attributes) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	_, _ = h.WriteString(f.name)
	_ = h.WriteByte(0)
	switch f.method {
	case flowcontrolv1.FlowDistinguisherMethodByUserType:
		_, _ = h.WriteString(a.User.Name)
	case flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
		_, _ = h.WriteString(a.Namespace)
	}
	return h.Sum64()
}

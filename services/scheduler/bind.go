package scheduler

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	"navarch.dev/navarch/services/scheduler/framework"
)

// maxBatch bounds the bindings in one call of the Store.
const maxBatch = 512

// binder writes bindings behind the scheduling loop's back. One call of the
// Store is in flight at a time; what is decided meanwhile goes into the next.
type binder struct {
	scheduler *Scheduler

	mu      sync.Mutex // guards decided
	decided []*attempt
	// kick holds one element while there is something decided.
	kick chan struct{}
	// slow counts the pods that wait for permission or a PreBind.
	slow sync.WaitGroup
}

func newBinder(s *Scheduler) *binder {
	return &binder{scheduler: s, kick: make(chan struct{}, 1)}
}

// submit hands a decision over. It is bound in the next batch, after its
// PreBind if there is any.
func (b *binder) submit(a *attempt) {
	if !a.profile.NeedsPreBind(a.result.State, a.pod) {
		b.scheduler.queue.Committed(a.pod.Pod.UID)
		b.enqueue(a)
		return
	}
	b.whenPermitted(a, func(context.Context) *framework.Status { return nil })
}

// whenPermitted binds the pod once wait has returned Success.
func (b *binder) whenPermitted(a *attempt, wait func(context.Context) *framework.Status) {
	b.slow.Go(func() {
		status := wait(a.ctx)
		if status.Success() {
			b.scheduler.queue.Committed(a.pod.Pod.UID)
			status = a.profile.PreBind(a.ctx, a.result.State, a.pod, a.node())
		}
		if !status.Success() {
			b.scheduler.takeBack(a)
			b.scheduler.refused(a, status)
			return
		}
		b.enqueue(a)
	})
}

func (b *binder) enqueue(a *attempt) {
	b.mu.Lock()
	b.decided = append(b.decided, a)
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// run writes batches until ctx ends; then it takes back what was not written.
func (b *binder) run(ctx context.Context) {
	for {
		select {
		case <-b.kick:
			for batch := b.take(); len(batch) > 0; batch = b.take() {
				for _, alike := range byProfile(batch) {
					b.bind(ctx, alike)
				}
			}
		case <-ctx.Done():
			b.slow.Wait()
			for batch := b.take(); len(batch) > 0; batch = b.take() {
				for _, a := range batch {
					b.scheduler.notBound(a, ctx.Err())
				}
			}
			return
		}
	}
}

func (b *binder) take() []*attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.decided), maxBatch)
	batch := b.decided[:n:n]
	b.decided = b.decided[n:]
	return batch
}

// byProfile splits a batch, as each profile has binders of its own.
func byProfile(batch []*attempt) [][]*attempt {
	places := make(map[*framework.Profile]int)
	var out [][]*attempt
	for _, a := range batch {
		i, ok := places[a.profile]
		if !ok {
			i = len(out)
			places[a.profile], out = i, append(out, nil)
		}
		out[i] = append(out[i], a)
	}
	return out
}

// bind writes one batch of one profile. Each pod's trace has a span for it; the call itself
// continues the first one's.
func (b *binder) bind(ctx context.Context, batch []*attempt) {
	s := b.scheduler
	bindings := make([]framework.Binding, len(batch))
	decisions := make([]*schedulerv1.Decision, len(batch))
	spans := make([]trace.Span, len(batch))
	for i, a := range batch {
		_, spans[i] = s.tracer.Start(a.ctx, "scheduler.bind")
		message := fmt.Sprintf("Successfully assigned %s to %s", a.pod.Key(), a.node())
		decisions[i] = s.history.keep(a, a.node(), message)
		bindings[i] = framework.Binding{Context: a.ctx, Pod: a.pod, Node: a.node(), Notice: s.notice(a, message)}
	}
	ctx = trace.ContextWithSpan(ctx, spans[0])
	s.metrics.batch.Observe(float64(len(batch)))
	for i, status := range batch[0].profile.Bind(ctx, bindings) {
		if status.Success() {
			s.bound(batch[i], decisions[i], bindings[i].Notice)
		} else {
			spans[i].SetStatus(codes.Error, status.Message())
			s.history.drop(batch[i].pod.Key(), decisions[i])
			s.notBound(batch[i], status)
		}
		spans[i].End()
	}
}

// scheduled is the reason of the Event that tells of a binding.
const scheduled = "Scheduled"

// notice returns the Event that tells of a binding, nil if there is to be none.
func (s *Scheduler) notice(a *attempt, message string) *framework.Notice {
	r, ok := s.recorders[a.pod.Pod.Spec.SchedulerName]
	if !ok {
		return nil
	}
	event, err := r.Compose(a.pod.Pod, corev1.EventTypeNormal, scheduled, message)
	if err != nil {
		s.log.ErrorContext(a.ctx, "a binding has no event", "pod", a.pod.Key(), "error", err)
		return nil
	}
	return &framework.Notice{Event: event}
}

// bound makes a stored binding known.
func (s *Scheduler) bound(a *attempt, d *schedulerv1.Decision, n *framework.Notice) {
	s.cache.Bound(a.pod.Pod.UID)
	s.queue.Done(a.pod.Pod.UID)
	s.history.tell(d)
	if n == nil || !n.Stored {
		s.event(a.pod.Pod, a.pod.Pod, corev1.EventTypeNormal, scheduled, d.GetMessage())
	}
	s.metrics.attempted("scheduled", a)
	s.metrics.placed(a)
	s.log.DebugContext(a.ctx, "scheduled", "pod", a.pod.Key(), "node", a.node())
}

// notBound takes a decision back whose binding was not stored, as far as is
// known; if it was, the informer will show it.
func (s *Scheduler) notBound(a *attempt, err error) {
	s.takeBack(a)
	s.broken(a, fmt.Errorf("bind to node %s: %w", a.node(), err))
}

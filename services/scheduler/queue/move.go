package queue

import (
	"time"

	"navarch.dev/navarch/services/scheduler/framework"
)

// stuckStep is the least time between two looks for stuck pods.
const stuckStep = 30 * time.Second

// Happened tells the queue of an event: unschedulable pods that it can help
// are tried again.
func (q *Queue) Happened(e framework.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flights.happened(e)
	for entry := range q.parked {
		if q.helps(entry, e) {
			q.requeue(entry)
		}
	}
}

// helps says whether one of the plugins that rejected the pod takes the event
// for a reason to try again. Where no plugin was asked, there was no node.
func (q *Queue) helps(e *entry, event framework.Event) bool {
	if len(e.pod.RejectedBy) == 0 {
		return event.Resource == framework.Node && event.Action&framework.Add != 0
	}
	for _, plugin := range e.pod.RejectedBy {
		for _, hint := range q.rules.Hints(e.pod.PodInfo, plugin) {
			if hint.Covers(e.pod.PodInfo, event) {
				return true
			}
		}
	}
	return false
}

// admit puts a pod where it belongs: with the gated or the active ones.
func (q *Queue) admit(e *entry) {
	e.pod.Since = time.Now()
	if s := q.rules.PreEnqueue(e.pod.PodInfo); !s.Success() {
		e.pod.Failure = s.Message()
		q.put(e, gated)
		return
	}
	e.pod.Failure = ""
	q.put(e, active)
}

// requeue moves a pod to the active queue, or to back-off until that is over.
func (q *Queue) requeue(e *entry) {
	q.remove(e)
	if time.Now().Before(e.due) {
		q.put(e, backoff)
		return
	}
	q.admit(e)
}

// put and remove keep an entry, the heaps, the counts and the timer together.
func (q *Queue) put(e *entry, p place) {
	e.place = p
	q.counts[p]++
	switch p {
	case unschedulable:
		q.parked[e] = struct{}{}
	case active:
		q.active.push(e)
		q.wake.Signal()
	case backoff:
		q.backoffHeap(e).push(e)
		q.arm()
		if !e.failed {
			q.wake.Signal()
		}
	}
}

func (q *Queue) remove(e *entry) {
	if e.place == "" {
		return
	}
	q.counts[e.place]--
	switch e.place {
	case unschedulable:
		delete(q.parked, e)
	case active:
		q.active.remove(e)
	case backoff:
		q.backoffHeap(e).remove(e)
	}
	e.place = ""
}

func (q *Queue) backoffHeap(e *entry) *heap {
	if e.failed {
		return q.failed
	}
	return q.rejected
}

// backoffTime doubles with every attempt.
func (q *Queue) backoffTime(attempts int) time.Duration {
	d := q.config.InitialBackoff
	for range attempts - 1 {
		if d *= 2; d >= q.config.MaxBackoff {
			return q.config.MaxBackoff
		}
	}
	return min(d, q.config.MaxBackoff)
}

// arm sets the timer for the next back-off to end.
func (q *Queue) arm() {
	var next time.Time
	for _, h := range []*heap{q.rejected, q.failed} {
		if e := h.peek(); e != nil && (next.IsZero() || e.due.Before(next)) {
			next = e.due
		}
	}
	if next.IsZero() || q.timer != nil && !q.timerAt.After(next) {
		return
	}
	if q.timer != nil {
		q.timer.Stop()
	}
	q.timerAt = next
	q.timer = time.AfterFunc(time.Until(next), q.backoffEnded)
}

// backoffEnded moves the pods that are due.
func (q *Queue) backoffEnded() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.timer = nil
	now := time.Now()
	for _, h := range []*heap{q.rejected, q.failed} {
		for e := h.peek(); e != nil && !e.due.After(now); e = h.peek() {
			q.remove(e)
			q.admit(e)
		}
	}
	q.arm()
}

// armStuck looks for stuck pods once the one that just came could be one.
func (q *Queue) armStuck() {
	if q.stuckTimer == nil {
		q.stuckTimer = time.AfterFunc(q.config.StuckAfter, q.flushStuck)
	}
}

// flushStuck tries pods again that no event has helped for long.
func (q *Queue) flushStuck() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.stuckTimer = nil
	now := time.Now()
	var oldest time.Time
	for e := range q.parked {
		switch {
		case now.Sub(e.pod.Since) >= q.config.StuckAfter:
			q.requeue(e)
		case oldest.IsZero() || e.pod.Since.Before(oldest):
			oldest = e.pod.Since
		}
	}
	if !oldest.IsZero() {
		wait := max(oldest.Add(q.config.StuckAfter).Sub(now), stuckStep)
		q.stuckTimer = time.AfterFunc(wait, q.flushStuck)
	}
}

// Close stops the timers. Pop's contexts end it for its callers.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, t := range []*time.Timer{q.timer, q.stuckTimer} {
		if t != nil {
			t.Stop()
		}
	}
}

// Package queue holds the pods that wait for a node.
//
//	            Pop                          Reject
//	active ───────────▶ being scheduled ──────────────▶ unschedulable
//	   ▲ ▲                     │ Retry                        │ an event that
//	   │ │ time is up          ▼                              │ helps a plugin
//	   │ └───────────────── backoff ◀─────────────────────────┤ that rejected
//	   └──────────────────────────────────────────────────────┘
//	                                (its back-off is over already)
//
// A pod whose scheduling gates are closed is gated: it waits for an update of
// itself. Events that arrive while a pod is being scheduled are kept, so that
// a pod which is rejected a moment later does not sleep through them. Nothing
// polls: one timer is armed for the next back-off to end, and one, while there
// are unschedulable pods, to try those again that have been stuck for long.
//
// A pod in back-off because of a rejection is popped early when no active pod
// is left: the back-off keeps rejected pods from holding others up, and there
// are none to hold up. After an error the pod always waits: what it keeps from
// being hammered is the broken thing.
package queue

import (
	"container/list"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Rules are what the queue asks of the plugins; framework.Profiles has them.
type Rules interface {
	Less(a, b *framework.QueuedPod) bool
	PreEnqueue(pod *snapshot.PodInfo) *framework.Status
	Hints(pod *snapshot.PodInfo, plugin string) []framework.EventHint
}

// Config are the queue's times.
type Config struct {
	InitialBackoff, MaxBackoff time.Duration
	// StuckAfter is how long a pod stays unschedulable before it is tried
	// again without an event. It guards against events that a plugin forgot.
	StuckAfter time.Duration
}

// place is one of the queue's parts.
type place string

const (
	active        place = "active"
	backoff       place = "backoff"
	unschedulable place = "unschedulable"
	gated         place = "gated"
	inFlight      place = "scheduling"
)

// entry is a pod and where it is.
type entry struct {
	pod   *framework.QueuedPod
	place place
	// failed says that the last attempt ended in an error.
	failed bool
	// due is when its back-off ends.
	due time.Time
	// index is its position in the heap that holds it.
	index int
	// flight is its place among the flights, and firstEvent the number of the
	// first event after it was popped.
	flight     *list.Element
	firstEvent int
	// committed says that it has a node and needs no events any more.
	committed bool
	// deleted and latest are what happened to it while it was in flight.
	deleted bool
	latest  *snapshot.PodInfo
}

// Queue is safe for concurrent use.
type Queue struct {
	config Config
	rules  Rules

	mu      sync.Mutex // guards everything below
	wake    *sync.Cond // signalled when there may be something to Pop
	entries map[types.UID]*entry
	active  *heap
	// rejected and failed hold the pods in back-off, by when it ends.
	rejected, failed *heap
	counts           map[place]int
	closed           bool
	timer            *time.Timer
	timerAt          time.Time
	stuckTimer       *time.Timer
	// parked are the unschedulable pods.
	parked  map[*entry]struct{}
	flights flights
}

// New returns an empty queue.
func New(config Config, rules Rules) *Queue {
	q := &Queue{
		config: config, rules: rules,
		entries: make(map[types.UID]*entry), counts: make(map[place]int),
		parked: make(map[*entry]struct{}), flights: newFlights(),
		active:   newHeap(func(a, b *entry) bool { return rules.Less(a.pod, b.pod) }),
		rejected: newHeap(func(a, b *entry) bool { return a.due.Before(b.due) }),
		failed:   newHeap(func(a, b *entry) bool { return a.due.Before(b.due) }),
	}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// Add adds a new pod. One that is there already is updated.
func (q *Queue) Add(pod *snapshot.PodInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.entries[pod.Pod.UID]; ok {
		q.update(pod)
		return
	}
	now := time.Now()
	e := &entry{pod: &framework.QueuedPod{PodInfo: pod, Added: now, Since: now}, index: -1}
	q.entries[pod.Pod.UID] = e
	q.admit(e)
}

// Update takes a waiting pod's new version over, and tries the pod again if
// the change can help it.
func (q *Queue) Update(pod *snapshot.PodInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.entries[pod.Pod.UID]; ok {
		q.update(pod)
	}
}

func (q *Queue) update(pod *snapshot.PodInfo) {
	e := q.entries[pod.Pod.UID]
	if e.place == inFlight {
		e.latest = pod
		return
	}
	old := e.pod.PodInfo
	e.pod.PodInfo = pod
	switch e.place {
	case gated:
		q.remove(e)
		q.admit(e)
	case active:
		q.active.fix(e)
	case unschedulable:
		event := framework.Event{Resource: framework.WaitingPod, Action: framework.PodChanges(old.Pod, pod.Pod), Old: old.Pod, New: pod.Pod}
		if event.Action != 0 && q.helps(e, event) {
			q.requeue(e)
		}
	}
}

// Delete removes a pod: it is gone, or has a node.
func (q *Queue) Delete(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[uid]
	switch {
	case !ok:
	case e.place == inFlight:
		e.deleted = true
	default:
		q.remove(e)
		delete(q.entries, uid)
	}
}

// Pop waits for the next pod and hands it out. The pod is in flight until one
// of Done, Reject and Retry is called for it. It returns false once ctx ends.
func (q *Queue) Pop(ctx context.Context) (*framework.QueuedPod, bool) {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.wake.Broadcast()
	})()
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		e := q.active.peek()
		if e == nil {
			e = q.rejected.peek()
		}
		if e != nil {
			q.remove(e)
			q.put(e, inFlight)
			e.committed = false
			q.flights.begin(e)
			e.pod.Attempts++
			return e.pod, true
		}
		q.wake.Wait()
	}
	return nil, false
}

// Committed says that an in-flight pod has a node and can only fail by an error
// from now on. Events are not kept for it, however long its binding takes.
func (q *Queue) Committed(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.entries[uid]; ok && e.place == inFlight {
		e.committed = true
		q.flights.end(e)
	}
}

// Done says that an in-flight pod needs no further attempt.
func (q *Queue) Done(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.land(uid); ok {
		delete(q.entries, e.pod.Pod.UID)
	}
}

// Reject returns an in-flight pod that plugins rejected. It waits for an event
// that helps one of them, and one may have come already.
func (q *Queue) Reject(uid types.UID, plugins []string, message string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, since, ok := q.back(uid, message)
	if !ok {
		return
	}
	e.failed = false
	e.pod.RejectedBy = plugins
	if e.committed { // what would help may have happened
		q.requeue(e)
		return
	}
	for _, event := range since {
		if q.helps(e, event) {
			q.requeue(e)
			return
		}
	}
	q.put(e, unschedulable)
	q.armStuck()
}

// Retry returns an in-flight pod whose attempt ended in an error: it is tried
// again after its back-off.
func (q *Queue) Retry(uid types.UID, message string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, _, ok := q.back(uid, message)
	if !ok {
		return
	}
	e.failed = true
	e.pod.RejectedBy = nil
	q.requeue(e)
}

// back takes a pod out of flight and returns the events that it missed; false
// if it is gone by now.
func (q *Queue) back(uid types.UID, message string) (e *entry, since []framework.Event, ok bool) {
	if e, ok = q.entries[uid]; ok {
		since = q.flights.missed(e)
	}
	if e, ok = q.land(uid); !ok {
		return nil, nil, false
	}
	if e.deleted {
		delete(q.entries, uid)
		return nil, nil, false
	}
	now := time.Now()
	e.pod.Failure = message
	e.pod.Since = now
	e.due = now.Add(q.backoffTime(e.pod.Attempts))
	if e.latest != nil {
		old := e.pod.PodInfo
		e.pod.PodInfo, e.latest = e.latest, nil
		changes := framework.PodChanges(old.Pod, e.pod.Pod)
		since = append(since,
			framework.Event{Resource: framework.WaitingPod, Action: changes, Old: old.Pod, New: e.pod.Pod})
	}
	return e, since, true
}

// land takes a pod out of flight.
func (q *Queue) land(uid types.UID) (*entry, bool) {
	e, ok := q.entries[uid]
	if !ok || e.place != inFlight {
		return nil, false
	}
	q.remove(e)
	q.flights.end(e)
	return e, true
}

// Depths returns how many pods are in each part of the queue.
func (q *Queue) Depths() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make(map[string]int, 5)
	for _, p := range []place{active, backoff, unschedulable, gated, inFlight} {
		out[string(p)] = q.counts[p]
	}
	return out
}

// Where returns the part of the queue that holds a pod and what the last
// attempt said of it; "" if the queue does not have it.
func (q *Queue) Where(uid types.UID) (part, failure string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[uid]
	if !ok {
		return "", ""
	}
	return string(e.place), e.pod.Failure
}

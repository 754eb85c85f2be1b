package queue

import (
	"container/list"
	"slices"

	"navarch.dev/navarch/services/scheduler/framework"
)

// flights are the pods in flight that may still be rejected, and the events
// that have happened meanwhile, each kept for as long as one of the pods has to
// see it. Pods take off in the order of events, so the first is always the one
// that needs the oldest.
type flights struct {
	pods   *list.List // of *entry
	events []framework.Event
	first  int // the number of the first of events
}

func newFlights() flights { return flights{pods: list.New()} }

// begin adds a pod.
func (f *flights) begin(e *entry) {
	e.firstEvent = f.first + len(f.events)
	e.flight = f.pods.PushBack(e)
}

// happened keeps an event, if there is a pod to keep it for.
func (f *flights) happened(e framework.Event) {
	if f.pods.Len() > 0 {
		f.events = append(f.events, e)
	}
}

// missed returns the events since a pod began; none if it is not among the
// flights any more.
func (f *flights) missed(e *entry) []framework.Event {
	if e.flight == nil {
		return nil
	}
	return slices.Clone(f.events[e.firstEvent-f.first:])
}

// end removes a pod, if it is there, and the events that were kept for it alone.
func (f *flights) end(e *entry) {
	if e.flight == nil {
		return
	}
	f.pods.Remove(e.flight)
	e.flight = nil
	n := len(f.events)
	if oldest := f.pods.Front(); oldest != nil {
		n = oldest.Value.(*entry).firstEvent - f.first
	}
	f.first += n
	if n == len(f.events) {
		f.events = nil
		return
	}
	clear(f.events[:n]) // what they refer to must not live on
	f.events = f.events[n:]
}

package cache

import (
	"slices"
	"time"
)

// Event is one change of one object. Prev is nil for a new object; Deleted
// says that Version is the last state of an object that is gone.
type Event struct {
	Revision int64
	Version  *Version
	Prev     *Version
	Deleted  bool
}

const (
	// maxHistory is how many changes a resource's history holds at most.
	maxHistory = 8192
	// historyAge is how long a change is kept once newer ones follow it.
	historyAge = 5 * time.Minute
)

// history is the recent changes of a resource, numbered in order.
type history struct {
	events []recorded
	// first is the number of events[0].
	first int64
	// since is the revision that the oldest kept change came after: watches
	// can resume from it and from later ones.
	since int64
	lanes lanes
}

type recorded struct {
	Event
	at time.Time
}

// next is the number of the change to come.
func (h *history) next() int64 { return h.first + int64(len(h.events)) }

// restart empties the history: it begins anew after a revision.
func (h *history) restart(revision int64) {
	h.events, h.first, h.since = nil, h.next(), revision
	h.lanes.restart()
}

func (h *history) append(e Event, now time.Time) {
	h.lanes.record(e, h.next())
	h.events = append(h.events, recorded{e, now})
	drop := max(0, len(h.events)-maxHistory)
	for drop < len(h.events)-1 && now.Sub(h.events[drop].at) > historyAge {
		drop++
	}
	if drop == 0 {
		return
	}
	h.since = h.events[drop-1].Revision
	for i := range drop {
		h.lanes.drop(h.events[i].Event, h.first+int64(i))
	}
	clear(h.events[:drop])
	h.events = h.events[drop:]
	h.first += int64(drop)
}

// after returns the number of the first change after a revision.
func (h *history) after(revision int64) int64 {
	low, high := 0, len(h.events)
	for low < high {
		if mid := (low + high) / 2; h.events[mid].Revision > revision {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return h.first + int64(low)
}

// from copies at most limit changes from a number on. It goes beyond the limit
// rather than part changes of one revision: a watcher that resumes after a
// revision must have seen all of it.
func (h *history) from(number int64, limit int) []Event {
	rest := h.events[number-h.first:]
	n := min(limit, len(rest))
	for n > 0 && n < len(rest) && rest[n].Revision == rest[n-1].Revision {
		n++
	}
	out := make([]Event, n)
	for i := range out {
		out[i] = rest[i].Event
	}
	return out
}

// pick copies at most about limit of the changes with the given numbers, which
// ascend. As from does, it does not part changes of one revision.
func (h *history) pick(numbers []int64, limit int) []Event {
	at := func(i int) Event { return h.events[numbers[i]-h.first].Event }
	n := min(limit, len(numbers))
	for n > 0 && n < len(numbers) && at(n).Revision == at(n-1).Revision {
		n++
	}
	out := make([]Event, n)
	for i := range out {
		out[i] = at(i)
	}
	return out
}

// lastRemoval returns the newest removal of a key, of those before a revision
// unless that is 0.
func (h *history) lastRemoval(key string, before int64) (Event, bool) {
	for _, e := range slices.Backward(h.events) {
		if e.Deleted && e.Version.Key == key && (before == 0 || e.Revision < before) {
			return e.Event, true
		}
	}
	return Event{}, false
}

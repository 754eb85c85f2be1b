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
	// maxHistoryBytes is how large the messages in a history may be together, so
	// that a few objects that are large and often changed, as Endpoints of
	// thousands of pods, do not fill the memory with what they were. The last
	// leastHistory changes are kept in any case.
	maxHistoryBytes = 32 << 20
	leastHistory    = 128
)

// history is the recent changes of a resource, numbered in order.
type history struct {
	events []recorded
	// first is the number of events[0].
	first int64
	// since is the revision that the oldest kept change came after: watches
	// can resume from it and from later ones.
	since int64
	// bytes is how large the messages of the changes are together.
	bytes int64
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
	h.events, h.first, h.since, h.bytes = nil, h.next(), revision, 0
	h.lanes.restart(h.next())
}

func (h *history) append(e Event, now time.Time) {
	h.lanes.record(e, h.next())
	h.events = append(h.events, recorded{e, now})
	h.bytes += e.size()
	drop := 0
	for drop < len(h.events)-1 && h.surplus(drop, now) {
		h.bytes -= h.events[drop].size()
		drop++
	}
	if drop > 0 {
		h.drop(drop)
	}
}

// surplus says whether a change that is now the oldest is one too many.
func (h *history) surplus(oldest int, now time.Time) bool {
	left := len(h.events) - oldest
	return left > maxHistory || left > leastHistory && h.bytes > maxHistoryBytes || now.Sub(h.events[oldest].at) > historyAge
}

// drop forgets the oldest changes.
func (h *history) drop(n int) {
	h.since = h.events[n-1].Revision
	for i := range n {
		h.lanes.drop(h.events[i].Event, h.first+int64(i))
	}
	clear(h.events[:n])
	h.events = h.events[n:]
	h.first += int64(n)
}

// size is how many bytes the change keeps in memory, if nothing else does.
func (e *Event) size() int64 { return int64(len(e.Version.wire)) }

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

// from appends at most limit changes from a number on. It goes beyond the limit
// rather than part changes of one revision: a watcher that resumes after a
// revision must have seen all of it.
func (h *history) from(dst []Event, number int64, limit int) []Event {
	rest := h.events[number-h.first:]
	n := min(limit, len(rest))
	for n > 0 && n < len(rest) && rest[n].Revision == rest[n-1].Revision {
		n++
	}
	for _, r := range rest[:n] {
		dst = append(dst, r.Event)
	}
	return dst
}

// pick appends at most about limit of the changes with the given numbers, which
// ascend. As from does, it does not part changes of one revision.
func (h *history) pick(dst []Event, numbers []int64, limit int) []Event {
	at := func(i int) Event { return h.events[numbers[i]-h.first].Event }
	n := min(limit, len(numbers))
	for n > 0 && n < len(numbers) && at(n).Revision == at(n-1).Revision {
		n++
	}
	for i := range n {
		dst = append(dst, at(i))
	}
	return dst
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

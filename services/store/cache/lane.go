package cache

import (
	"slices"
	"strings"
)

// Part says which changes a watcher is for: those that concern all that it names.
// The zero Part is all changes. It may get others, too, but is not woken by them.
type Part struct {
	// Only is a value of the kind's WatchField, before or after a change; nil is
	// any, and so is everything where the kind has no such field.
	Only *string
	// Prefix is what keys begin with: those of a namespace, or of the resource.
	Prefix string
	// Key is that of the only object; empty is any.
	Key string
}

// A lane is the part of a resource's history that concerns one value of the
// kind's WatchField, one namespace or one object. Its watchers sleep through all
// other changes: of a thousand agents that watch their own pods, one is woken for
// a pod.
type lane struct {
	// numbers are those of the lane's changes that the history still holds, in
	// order.
	numbers []int64
	// since is the number from which on they are complete.
	since int64
	// dropped is the number after the last of the lane's changes that the
	// history has dropped.
	dropped int64
	// watchers are those who watch the lane.
	watchers sleepers
	// changed says that they are to be woken.
	changed bool
}

// lanes are a history's lanes. Those of values are kept while they have changes
// or watchers, so that who comes back finds its own. Those of namespaces and
// objects, of which there may be many more, are kept for watchers alone.
type lanes struct {
	field   string
	byValue map[string]*lane
	byKey   map[string]*lane // by a key, or by a prefix of keys
	// all has no numbers: it is for the watchers of all changes.
	all lane
	// changed are the lanes whose watchers are to be woken.
	changed []*lane
}

func newLanes(field string) lanes {
	return lanes{field: field, byValue: make(map[string]*lane), byKey: make(map[string]*lane)}
}

// valuesOf returns the values of the WatchField that a change concerns: an
// object's before and after.
func (l *lanes) valuesOf(e Event) []string {
	if l.field == "" {
		return nil
	}
	values := []string{e.Version.Field(l.field)}
	if e.Prev != nil {
		if was := e.Prev.Field(l.field); was != values[0] {
			values = append(values, was)
		}
	}
	return values
}

// keyed calls use with the lanes of a change's object and of its namespace.
func (l *lanes) keyed(e Event, use func(*lane)) {
	if len(l.byKey) == 0 {
		return
	}
	for _, name := range [2]string{e.Version.Key, namespaceOf(e.Version.Key)} {
		if in := l.byKey[name]; in != nil {
			use(in)
		}
	}
}

// namespaceOf returns what the keys of an object's namespace begin with.
func namespaceOf(key string) string { return key[:strings.LastIndexByte(key, '/')+1] }

// record adds a change to its lanes.
func (l *lanes) record(e Event, number int64) {
	l.touch(&l.all)
	add := func(in *lane) {
		in.numbers = append(in.numbers, number)
		l.touch(in)
	}
	for _, value := range l.valuesOf(e) {
		add(l.ofValue(value))
	}
	l.keyed(e, add)
}

func (l *lanes) ofValue(value string) *lane {
	found := l.byValue[value]
	if found == nil {
		found = new(lane)
		l.byValue[value] = found
	}
	return found
}

// touch makes a lane's watchers be woken.
func (l *lanes) touch(in *lane) {
	if !in.changed {
		in.changed = true
		l.changed = append(l.changed, in)
	}
}

// woken returns the watchers that are to be woken since it was called last.
func (l *lanes) woken() []*Watcher {
	var out []*Watcher
	for _, in := range l.changed {
		out = append(out, in.watchers...)
		in.changed = false
	}
	clear(l.changed)
	l.changed = l.changed[:0]
	return out
}

// drop forgets a change that is the oldest of the history.
func (l *lanes) drop(e Event, number int64) {
	for _, value := range l.valuesOf(e) {
		if in := l.byValue[value]; in != nil {
			in.drop(number)
			l.discard(value)
		}
	}
	l.keyed(e, func(in *lane) { in.drop(number) })
}

func (in *lane) drop(number int64) {
	if len(in.numbers) > 0 && in.numbers[0] == number {
		in.numbers, in.dropped = in.numbers[1:], number+1
	}
}

// restart forgets all changes, of which the next has a number, and has all
// watchers woken, who find out.
func (l *lanes) restart(next int64) {
	l.touch(&l.all)
	for value, in := range l.byValue {
		in.numbers = nil
		l.touch(in)
		l.discard(value)
	}
	for _, in := range l.byKey {
		in.numbers, in.since = nil, next
		l.touch(in)
	}
}

// discard frees the lane of a value that nobody needs.
func (l *lanes) discard(value string) {
	if in := l.byValue[value]; len(in.numbers) == 0 && len(in.watchers) == 0 {
		delete(l.byValue, value)
	}
}

// from returns the numbers of the lane's changes from one on.
func (in *lane) from(number int64) []int64 {
	i, _ := slices.BinarySearch(in.numbers, number)
	return in.numbers[i:]
}

// join adds a watcher that has seen all changes before w.next to the lane of a
// part, and leave takes it out again.
func (h *history) join(w *Watcher, p Part) {
	switch {
	case p.Only != nil && h.lanes.field != "":
		w.lane, w.value = h.lanes.ofValue(*p.Only), *p.Only
	case p.Key != "":
		w.lane, w.key = h.laneOf(p.Key, w.next), p.Key
	case p.Prefix != "":
		w.lane, w.key = h.laneOf(p.Prefix, w.next), p.Prefix
	default:
		w.lane = &h.lanes.all
	}
	w.lane.watchers.add(w)
}

// laneOf returns the lane of a key or a prefix, which knows its changes from a
// number on.
func (h *history) laneOf(name string, number int64) *lane {
	in := h.lanes.byKey[name]
	if in == nil {
		in = &lane{since: h.next()}
		h.lanes.byKey[name] = in
	}
	if number >= in.since {
		return in
	}
	var older []int64
	for n := number; n < in.since; n++ {
		if key := h.events[n-h.first].Version.Key; key == name || namespaceOf(key) == name {
			older = append(older, n)
		}
	}
	in.numbers, in.since = append(older, in.numbers...), number
	return in
}

func (h *history) leave(w *Watcher) {
	w.lane.watchers.remove(w)
	switch {
	case w.lane == &h.lanes.all:
	case w.key == "":
		h.lanes.discard(w.value)
	case len(w.lane.watchers) == 0:
		delete(h.lanes.byKey, w.key)
	}
}

// sleepers are watchers that wait for the same.
type sleepers []*Watcher

func (s *sleepers) add(w *Watcher) {
	w.place = len(*s)
	*s = append(*s, w)
}

func (s *sleepers) remove(w *Watcher) {
	last := len(*s) - 1
	(*s)[w.place] = (*s)[last]
	(*s)[w.place].place = w.place
	(*s)[last] = nil
	*s = (*s)[:last]
}

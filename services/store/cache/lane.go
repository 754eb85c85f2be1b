package cache

import "slices"

// A lane is the part of a resource's history that concerns one value of the
// kind's WatchField. Its watchers sleep through all other changes: of a
// thousand agents that watch their own pods, one is woken for a pod.
type lane struct {
	// numbers are those of the lane's changes that the history still holds, in
	// order.
	numbers []int64
	// dropped is the number after the last of the lane's changes that the
	// history has dropped.
	dropped int64
	// changed is closed and replaced when the lane has a new change.
	changed chan struct{}
	// watchers is how many watch the lane.
	watchers int
}

// lanes are a history's lanes by value. Those without changes and without
// watchers are not kept.
type lanes struct {
	field  string
	byName map[string]*lane
}

func newLanes(field string) lanes { return lanes{field: field, byName: make(map[string]*lane)} }

// of returns the values that a change concerns: an object's before and after.
func (l *lanes) of(e Event) []string {
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

func (l *lanes) get(value string) *lane {
	found := l.byName[value]
	if found == nil {
		found = &lane{changed: make(chan struct{})}
		l.byName[value] = found
	}
	return found
}

// record adds a change to its lanes and wakes their watchers.
func (l *lanes) record(e Event, number int64) {
	for _, value := range l.of(e) {
		in := l.get(value)
		in.numbers = append(in.numbers, number)
		in.wake()
	}
}

// drop forgets a change that is the oldest of the history.
func (l *lanes) drop(e Event, number int64) {
	for _, value := range l.of(e) {
		if in := l.byName[value]; in != nil && len(in.numbers) > 0 && in.numbers[0] == number {
			in.numbers, in.dropped = in.numbers[1:], number+1
			l.discard(value)
		}
	}
}

// restart forgets all changes and wakes all watchers, who find out.
func (l *lanes) restart() {
	for value, in := range l.byName {
		in.numbers = nil
		in.wake()
		l.discard(value)
	}
}

// discard frees a lane that nobody needs.
func (l *lanes) discard(value string) {
	if in := l.byName[value]; len(in.numbers) == 0 && in.watchers == 0 {
		delete(l.byName, value)
	}
}

func (in *lane) wake() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// from returns the numbers of the lane's changes from one on.
func (in *lane) from(number int64) []int64 {
	i, _ := slices.BinarySearch(in.numbers, number)
	return in.numbers[i:]
}

package node

import (
	"sync"
	"time"
)

// relief is how long a shortage must have been over for the node to say so: else
// what was evicted would come back at once, and fill it again.
const relief = 5 * time.Minute

// pressure says what the node is short of.
type pressure struct {
	memory, disk, pids bool
}

// lasting returns what was read within the time of relief.
func lasting(read func() pressure) func() pressure {
	var mu sync.Mutex
	var memory, disk, pids time.Time // when it was last short of them
	return func() pressure {
		mu.Lock()
		defer mu.Unlock()
		p, now := read(), time.Now()
		return pressure{lasts(&memory, p.memory, now), lasts(&disk, p.disk, now), lasts(&pids, p.pids, now)}
	}
}

// lasts notes a shortage, and says whether one is not long enough ago.
func lasts(last *time.Time, short bool, now time.Time) bool {
	if short {
		*last = now
	}
	return !last.IsZero() && now.Sub(*last) < relief
}

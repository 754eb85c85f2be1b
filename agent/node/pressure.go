package node

import (
	"sync"
	"time"
)

// pressure says what the node is short of.
type pressure struct {
	memory, disk, pids bool
}

// lasting returns what was read within the time of relief: how long a shortage must
// have been over for the node to say so. Else what was evicted would come back at
// once, and fill it again.
func lasting(relief time.Duration, read func() pressure) func() pressure {
	var mu sync.Mutex
	var memory, disk, pids time.Time // when it was last short of them
	return func() pressure {
		mu.Lock()
		defer mu.Unlock()
		p, now := read(), time.Now()
		return pressure{lasts(&memory, p.memory, now, relief), lasts(&disk, p.disk, now, relief), lasts(&pids, p.pids, now, relief)}
	}
}

// lasts notes a shortage, and says whether there is one or it is not over for long
// enough.
func lasts(last *time.Time, short bool, now time.Time, relief time.Duration) bool {
	if short {
		*last = now
	}
	return short || !last.IsZero() && now.Sub(*last) < relief
}

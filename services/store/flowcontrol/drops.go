package flowcontrol

import (
	"sync"
	"time"
)

// longestRetryAfter is the most seconds that a client is asked to wait.
const longestRetryAfter = 32

// drops decides after how long those come back whom a level refuses, as TCP
// spaces what is lost: the time doubles while many are refused, and shrinks by a
// second at a time when it gets quieter.
type drops struct {
	mu sync.Mutex // guards the fields below
	// retryAfter is in seconds; 0 is 1.
	retryAfter int64
	doubled    int64
	// second is the present one, and refused those of it and of the seconds
	// before, by the second's remainder.
	second  int64
	refused [2 * longestRetryAfter]int64
}

// another counts a refused request and returns after how many seconds it may be
// tried again.
func (d *drops) another(now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retryAfter = max(d.retryAfter, 1)
	if second := now.Unix(); second > d.second {
		d.judge(second)
	}
	d.refused[d.second%int64(len(d.refused))]++
	return int(d.retryAfter)
}

// judge begins a second. It looks at as many seconds before it as clients are
// asked to wait for.
func (d *drops) judge(second int64) {
	for s := max(d.second+1, second-int64(len(d.refused))+1); s <= second; s++ {
		d.refused[s%int64(len(d.refused))] = 0
	}
	d.second = second
	var recent int64
	for s := second - d.retryAfter; s < second; s++ {
		recent += d.refused[(s+int64(len(d.refused)))%int64(len(d.refused))]
	}
	switch {
	case recent >= 3*d.retryAfter && second-d.doubled >= d.retryAfter:
		d.retryAfter = min(2*d.retryAfter, longestRetryAfter)
		d.doubled = second
	case recent < d.retryAfter:
		d.retryAfter = max(d.retryAfter-1, 1)
	}
}

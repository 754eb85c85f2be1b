package resourcequota

import (
	"sync"
	"time"
)

const (
	// recountPart is the part of the time that may go into counting one quota again
	// and again while pods of a large namespace come and go: each time all of
	// them are counted.
	recountPart = 10
	// longestPace bounds how long a change waits for that.
	longestPace = 5 * time.Second
)

// pace says how soon after a change a quota is counted again: at once where that
// is quick.
type pace struct {
	mu    sync.Mutex
	byKey map[string]time.Duration
}

// took notes how long counting a quota took.
func (p *pace) took(key string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d < time.Millisecond {
		delete(p.byKey, key)
		return
	}
	if p.byKey == nil {
		p.byKey = make(map[string]time.Duration)
	}
	p.byKey[key] = min(recountPart*d, longestPace)
}

// after is how long a change of what a quota counts waits.
func (p *pace) after(key string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byKey[key]
}

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
	// catchUp is how long a count waits, up to catchUps times, for a copy that may
	// lack what a quota has been charged for: it mostly comes at once, and to list
	// a namespace costs the Store more than anything else here.
	catchUp  = 50 * time.Millisecond
	catchUps = 4
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

// patience counts how often a quota's count has waited for a copy to catch up. A
// copy in which nothing happens is told only now and then how far it has come, so
// that waiting has an end.
type patience struct {
	mu    sync.Mutex
	waits map[string]int
}

// wait says whether a quota's count is to wait once more.
func (p *patience) wait(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits[key] >= catchUps {
		return false
	}
	if p.waits == nil {
		p.waits = make(map[string]int)
	}
	p.waits[key]++
	return true
}

// end says that a quota is counted, or gone.
func (p *patience) end(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waits, key)
}

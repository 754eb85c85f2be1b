package admission

import (
	"maps"
	"sync"
)

// Annotations collects what is to be noted about a write in the audit log. A
// write may be admitted several times before it is stored: what is noted first
// stays. A nil *Annotations takes nothing; it is that of a write that nobody
// audits.
type Annotations struct {
	mu    sync.Mutex // guards noted
	noted map[string]string
}

// Wanted says whether what is added is kept.
func (a *Annotations) Wanted() bool { return a != nil }

// Add notes a value under a key, which names the rule that says so, unless
// there is one already.
func (a *Annotations) Add(key, value string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.noted[key]; ok {
		return
	}
	if a.noted == nil {
		a.noted = make(map[string]string)
	}
	a.noted[key] = value
}

// All returns a copy of what was noted, nil if it is nothing.
func (a *Annotations) All() map[string]string {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.noted)
}

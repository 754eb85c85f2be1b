package horizontalpodautoscaler

import (
	"slices"
	"sync"
	"time"
)

const (
	// longestWindow and longestPeriod are the greatest stabilization window and
	// policy period that the API allows; what is older is forgotten.
	longestWindow = time.Hour
	longestPeriod = 30 * time.Minute
)

// memory is what was recommended and done for each autoscaler. It is lost with
// the process; then the first recommendation is the present scale, so that
// nothing is scaled down rashly.
type memory struct {
	mu    sync.Mutex
	byKey map[string]*history
}

// history is the memory of one autoscaler.
type history struct {
	recommended []event             // how many pods were recommended
	changed     []event             // by how many pods the target was scaled
	counters    map[string]*counted // by what is counted
}

type event struct {
	at time.Time
	n  int32
}

func newMemory() *memory { return &memory{byKey: make(map[string]*history)} }

func (m *memory) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byKey, key)
}

// begin notes the present scale as the first recommendation, and forgets
// counters that nobody has read for long.
func (m *memory) begin(key string, replicas int32, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byKey[key] == nil {
		m.byKey[key] = &history{recommended: []event{{now, replicas}}, counters: make(map[string]*counted)}
	}
	m.byKey[key].forgetCounters(now)
}

// recommend notes a recommendation and returns the lowest and the highest one
// of the windows that end with it.
func (m *memory) recommend(key string, replicas int32, now time.Time, up, down time.Duration) (lowest, highest int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.byKey[key]
	h.recommended = slices.DeleteFunc(h.recommended, func(e event) bool { return now.Sub(e.at) > longestWindow })
	lowest, highest = replicas, replicas
	for _, e := range h.recommended {
		if now.Sub(e.at) < up {
			lowest = min(lowest, e.n)
		}
		if now.Sub(e.at) < down {
			highest = max(highest, e.n)
		}
	}
	h.recommended = append(h.recommended, event{now, replicas})
	return lowest, highest
}

// scaled notes by how many pods the target was scaled.
func (m *memory) scaled(key string, by int32, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.byKey[key]
	h.changed = slices.DeleteFunc(h.changed, func(e event) bool { return now.Sub(e.at) > longestPeriod })
	h.changed = append(h.changed, event{now, by})
}

// change returns by how many pods the target was scaled lately.
func (m *memory) change(key string, now time.Time, period time.Duration) (n int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.byKey[key].changed {
		if now.Sub(e.at) < period {
			n += e.n
		}
	}
	return n
}

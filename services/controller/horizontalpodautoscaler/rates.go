package horizontalpodautoscaler

import "time"

const (
	// shortestLook is the shortest time over which a rate is taken. Who looks
	// again sooner is told the rate of before.
	shortestLook = 5 * time.Second
	// longestLook is the longest such time: what a counter did before says
	// nothing of now.
	longestLook = 5 * time.Minute
)

// counted is what was last seen of a counter.
type counted struct {
	at     time.Time // by the clock of the counter's node
	series map[string]float64
	rate   rate
	seen   time.Time // by ours
}

// rate is how much a counter grows in a second, on average over a window; an
// empty one is unknown.
type rate struct {
	perSecond float64
	window    time.Duration
}

// count notes what a counter is at a time, and returns how fast it has grown
// since it was looked at before. Without ok it is not known yet.
func (m *memory) count(key, counter string, series map[string]float64, at, now time.Time) (rate, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.byKey[key]
	last := h.counters[counter]
	fresh := &counted{at: at, series: series, seen: now}
	if last == nil || at.Before(last.at) || at.Sub(last.at) > longestLook {
		h.counters[counter] = fresh
		return rate{}, false
	}
	window := at.Sub(last.at)
	if window < shortestLook {
		last.seen = now
		return last.rate, last.rate.window > 0
	}
	fresh.rate = rate{growth(last.series, series) / window.Seconds(), window}
	h.counters[counter] = fresh
	return fresh.rate, true
}

// growth is by how much all series of a counter have grown. One that is less
// than before, or new, began at 0 in between.
func growth(before, after map[string]float64) (sum float64) {
	for labels, v := range after {
		if was, ok := before[labels]; ok && was <= v {
			v -= was
		}
		sum += v
	}
	return sum
}

// forgetCounters drops counters of pods that are gone, or no longer asked.
func (h *history) forgetCounters(now time.Time) {
	for name, c := range h.counters {
		if now.Sub(c.seen) > longestLook {
			delete(h.counters, name)
		}
	}
}

package horizontalpodautoscaler

import (
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	type series = map[string]float64
	// look is one look at a counter, after a time.
	type look struct {
		after time.Duration
		seen  series
		want  float64 // -1: not known
	}
	const s = time.Second
	for name, looks := range map[string][]look{
		"known from the second look on":     {{0, series{"": 100}, -1}, {10 * s, series{"": 130}, 3}, {15 * s, series{"": 130}, 0}},
		"of all series together":            {{0, series{"a": 1, "b": 5}, -1}, {10 * s, series{"a": 11, "b": 25}, 3}},
		"a new series began at nothing":     {{0, series{"a": 1}, -1}, {10 * s, series{"a": 1, "b": 20}, 2}},
		"a program that began anew":         {{0, series{"": 1000}, -1}, {10 * s, series{"": 20}, 2}},
		"a series that is gone":             {{0, series{"a": 1, "b": 5}, -1}, {10 * s, series{"a": 11}, 1}},
		"a look too soon says what it was":  {{0, series{"": 0}, -1}, {10 * s, series{"": 10}, 1}, {1 * s, series{"": 1000}, 1}, {9 * s, series{"": 1010}, 100}},
		"two looks too soon":                {{0, series{"": 0}, -1}, {1 * s, series{"": 10}, -1}, {9 * s, series{"": 20}, 2}},
		"a look too late begins anew":       {{0, series{"": 0}, -1}, {6 * 60 * s, series{"": 10}, -1}, {10 * s, series{"": 20}, 1}},
		"a clock that was set begins anew":  {{0, series{"": 0}, -1}, {-10 * s, series{"": 10}, -1}, {10 * s, series{"": 20}, 1}},
		"nothing counted, nothing to count": {{0, series{}, -1}, {10 * s, series{}, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			m, now := newMemory(), time.Unix(1e9, 0)
			m.begin("ns/h", 1, now)
			for i, l := range looks {
				now = now.Add(l.after)
				rate, ok := m.count("ns/h", "c", l.seen, now, now)
				if !ok {
					rate.perSecond = -1
				}
				if rate.perSecond != l.want {
					t.Errorf("look %d: %v, want %v", i, rate.perSecond, l.want)
				}
			}
		})
	}
}

func TestCountersAreForgotten(t *testing.T) {
	m, now := newMemory(), time.Unix(1e9, 0)
	m.begin("ns/h", 1, now)
	m.count("ns/h", "gone", map[string]float64{"": 1}, now, now)
	for range 40 {
		now = now.Add(period)
		m.begin("ns/h", 1, now)
		m.count("ns/h", "stays", map[string]float64{"": 1}, now, now)
	}
	if counters := m.byKey["ns/h"].counters; len(counters) != 1 || counters["stays"] == nil {
		t.Errorf("counters %v, want only the one that is still read", counters)
	}
}

package main

import (
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	var s samples
	for i := 100; i > 0; i-- {
		s = append(s, time.Duration(i))
	}
	for _, c := range []struct {
		s    samples
		p    float64
		want time.Duration
	}{
		{s, 50, 50}, {s, 99, 99}, {s, 100, 100}, {s, 0, 1},
		{samples{7}, 50, 7}, {samples{7}, 99, 7}, {samples{3, 1, 2}, 50, 2}, {samples{3, 1, 2}, 99, 3}, {nil, 50, 0},
	} {
		if got := c.s.percentile(c.p); got != c.want {
			t.Errorf("percentile %v of %d samples = %d, want %d", c.p, len(c.s), got, c.want)
		}
	}
}

func TestDescends(t *testing.T) {
	// 1 ─ 10 ─ 11 ─ 12
	//   └ 20
	parents := map[int]int{1: 0, 10: 1, 11: 10, 12: 11, 20: 1}
	for pid, want := range map[int]bool{10: true, 11: true, 12: true, 20: false, 1: false, 99: false} {
		if got := descends(parents, pid, 10); got != want {
			t.Errorf("descends(%d, 10) = %v", pid, got)
		}
	}
}

func TestAtMost(t *testing.T) {
	if l := atMost("f", 20*time.Millisecond, 10*time.Millisecond, 2, "r"); !l.met || l.ratio != "2.00 ×" {
		t.Errorf("at the limit: %+v", l)
	}
	if l := atMost("f", 21*time.Millisecond, 10*time.Millisecond, 2, "r"); l.met {
		t.Errorf("over the limit: %+v", l)
	}
}

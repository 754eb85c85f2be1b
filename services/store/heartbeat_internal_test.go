package store

import (
	"testing"
	"time"
)

func TestOverslept(t *testing.T) {
	due := time.Now()
	for late, want := range map[time.Duration]bool{0: false, 100 * time.Millisecond: false, 600 * time.Millisecond: true, time.Minute: true} {
		if got := overslept(due, due.Add(late), time.Second); got != want {
			t.Errorf("a Store that wakes %v late was stopped itself: %t, want %t", late, got, want)
		}
	}
}

package testcluster

import (
	"testing"
	"time"
)

const (
	// eventuallyTime is far longer than anything takes on a slow machine: it
	// only bounds how long a broken test hangs.
	eventuallyTime = 2 * time.Minute
	eventuallyStep = 50 * time.Millisecond
)

// Eventually waits until check returns nil, and fails the test with check's
// last error if that does not come.
func Eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	EventuallyWithin(tb, eventuallyTime, what, check)
}

// EventuallyWithin is Eventually with a bound of its own.
func EventuallyWithin(tb testing.TB, bound time.Duration, what string, check func() error) {
	tb.Helper()
	deadline := time.Now().Add(bound)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("wait until %s: %v", what, err)
		}
		time.Sleep(eventuallyStep)
	}
}

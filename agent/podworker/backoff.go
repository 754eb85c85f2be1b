package podworker

import "time"

// backoff is when something that failed may be tried again. The first retry
// is immediate; then the wait doubles.
type backoff struct {
	delay time.Duration // of the next failure; 0 is none yet
	until time.Time
}

// fail notes a failure at a time, of something that had run for a while.
func (b *backoff) fail(at time.Time, ran time.Duration) {
	if ran >= backoffReset {
		b.delay = 0
	}
	b.until = at.Add(b.delay)
	b.delay = min(max(firstBackoff, 2*b.delay), longestBackoff)
}

// failSlowly is fail without the immediate first retry.
func (b *backoff) failSlowly(at time.Time) {
	b.delay = min(max(firstBackoff, 2*b.delay), longestBackoff)
	b.until = at.Add(b.delay)
}

// waiting says whether it is too early, and how long the whole wait is.
func (b *backoff) waiting(now time.Time) bool { return now.Before(b.until) }

// last returns the wait that the last failure caused.
func (b *backoff) last() time.Duration {
	if b.delay <= firstBackoff {
		return b.delay
	}
	if b.delay == longestBackoff {
		return longestBackoff
	}
	return b.delay / 2
}

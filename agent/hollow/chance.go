package hollow

import (
	"hash/fnv"
	"math"
	"time"
)

// chance draws random numbers that depend on nothing but a seed and the name
// of what they are for. So a pod's fate does not depend on the order in which
// goroutines run, and a process that takes over from another one draws the same.
type chance uint64

// draw returns a number from 0 up to, not including, 1.
func (c chance) draw(name ...string) float64 {
	h := fnv.New64a()
	for _, part := range name {
		_, _ = h.Write([]byte(part)) // documented never to fail
		_, _ = h.Write([]byte{0})
	}
	return float64(mix(h.Sum64()^mix(uint64(c)))>>11) / (1 << 53)
}

// mix spreads every bit of x over the result: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// happens says whether something that happens at a rate, of 1, does so here.
func (c chance) happens(rate float64, name ...string) bool {
	return rate > 0 && c.draw(name...) < rate
}

// around returns a duration that is evenly distributed about its mean, up to
// spread times the mean away.
func (c chance) around(mean time.Duration, spread float64, name ...string) time.Duration {
	return time.Duration(float64(mean) * (1 + spread*(2*c.draw(name...)-1)))
}

// within returns how long it takes until something happens that happens once
// in every mean on average, at any time as likely as at any other. A mean of 0
// is never.
func (c chance) within(mean time.Duration, name ...string) (time.Duration, bool) {
	if mean <= 0 {
		return 0, false
	}
	const longest = float64(math.MaxInt64 / 2)
	return time.Duration(min(-math.Log(1-c.draw(name...))*float64(mean), longest)), true
}

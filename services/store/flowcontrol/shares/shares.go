// Package shares divides a server's seats among priority levels: what each is
// entitled to by its configuration (Nominal), and what it has for now, when busy
// levels borrow what others do not use (Divide). It follows KEP-1040.
package shares

import "math"

// Claim is what the configuration of a level says.
type Claim struct {
	// Shares are the level's part of all shares.
	Shares int32
	// LendablePercent is how much of its seats others may have.
	LendablePercent int32
	// BorrowingPercent is how much it may have of others, in percent of its own
	// seats; nil is any number.
	BorrowingPercent *int32
}

// Bounds are a level's seats: by its shares, at least, and at most.
type Bounds struct{ Nominal, Min, Max int }

// Nominal divides total seats by the levels' shares. Parts of seats are rounded
// up, so that every level with shares has one; the sum may be a little more than
// total.
func Nominal(total int, claims []Claim) []Bounds {
	var sum float64
	for _, c := range claims {
		sum += float64(c.Shares)
	}
	bounds := make([]Bounds, len(claims))
	for i, c := range claims {
		nominal := 0
		if sum > 0 {
			nominal = int(math.Ceil(float64(total) * float64(c.Shares) / sum))
		}
		borrowed := total
		if c.BorrowingPercent != nil {
			borrowed = percent(nominal, *c.BorrowingPercent)
		}
		bounds[i] = Bounds{Nominal: nominal, Min: nominal - percent(nominal, c.LendablePercent), Max: nominal + borrowed}
	}
	return bounds
}

func percent(of int, p int32) int { return int(math.Round(float64(of) * float64(p) / 100)) }

// smoothing is how much of a level's smoothed demand stays from one period of
// ten seconds to the next: its half-life is five minutes.
const smoothing = 0.977

// Demand is what a level has asked for.
type Demand struct {
	// Peak is the most seats that were wanted at a time in the last period.
	Peak int
	// Smoothed rises with Peak at once and falls slowly.
	Smoothed float64
}

// Next takes in what was asked for in another period.
func (d *Demand) Next(peak int) {
	d.Peak = peak
	d.Smoothed = max(float64(peak), smoothing*d.Smoothed+(1-smoothing)*float64(peak))
}

// Level is what Divide is told of a level.
type Level struct {
	Bounds
	Demand

	// Exempt levels have what they want.
	Exempt bool
}

// least is what the level must have now: what it does not lend, and of what it
// lends what it needs itself.
func (l Level) least() int {
	if l.Exempt {
		return max(l.Min, l.Peak)
	}
	return max(l.Min, min(l.Nominal, l.Peak))
}

// Target is how much the level wants, which Divide keeps the proportions of.
func (l Level) Target() float64 { return max(float64(l.least()), l.Smoothed) }

// Divide returns how many seats each level has for now. Exempt levels have what
// they want. Others have at least Min and, unless exempt levels have taken too
// much, what they need of their own seats; what is left goes to all in proportion
// to their targets, as far as their bounds allow.
func Divide(levels []Level) []int {
	out := make([]int, len(levels))
	var rest, mins, leasts int
	for i, l := range levels {
		rest += l.Nominal
		if l.Exempt {
			out[i] = l.least()
			rest -= out[i]
			continue
		}
		mins += l.Min
		leasts += l.least()
	}
	give := fill(levels, rest)
	switch {
	case rest <= mins:
		give = func(l Level) float64 { return float64(l.Min) }
	case rest <= leasts:
		part := float64(rest-mins) / float64(leasts-mins)
		give = func(l Level) float64 { return float64(l.Min) + part*float64(l.least()-l.Min) }
	}
	for i, l := range levels {
		if !l.Exempt {
			out[i] = int(math.Round(give(l)))
		}
	}
	return out
}

// leastTarget stands for a target of nothing, so that seats that nobody wants can
// be divided too.
const leastTarget = 0.001

// fill returns by what rule the levels that are not exempt get total seats
// together: the same multiple of each one's target, within its bounds. Such a
// multiple is searched for; if even all bounds are less than total, each gets its
// own.
func fill(levels []Level, total int) func(Level) float64 {
	give := func(multiple float64) func(Level) float64 {
		return func(l Level) float64 {
			return min(max(multiple*max(l.Target(), leastTarget), float64(l.least())), float64(l.Max))
		}
	}
	sum := func(multiple float64) float64 {
		var s float64
		for _, l := range levels {
			if !l.Exempt {
				s += give(multiple)(l)
			}
		}
		return s
	}
	low, high := 0.0, 0.0
	for _, l := range levels {
		high = max(high, float64(l.Max)/leastTarget)
	}
	for range 64 { // then the two are neighbours
		if middle := (low + high) / 2; sum(middle) < float64(total) {
			low = middle
		} else {
			high = middle
		}
	}
	return give(high)
}

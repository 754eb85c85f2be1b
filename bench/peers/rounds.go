package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// turn is one side's part of a round. Round 0 warms up: what is measured in it
// does not count.
type turn struct {
	*server
	peers *peers
	round int
}

func (t turn) warmUp() bool { return t.round == 0 }

// turns lets both sides take turns at some work: once to warm up, then as many
// rounds as are wanted.
func (p *peers) turns(ctx context.Context, work func(context.Context, turn) error) error {
	for round := range p.rounds + 1 {
		for _, s := range p.both(round) {
			if err := work(ctx, turn{server: s, peers: p, round: round}); err != nil {
				return fmt.Errorf("round %d at %s: %w", round, s.name, err)
			}
		}
	}
	return nil
}

// both returns the sides that are measured, in the order of a round: they take
// turns to be first.
func (p *peers) both(round int) []*server {
	sides := slices.DeleteFunc([]*server{p.navarch, p.kube}, func(s *server) bool { return s == nil })
	if round%2 == 1 {
		slices.Reverse(sides)
	}
	return sides
}

// median of the values; of an even number, the upper of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// samples are times of one thing measured often.
type samples []time.Duration

// percentile returns the nearest-rank percentile.
func (s samples) percentile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	rank := int(p/100*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

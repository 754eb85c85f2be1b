package topologyspread

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// preference is what the constraints mean that need not hold.
type preference struct {
	constraints []constraint
	// weights make up for constraints with few domains, whose counts are
	// large.
	weights []float64
}

// PreScore counts for the constraints that need not hold.
func (p *Plugin) PreScore(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, all *snapshot.Snapshot, feasible []*snapshot.NodeInfo) *framework.Status {
	constraints := parse(pod.Pod, corev1.ScheduleAnyway)
	if len(constraints) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	count(ctx, constraints, pod.Pod, all.Nodes())
	weights := make([]float64, len(constraints))
	for i := range constraints {
		values := make(map[string]bool)
		for _, n := range feasible {
			if value, ok := n.Node.Labels[constraints[i].key]; ok {
				values[value] = true
			}
		}
		weights[i] = math.Log(float64(len(values) + 2))
	}
	p.soft.Set(state, &preference{constraints: constraints, weights: weights})
	return nil
}

// missing is the raw score of a node that lacks a label; it becomes 0.
const missing = -1

// Score adds up how many matching pods the node's domains have; normalizing
// turns few into good.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	pref := p.soft.Get(state)
	var sum float64
	for i, c := range pref.constraints {
		value, ok := node.Node.Labels[c.key]
		if !ok {
			return missing, nil
		}
		sum += float64(c.counts[value])*pref.weights[i] + float64(c.maxSkew-1)
	}
	return int64(math.Round(sum)), nil
}

// NormalizeScore gives the emptiest domains MaxScore.
func (*Plugin) NormalizeScore(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, _ []*snapshot.NodeInfo, scores []int64) {
	low, high := int64(math.MaxInt64), int64(0)
	for _, s := range scores {
		if s != missing {
			low, high = min(low, s), max(high, s)
		}
	}
	for i, s := range scores {
		switch {
		case s == missing:
			scores[i] = 0
		case high == 0:
			scores[i] = framework.MaxScore
		default:
			scores[i] = framework.MaxScore * (high + low - s) / high
		}
	}
}

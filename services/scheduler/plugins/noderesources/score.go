package noderesources

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/shape"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// scoring is how nodes are compared by what is left of their resources.
type scoring struct {
	resources []configv1.ResourceSpec
	// of is the score of one resource of which used is taken with the pod
	// there. capacity is positive.
	of func(used, capacity int64) int64
	// drop leaves resources that score 0 out of the mean, and rounds it, as
	// RequestedToCapacityRatio does.
	drop bool
}

// newScoring returns the scoring of a strategy that has been defaulted and
// validated.
func newScoring(s *configv1.ScoringStrategy) scoring {
	switch s.Type {
	case configv1.MostAllocated:
		return scoring{resources: s.Resources, of: taken}
	case configv1.RequestedToCapacityRatio:
		return scoring{resources: s.Resources, of: shape.Function(s.RequestedToCapacityRatio.Shape), drop: true}
	default:
		return scoring{resources: s.Resources, of: left}
	}
}

// PreScore has devices counted if the pod asks for a resource that they may stand for
// and that scores.
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot, _ snapshot.Selection) *framework.Status {
	var requested []corev1.ResourceName
	for i := range p.scoring.resources {
		if name := corev1.ResourceName(p.scoring.resources[i].Name); pod.Load.Of(name) != 0 {
			requested = append(requested, name)
		}
	}
	p.stock.Prepare(state, requested)
	return nil
}

// Score is the weighted mean of the scores of the resources. One that the node
// does not have counts neither way, nor does an extended resource that the pod
// does not ask for.
func (p *Plugin) Score(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	var sum, weights int64
	for i := range p.scoring.resources {
		name, weight := corev1.ResourceName(p.scoring.resources[i].Name), p.scoring.resources[i].Weight
		wanted := pod.Load.Of(name)
		capacity, used := p.stock.Of(ctx, state, node, name, wanted, node.Load.Of(name))
		if capacity <= 0 {
			continue
		}
		score := p.scoring.of(used+wanted, capacity)
		if p.scoring.drop && score <= 0 {
			continue
		}
		sum += score * weight
		weights += weight
	}
	switch {
	case weights == 0:
		return 0, nil
	case p.scoring.drop:
		return int64(math.Round(float64(sum) / float64(weights))), nil
	default:
		return sum / weights, nil
	}
}

// left is the share of capacity that is not used, from 0 to MaxScore.
func left(used, capacity int64) int64 {
	if used > capacity {
		return 0
	}
	return (capacity - used) * framework.MaxScore / capacity
}

// taken is the share of capacity that is used, from 0 to MaxScore.
func taken(used, capacity int64) int64 {
	return min(used, capacity) * framework.MaxScore / capacity
}

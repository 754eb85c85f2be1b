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
	// needed are the labels without which a node is not ranked.
	needed []string
	// alone are the counts of each node by constraint; nil unless each node is a
	// domain.
	alone []*snapshot.Tally
}

// PreScore counts for the constraints that need not hold. Kubernetes' own
// default constraints also rank nodes that are in no zone.
func (p *Plugin) PreScore(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, all *snapshot.Snapshot, feasible snapshot.Selection) *framework.Status {
	constraints := p.constraints(pod, corev1.ScheduleAnyway)
	if len(constraints) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	pref := &preference{constraints: constraints, weights: make([]float64, len(constraints)), alone: make([]*snapshot.Tally, len(constraints))}
	if own := len(pod.Pod.Spec.TopologySpreadConstraints) > 0; own || !p.system {
		pref.needed = labelsOf(constraints)
	}
	in := newInclusion(ctx, pod.Pod)
	for i := range constraints {
		c := &constraints[i]
		if c.key == corev1.LabelHostname {
			pref.alone[i] = all.Tally(matching(c.group, pod.Pod.Namespace), c.key)
			c.domains, c.counts = pref.alone[i].Domains, pref.alone[i].Sums
		} else {
			c.count(in, all, pref.needed)
		}
	}
	for i := range constraints {
		pref.weights[i] = math.Log(float64(pref.size(i, feasible) + 2))
	}
	p.soft.Set(state, pref)
	return nil
}

// size is the number of domains of a constraint that have feasible nodes. To be
// in none is a domain too.
func (pref *preference) size(i int, feasible snapshot.Selection) int {
	if pref.alone[i] != nil {
		ranked := 0
		for k := range feasible.Len() {
			if pref.ranksNth(feasible, k) {
				ranked++
			}
		}
		return ranked
	}
	domains := pref.constraints[i].domains
	seen := make([]bool, len(domains.Values)+1)
	size := 0
	for k := range feasible.Len() {
		d, ok := domains.OfNth(feasible, k)
		if !ok {
			d = len(domains.Values)
		}
		if seen[d] || !pref.ranksNth(feasible, k) {
			continue
		}
		seen[d] = true
		if size++; size == len(seen) {
			break
		}
	}
	return size
}

// ranks says whether the constraints say anything of the node.
func (pref *preference) ranks(node *snapshot.NodeInfo) bool {
	return len(pref.needed) == 0 || node.HasLabels(pref.needed)
}

// ranksNth is ranks for the k-th of some nodes: it has the labels that are needed,
// which are those of the constraints, if it is in a domain of each.
func (pref *preference) ranksNth(nodes snapshot.Selection, k int) bool {
	if len(pref.needed) == 0 {
		return true
	}
	for i := range pref.constraints {
		if _, ok := pref.constraints[i].domains.OfNth(nodes, k); !ok {
			return false
		}
	}
	return true
}

// missing is the raw score of a node that lacks a label; it becomes 0.
const missing = -1

// Score adds up how many matching pods the node's domains have; normalizing
// turns few into good.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	pref := p.soft.Get(state)
	if !pref.ranks(node) {
		return missing, nil
	}
	var sum float64
	for i := range pref.constraints {
		c := &pref.constraints[i]
		d, ok := c.domains.Of(node)
		if !ok {
			continue
		}
		n := c.counts[d]
		if pref.alone[i] != nil {
			n = pref.alone[i].On(node)
		}
		sum += pref.score(i, n)
	}
	return int64(math.Round(sum)), nil
}

// score is what a constraint gives a node in whose domain so many pods match.
func (pref *preference) score(i int, pods int64) float64 {
	return float64(pods)*pref.weights[i] + float64(pref.constraints[i].maxSkew-1)
}

// ScoreBatch implements framework.BatchScore.
func (p *Plugin) ScoreBatch(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, nodes snapshot.Selection, scores []int64) *framework.Status {
	pref := p.soft.Get(state)
	for k := range scores {
		if !pref.ranksNth(nodes, k) {
			scores[k] = missing
			continue
		}
		var sum float64
		for i := range pref.constraints {
			c := &pref.constraints[i]
			d, ok := c.domains.OfNth(nodes, k)
			if !ok {
				continue
			}
			n := c.counts[d]
			if pref.alone[i] != nil {
				n = pref.alone[i].OnNth(nodes, k)
			}
			sum += pref.score(i, n)
		}
		scores[k] = int64(math.Round(sum))
	}
	return nil
}

// NormalizeScore gives the emptiest domains MaxScore.
func (*Plugin) NormalizeScore(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, scores []int64) {
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

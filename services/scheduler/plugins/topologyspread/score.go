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
	// all leaves nodes out that lack a label of any constraint.
	all bool
	// nodes is the view that was counted, alone the counts of each of its
	// nodes by constraint; nil unless each node is a domain.
	nodes *snapshot.Snapshot
	alone [][]int64
}

// PreScore counts for the constraints that need not hold. Kubernetes' own
// default constraints also rank nodes that are in no zone.
func (p *Plugin) PreScore(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, all *snapshot.Snapshot, feasible []*snapshot.NodeInfo) *framework.Status {
	constraints := p.constraints(pod.Pod, corev1.ScheduleAnyway)
	if len(constraints) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	own := len(pod.Pod.Spec.TopologySpreadConstraints) > 0
	pref := &preference{
		constraints: constraints, weights: make([]float64, len(constraints)), alone: make([][]int64, len(constraints)),
		all: own || !p.system, nodes: all,
	}
	pref.addDomains(feasible)
	included := newInclusion(ctx, pod.Pod)
	var matches []int64
	for i := range constraints {
		c := &constraints[i]
		if own || i == 0 { // default constraints have one selector
			matches = p.tallies.count(c.selector, pod.Pod.Namespace, all.Nodes())
		}
		if c.key == corev1.LabelHostname {
			pref.alone[i] = matches
			continue
		}
		for k, n := range all.Nodes() {
			if matches[k] == 0 || !pref.ranks(n) || !included.has(c, n.Node) {
				continue
			}
			value, _ := n.Label(c.key)
			if have, ok := c.counts[value]; ok {
				c.counts[value] = have + matches[k]
			}
		}
	}
	p.soft.Set(state, pref)
	return nil
}

// addDomains notes the domains of the feasible nodes, and weighs the
// constraints by their number.
func (pref *preference) addDomains(feasible []*snapshot.NodeInfo) {
	ranked := 0
	for _, n := range feasible {
		if !pref.ranks(n) {
			continue
		}
		ranked++
		for i := range pref.constraints {
			if c := &pref.constraints[i]; c.key != corev1.LabelHostname {
				value, _ := n.Label(c.key)
				c.counts[value] = 0
			}
		}
	}
	for i := range pref.constraints {
		domains := len(pref.constraints[i].counts)
		if pref.constraints[i].key == corev1.LabelHostname {
			domains = ranked
		}
		pref.weights[i] = math.Log(float64(domains + 2))
	}
}

// ranks says whether the constraints say anything of the node.
func (pref *preference) ranks(node *snapshot.NodeInfo) bool {
	return !pref.all || hasLabels(pref.constraints, node)
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
		value, ok := node.Label(c.key)
		if !ok {
			continue
		}
		var n int64
		if pref.alone[i] == nil {
			n = c.counts[value]
		} else if k, ok := pref.nodes.Index(node.Name()); ok {
			n = pref.alone[i][k]
		}
		sum += float64(n)*pref.weights[i] + float64(c.maxSkew-1)
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

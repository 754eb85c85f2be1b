package interpodaffinity

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// domain is a set of nodes that have the same value of a label.
type domain struct{ key, value string }

// domains counts something by domain.
type domains map[domain]int64

func (d domains) add(node *corev1.Node, key string, n int64) {
	if value, ok := node.Labels[key]; ok {
		d[domain{key, value}] += n
	}
}

// PreScore adds up the weights of the preferred terms, the pod's own and those
// of the pods that are there, by domain.
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, all *snapshot.Snapshot, _ snapshot.Selection) *framework.Status {
	prefers := len(pod.Affinity.Preferred) > 0 || len(pod.AntiAffinity.Preferred) > 0
	if p.ignorePreferred && !prefers {
		return framework.NewStatus(framework.Skip)
	}
	sums := domains{}
	for n := range all.WithPreferences() {
		for _, other := range n.WithPreferences {
			if p.requiredWeight > 0 {
				p.weigh(sums, other.Affinity.Required, pod, n, p.requiredWeight)
			}
			p.weigh(sums, other.Affinity.Preferred, pod, n, 0)
			p.weigh(sums, other.AntiAffinity.Preferred, pod, n, -1)
		}
	}
	if prefers {
		for _, n := range all.Nodes() {
			for _, other := range n.Pods {
				p.weigh(sums, pod.Affinity.Preferred, other, n, 0)
				p.weigh(sums, pod.AntiAffinity.Preferred, other, n, -1)
			}
		}
	}
	if len(sums) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	p.preferred.Set(state, sums)
	return nil
}

// weigh adds the weights of the terms that match pod to the node's domains.
// kind is -1 for anti-affinity, 0 for affinity, and otherwise the weight of
// terms that have none.
func (p *Plugin) weigh(into domains, terms []snapshot.PodTerm, pod *snapshot.PodInfo, node *snapshot.NodeInfo, kind int64) {
	for i := range terms {
		if !terms[i].Matches(pod.Pod, p.namespaces) {
			continue
		}
		weight := terms[i].Weight
		switch {
		case kind < 0:
			weight = -weight
		case kind > 0:
			weight = kind
		}
		into.add(node.Node, terms[i].TopologyKey, weight)
	}
}

// Score adds up what the node's domains have.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	var sum int64
	sums := p.preferred.Get(state)
	for key, value := range node.Node.Labels {
		sum += sums[domain{key, value}]
	}
	return sum, nil
}

// NormalizeScore stretches the scores, which may be negative, over the range.
// It rounds down from floating point, as Kubernetes does.
func (*Plugin) NormalizeScore(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, scores []int64) {
	if len(scores) == 0 {
		return
	}
	low, high := slices.Min(scores), slices.Max(scores)
	for i := range scores {
		if high == low {
			scores[i] = 0
			continue
		}
		scores[i] = int64(float64(framework.MaxScore) * (float64(scores[i]-low) / float64(high-low)))
	}
}

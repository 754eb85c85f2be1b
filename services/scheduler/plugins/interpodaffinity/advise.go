package interpodaffinity

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// named is how many pods are named that are in the way.
const named = 3

// Advise implements framework.Advisor: it says whose company is missing, or
// which pods are in the way.
func (p *Plugin) Advise(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	r := p.required.Get(state)
	switch {
	case !p.hasCompany(r, pod, node):
		return missingCompany(r, pod, node)
	case anyIn(r.antiAffinity, node):
		return inTheWay("must keep away from", "no longer keep away from", pod, p.others(r.nodes, node.Node, pod.AntiAffinity.Required, func(other *snapshot.PodInfo, term *snapshot.PodTerm) bool {
			return term.Matches(other.Pod, p.namespaces)
		}))
	default:
		return inTheWay("is kept away by", "", pod, p.keepers(r.nodes, node.Node, pod))
	}
}

// missingCompany says which terms the node's domains do not meet.
func missingCompany(r *required, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	var wants, unlabelled []string
	for i := range pod.Affinity.Required {
		term := &pod.Affinity.Required[i]
		value, ok := node.Label(term.TopologyKey)
		switch {
		case !ok:
			unlabelled = append(unlabelled, term.TopologyKey)
		case r.affinity[i].In(node) == 0:
			wants = append(wants, fmt.Sprintf("%s in %s=%s", term.Selector(), term.TopologyKey, value))
		}
	}
	if len(unlabelled) > 0 {
		all := strings.Join(unlabelled, ", ")
		return framework.Advice{Detail: "the node has no label " + all, Remedies: []framework.Remedy{
			{Kind: framework.ChangeNode, Description: "label the node with " + all},
		}}
	}
	all := strings.Join(wants, " and ")
	return framework.Advice{Detail: "needs a pod that matches " + all, Remedies: []framework.Remedy{
		{Kind: framework.AddPod, Description: "start a pod that matches " + all},
	}}
}

// others returns the pods in the node's domains that match a term.
func (p *Plugin) others(all *snapshot.Snapshot, node *corev1.Node, terms []snapshot.PodTerm, match func(*snapshot.PodInfo, *snapshot.PodTerm) bool) []*snapshot.PodInfo {
	var out []*snapshot.PodInfo
	for _, n := range all.Nodes() {
		for _, other := range n.Pods {
			for i := range terms {
				if sameDomain(n.Node, node, terms[i].TopologyKey) && match(other, &terms[i]) {
					out = append(out, other)
					break
				}
			}
		}
	}
	return out
}

// keepers returns the pods whose own terms keep the pod off the node.
func (p *Plugin) keepers(all *snapshot.Snapshot, node *corev1.Node, pod *snapshot.PodInfo) []*snapshot.PodInfo {
	var out []*snapshot.PodInfo
	for _, n := range all.Nodes() {
		for _, other := range n.WithRequiredAntiAffinity {
			for i := range other.AntiAffinity.Required {
				term := &other.AntiAffinity.Required[i]
				if sameDomain(n.Node, node, term.TopologyKey) && term.Matches(pod.Pod, p.namespaces) {
					out = append(out, other)
					break
				}
			}
		}
	}
	return out
}

func sameDomain(a, b *corev1.Node, key string) bool {
	x, okA := a.Labels[key]
	y, okB := b.Labels[key]
	return okA && okB && x == y
}

// inTheWay is the advice where pods have to go. relax is what the pod could
// give up instead.
func inTheWay(how, relax string, pod *snapshot.PodInfo, others []*snapshot.PodInfo) framework.Advice {
	if len(others) == 0 {
		return framework.Advice{}
	}
	names := make([]string, 0, named)
	evictable, going := true, true
	for _, o := range others {
		if len(names) < named {
			names = append(names, o.Key())
		}
		evictable = evictable && (framework.Going(o) || framework.Evictable(o, pod))
		going = going && framework.Going(o)
	}
	text := strings.Join(names, ", ")
	if more := len(others) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	advice := framework.Advice{Detail: how + " " + text}
	switch {
	case going:
		advice.Remedies = append(advice.Remedies, framework.Await(others...))
	case evictable && len(others) <= named:
		advice.Remedies = append(advice.Remedies, framework.Evict(others...))
	}
	if relax != "" {
		advice.Remedies = append(advice.Remedies, framework.Remedy{Kind: framework.ChangePod, Description: relax + " " + text})
	}
	return advice
}

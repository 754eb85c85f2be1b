// Package interpodaffinity places pods with, or away from, other pods: by their
// own terms, and by those of the pods that are there already.
package interpodaffinity

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "InterPodAffinity"

// The reasons that users read.
const (
	ReasonAffinity             = "node(s) didn't match pod affinity rules"
	ReasonAntiAffinity         = "node(s) didn't match pod anti-affinity rules"
	ReasonExistingAntiAffinity = "node(s) didn't satisfy existing pods anti-affinity rules"
)

// Plugin implements framework.Filter and framework.Score.
type Plugin struct {
	namespaces snapshot.NamespaceLabels
	// requiredWeight is what the required affinity of a pod that is there
	// already counts in favour of its matches; 0 leaves it out.
	requiredWeight int64
	// ignorePreferred leaves the preferred terms of pods that are there out,
	// unless the pod has such terms too.
	ignorePreferred bool

	required  *framework.Key[*required]
	preferred *framework.Key[domains]
}

// New returns the plugin. Its arguments have their defaults and are valid.
func New(args *configv1.InterPodAffinityArgs, namespaces snapshot.NamespaceLabels) *Plugin {
	return &Plugin{
		namespaces: namespaces, requiredWeight: int64(*args.HardPodAffinityWeight),
		ignorePreferred: args.IgnorePreferredTermsOfExistingPods,
		required:        framework.NewKey[*required](), preferred: framework.NewKey[domains](),
	}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// domain is a set of nodes that have the same value of a label.
type domain struct{ key, value string }

// domains counts something by domain.
type domains map[domain]int64

func (d domains) add(node *corev1.Node, key string, n int64) {
	if value, ok := node.Labels[key]; ok {
		d[domain{key, value}] += n
	}
}

// required is what the required terms mean for this pod.
type required struct {
	// affinity counts the pods that match all of the pod's affinity terms,
	// antiAffinity those that match one of its anti-affinity terms, existing
	// the pods whose own anti-affinity keeps it away.
	affinity, antiAffinity, existing domains
	// nodes is the view that was counted, for Advise to look into again.
	nodes *snapshot.Snapshot
}

// PreFilter counts the pods that the required terms speak of.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) ([]string, *framework.Status) {
	r := &required{affinity: domains{}, antiAffinity: domains{}, existing: domains{}, nodes: nodes}
	for _, n := range nodes.WithRequiredAntiAffinity() {
		for _, other := range n.WithRequiredAntiAffinity {
			p.countMatches(r.existing, other.AntiAffinity.Required, pod, n)
		}
	}
	if len(pod.Affinity.Required) == 0 && len(pod.AntiAffinity.Required) == 0 && len(r.existing) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	if len(pod.Affinity.Required) > 0 || len(pod.AntiAffinity.Required) > 0 {
		for _, n := range nodes.Nodes() {
			for _, other := range n.Pods {
				if p.matchesAll(pod.Affinity.Required, other) {
					for i := range pod.Affinity.Required {
						r.affinity.add(n.Node, pod.Affinity.Required[i].TopologyKey, 1)
					}
				}
				p.countMatches(r.antiAffinity, pod.AntiAffinity.Required, other, n)
			}
		}
	}
	p.required.Set(state, r)
	return nil, nil
}

// countMatches counts, in the node's domains, the terms that match pod.
func (p *Plugin) countMatches(into domains, terms []snapshot.PodTerm, pod *snapshot.PodInfo, node *snapshot.NodeInfo) {
	for i := range terms {
		if terms[i].Matches(pod.Pod, p.namespaces) {
			into.add(node.Node, terms[i].TopologyKey, 1)
		}
	}
}

func (p *Plugin) matchesAll(terms []snapshot.PodTerm, pod *snapshot.PodInfo) bool {
	for i := range terms {
		if !terms[i].Matches(pod.Pod, p.namespaces) {
			return false
		}
	}
	return len(terms) > 0
}

// Filter rejects nodes in the wrong domains. Taking pods away cannot bring the
// company that affinity asks for.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	r := p.required.Get(state)
	switch {
	case !p.hasCompany(r, pod, node.Node):
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonAffinity)
	case anyTermIn(r.antiAffinity, pod.AntiAffinity.Required, node.Node):
		return framework.NewStatus(framework.Unschedulable, ReasonAntiAffinity)
	case anyLabelIn(r.existing, node.Node):
		return framework.NewStatus(framework.Unschedulable, ReasonExistingAntiAffinity)
	}
	return nil
}

// hasCompany says that every affinity term is met. The first pod of a group
// that wants its own company is let in anywhere the topology is known.
func (p *Plugin) hasCompany(r *required, pod *snapshot.PodInfo, node *corev1.Node) bool {
	met := true
	for i := range pod.Affinity.Required {
		key := pod.Affinity.Required[i].TopologyKey
		value, ok := node.Labels[key]
		if !ok {
			return false
		}
		met = met && r.affinity[domain{key, value}] > 0
	}
	return met || len(r.affinity) == 0 && p.matchesAll(pod.Affinity.Required, pod)
}

func anyTermIn(counts domains, terms []snapshot.PodTerm, node *corev1.Node) bool {
	for i := range terms {
		key := terms[i].TopologyKey
		if value, ok := node.Labels[key]; ok && counts[domain{key, value}] > 0 {
			return true
		}
	}
	return false
}

func anyLabelIn(counts domains, node *corev1.Node) bool {
	if len(counts) == 0 {
		return false
	}
	for key, value := range node.Labels {
		if counts[domain{key, value}] > 0 {
			return true
		}
	}
	return false
}

// EventsToRegister: pods come, go or change their labels, nodes come or change
// their domain, namespaces change their labels.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.AssignedPod, Action: framework.Add | framework.Delete | framework.UpdatePodLabels},
		{Resource: framework.Node, Action: framework.Add | framework.UpdateNodeLabels},
		{Resource: framework.Namespace, Action: framework.Add | framework.UpdateLabels},
		{Resource: framework.WaitingPod, Action: framework.UpdatePodLabels},
	}
}

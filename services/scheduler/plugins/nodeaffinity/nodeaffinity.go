// Package nodeaffinity keeps a pod to the nodes that its nodeSelector and its
// required node affinity name, and prefers those of its preferred affinity.
package nodeaffinity

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeAffinity"

// Reason is what users read.
const Reason = "node(s) didn't match Pod's node affinity/selector"

// Plugin implements framework.Filter and framework.Score.
type Plugin struct {
	required  *framework.Key[*nodeaffinity.RequiredNodeAffinity]
	preferred *framework.Key[*nodeaffinity.PreferredSchedulingTerms]
}

// New returns the plugin.
func New() *Plugin {
	return &Plugin{
		required:  framework.NewKey[*nodeaffinity.RequiredNodeAffinity](),
		preferred: framework.NewKey[*nodeaffinity.PreferredSchedulingTerms](),
	}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: verdict and score depend on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// PreFilter parses the pod's requirements, and narrows the nodes if they name
// some, as those of a DaemonSet's pods do.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot) ([]string, *framework.Status) {
	terms, ok := requiredTerms(pod.Pod)
	if !ok && len(pod.Pod.Spec.NodeSelector) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	required := nodeaffinity.GetRequiredNodeAffinity(pod.Pod)
	p.required.Set(state, &required)
	return namedNodes(terms), nil
}

// Filter rejects nodes that do not match.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	ok, err := p.required.Get(state).Match(node.Node)
	if err != nil {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, err.Error())
	}
	if !ok {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, Reason)
	}
	return nil
}

// PreScore parses the pod's preferences.
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot, _ []*snapshot.NodeInfo) *framework.Status {
	a := pod.Pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	preferred, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return framework.AsStatus(err)
	}
	p.preferred.Set(state, preferred)
	return nil
}

// Score adds up the weights of the preferences that the node meets.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	return p.preferred.Get(state).Score(node.Node), nil
}

// NormalizeScore gives the best node MaxScore.
func (*Plugin) NormalizeScore(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, _ []*snapshot.NodeInfo, scores []int64) {
	framework.Normalize(scores)
}

// EventsToRegister: a matching node comes, or one's labels come to match.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{{Resource: framework.Node, Action: framework.Add | framework.UpdateNodeLabels, Helps: matches}}
}

func matches(pod *snapshot.PodInfo, e framework.Event) bool {
	node, ok := e.New.(*corev1.Node)
	if !ok {
		return false
	}
	match, err := nodeaffinity.GetRequiredNodeAffinity(pod.Pod).Match(node)
	return err == nil && match
}

// requiredTerms returns the terms of which one must match. An affinity without
// terms matches nothing, unlike none.
func requiredTerms(pod *corev1.Pod) (terms []corev1.NodeSelectorTerm, ok bool) {
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil, false
	}
	return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, true
}

// namedNodes returns the nodes that the terms name; nil unless every term (of
// which one must match) names some.
func namedNodes(terms []corev1.NodeSelectorTerm) []string {
	var names []string
	for i := range terms {
		named := false
		for _, f := range terms[i].MatchFields {
			if f.Key == "metadata.name" && f.Operator == corev1.NodeSelectorOpIn {
				names = append(names, f.Values...)
				named = true
			}
		}
		if !named {
			return nil
		}
	}
	return names
}

// Package nodeaffinity keeps a pod to the nodes that its nodeSelector and its
// required node affinity name, and prefers those of its preferred affinity.
package nodeaffinity

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeAffinity"

// The reasons that users read. ReasonAdded is where the affinity that the
// profile adds to every pod's is not met, ReasonConflict where the pod names
// nodes that cannot be the same.
const (
	Reason         = "node(s) didn't match Pod's node affinity/selector"
	ReasonAdded    = "node(s) didn't match scheduler-enforced node affinity"
	ReasonConflict = "pod affinity terms conflict"
)

// Plugin implements framework.Filter and framework.Score.
type Plugin struct {
	// added and addedPreferred hold for every pod beside its own affinity; nil
	// is none.
	added          *nodeaffinity.NodeSelector
	addedPreferred *nodeaffinity.PreferredSchedulingTerms

	required  *framework.Key[*nodeaffinity.RequiredNodeAffinity]
	preferred *framework.Key[*nodeaffinity.PreferredSchedulingTerms]
}

// New returns the plugin, or what is wrong with the affinity that it adds.
func New(args *configv1.NodeAffinityArgs) (*Plugin, error) {
	p := &Plugin{
		required:  framework.NewKey[*nodeaffinity.RequiredNodeAffinity](),
		preferred: framework.NewKey[*nodeaffinity.PreferredSchedulingTerms](),
	}
	added := args.AddedAffinity
	if added == nil {
		return p, nil
	}
	var err error
	if required := added.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		if p.added, err = nodeaffinity.NewNodeSelector(required); err != nil {
			return nil, fmt.Errorf("added node affinity: %w", err)
		}
	}
	if preferred := added.PreferredDuringSchedulingIgnoredDuringExecution; len(preferred) > 0 {
		if p.addedPreferred, err = nodeaffinity.NewPreferredSchedulingTerms(preferred); err != nil {
			return nil, fmt.Errorf("added node affinity: %w", err)
		}
	}
	return p, nil
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: verdict and score depend on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// PreFilter parses the pod's requirements, and narrows the nodes if they name
// some, as those of a DaemonSet's pods do.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot) ([]string, *framework.Status) {
	terms, ok := requiredTerms(pod.Pod)
	if !ok && len(pod.Pod.Spec.NodeSelector) == 0 && p.added == nil {
		return nil, framework.NewStatus(framework.Skip)
	}
	required := nodeaffinity.GetRequiredNodeAffinity(pod.Pod)
	p.required.Set(state, &required)
	names, named := namedNodes(terms)
	if named && len(names) == 0 {
		return nil, framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonConflict)
	}
	return names, nil
}

// Filter rejects nodes that do not match.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	if p.added != nil && !p.added.Match(node.Node) {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonAdded)
	}
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
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot, _ snapshot.Selection) *framework.Status {
	terms := preferredTerms(pod.Pod)
	switch {
	case len(terms) > 0:
		preferred, err := nodeaffinity.NewPreferredSchedulingTerms(terms)
		if err != nil {
			return framework.AsStatus(err)
		}
		p.preferred.Set(state, preferred)
	case p.addedPreferred == nil:
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

func preferredTerms(pod *corev1.Pod) []corev1.PreferredSchedulingTerm {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		return a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

// Score adds up the weights of the preferences that the node meets.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	var sum int64
	for _, preferred := range []*nodeaffinity.PreferredSchedulingTerms{p.addedPreferred, p.preferred.Get(state)} {
		if preferred != nil {
			sum += preferred.Score(node.Node)
		}
	}
	return sum, nil
}

// NormalizeScore gives the best node MaxScore.
func (*Plugin) NormalizeScore(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, scores []int64) {
	framework.Normalize(scores)
}

// EventsToRegister: a matching node comes, or one's labels come to match.
func (p *Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{{Resource: framework.Node, Action: framework.Add | framework.UpdateNodeLabels, Helps: p.matches}}
}

func (p *Plugin) matches(pod *snapshot.PodInfo, e framework.Event) bool {
	node, ok := e.New.(*corev1.Node)
	if !ok || p.added != nil && !p.added.Match(node) {
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

// namedNodes returns the nodes that the terms name; false unless every term (of
// which one must match) names some.
func namedNodes(terms []corev1.NodeSelectorTerm) (names []string, named bool) {
	for i := range terms {
		of, ok := namedByTerm(&terms[i])
		if !ok {
			return nil, false
		}
		names, named = append(names, of...), true
	}
	return names, named
}

// namedByTerm returns the nodes that all of a term's requirements name; false
// if none names any.
func namedByTerm(term *corev1.NodeSelectorTerm) (names []string, named bool) {
	for _, f := range term.MatchFields {
		switch {
		case f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn:
		case !named:
			names, named = slices.Clone(f.Values), true
		default:
			names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(f.Values, name) })
		}
	}
	return names, named
}

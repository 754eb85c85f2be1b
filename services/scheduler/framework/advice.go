package framework

import (
	"cmp"
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// RemedyKind is what a Remedy changes.
type RemedyKind int

const (
	// EvictPods takes pods off nodes.
	EvictPods RemedyKind = iota + 1
	// AwaitPods waits for pods that are going already.
	AwaitPods
	// ChangePod changes the pod that is to be placed, or what it is made from.
	ChangePod
	// ChangeNode changes the node.
	ChangeNode
	// AddPod starts another pod.
	AddPod
	// ChangeClaim changes a claim of the pod, or what it can have: a volume, a
	// class, a device.
	ChangeClaim
)

// Remedy is a change after which one plugin would let the pod onto one node.
type Remedy struct {
	Kind RemedyKind
	// Description is for people, and begins with a verb: "evict default/web".
	Description string
	// Pods are those that have to go, as "namespace/name".
	Pods []string
}

// Advice is what one plugin knows of a node that it rejects.
type Advice struct {
	// Detail is what is wanted and what is there: "needs 300m of cpu, 120m of 4
	// are free". It may be empty.
	Detail string
	// Remedies are a few, the most sensible first. Each does alone.
	Remedies []Remedy
}

// Advisor is a Filter that knows what would have to change.
type Advisor interface {
	Filter
	// Advise is asked of a node that Filter has rejected, with the same state.
	Advise(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) Advice
}

// Advise returns what the plugin that gave a verdict on the node knows.
func (p *Profile) Advise(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo, verdict *Status) Advice {
	for _, t := range state.filters {
		if a, ok := t.filter.(Advisor); ok && a.Name() == verdict.Plugin() {
			return a.Advise(ctx, state, pod, node)
		}
	}
	return Advice{}
}

// PodAdvisor is a PreFilter that knows what would have to change for a pod that
// it keeps off every node.
type PodAdvisor interface {
	PreFilter
	// AdvisePod is asked of a pod that PreFilter has rejected.
	AdvisePod(ctx context.Context, pod *snapshot.PodInfo) Advice
}

// AdvisePod returns what the plugin that rejected the pod as such knows.
func (p *Profile) AdvisePod(ctx context.Context, pod *snapshot.PodInfo, verdict *Status) Advice {
	for _, pl := range p.preFilter {
		if a, ok := pl.(PodAdvisor); ok && pl.Name() == verdict.Plugin() {
			return a.AdvisePod(ctx, pod)
		}
	}
	return Advice{}
}

// Evict is the remedy of taking pods away.
func Evict(pods ...*snapshot.PodInfo) Remedy {
	names := keys(pods)
	return Remedy{Kind: EvictPods, Description: "evict " + strings.Join(names, ", "), Pods: names}
}

// Await is the remedy of waiting for pods that are going.
func Await(pods ...*snapshot.PodInfo) Remedy {
	names := keys(pods)
	return Remedy{Kind: AwaitPods, Description: "wait for the end of " + strings.Join(names, ", "), Pods: names}
}

// singles is how many pods are named of which one would do.
const singles = 2

// MakeRoom returns the remedies by which others make room for a pod: the end of
// those that are going anyhow, a few of which one would do, or else the fewest
// important ones together. enough says whether the pod finds room once some have
// gone; compare orders pods of the same priority, and may be nil.
func MakeRoom(others []*snapshot.PodInfo, pod *snapshot.PodInfo, enough func(gone []*snapshot.PodInfo) bool, compare func(a, b *snapshot.PodInfo) int) []Remedy {
	var going, candidates []*snapshot.PodInfo
	for _, other := range others {
		switch {
		case Going(other):
			going = append(going, other)
		case Evictable(other, pod):
			candidates = append(candidates, other)
		}
	}
	if len(going) > 0 && enough(going) {
		return []Remedy{Await(going...)}
	}
	slices.SortFunc(candidates, func(a, b *snapshot.PodInfo) int {
		order := cmp.Compare(a.Priority(), b.Priority())
		if order == 0 && compare != nil {
			order = compare(a, b)
		}
		return cmp.Or(order, cmp.Compare(a.Key(), b.Key()))
	})
	var out []Remedy
	for _, c := range candidates {
		if len(out) < singles && enough([]*snapshot.PodInfo{c}) {
			out = append(out, Evict(c))
		}
	}
	if len(out) > 0 {
		return out
	}
	if chosen := together(candidates, enough); len(chosen) > 0 {
		out = append(out, Evict(chosen...))
	}
	return out
}

// together returns pods that make room together: all that it takes in the order
// given, and then no more than needed, the last ones let off first.
func together(candidates []*snapshot.PodInfo, enough func([]*snapshot.PodInfo) bool) []*snapshot.PodInfo {
	if !enough(candidates) {
		return nil
	}
	chosen := slices.Clone(candidates)
	for i := len(chosen) - 1; i >= 0; i-- {
		if fewer := slices.Delete(slices.Clone(chosen), i, i+1); enough(fewer) {
			chosen = fewer
		}
	}
	return chosen
}

func keys(pods []*snapshot.PodInfo) []string {
	names := make([]string, len(pods))
	for i, p := range pods {
		names[i] = p.Key()
	}
	slices.Sort(names)
	return names
}

// Going says that a pod is being deleted.
func Going(p *snapshot.PodInfo) bool { return p.Pod.DeletionTimestamp != nil }

// Evictable says whether it makes sense to take other away for pod's sake: it is
// not more important, and nothing puts it back where it was.
func Evictable(other, pod *snapshot.PodInfo) bool {
	if Going(other) || other.Priority() > pod.Priority() {
		return false
	}
	owner := metav1.GetControllerOfNoCopy(other.Pod)
	if owner != nil && (owner.Kind == "DaemonSet" || owner.Kind == "Node") {
		return false
	}
	_, mirror := other.Pod.Annotations[corev1.MirrorPodAnnotationKey]
	return !mirror
}

// Requirement writes a requirement of nodes as label selectors are written.
func Requirement(r corev1.NodeSelectorRequirement) string {
	switch r.Operator {
	case corev1.NodeSelectorOpExists:
		return r.Key
	case corev1.NodeSelectorOpDoesNotExist:
		return "!" + r.Key
	case corev1.NodeSelectorOpIn:
		if len(r.Values) == 1 {
			return r.Key + "=" + r.Values[0]
		}
		return r.Key + " in (" + strings.Join(r.Values, ",") + ")"
	case corev1.NodeSelectorOpNotIn:
		return r.Key + " notin (" + strings.Join(r.Values, ",") + ")"
	case corev1.NodeSelectorOpGt:
		return r.Key + ">" + strings.Join(r.Values, ",")
	case corev1.NodeSelectorOpLt:
		return r.Key + "<" + strings.Join(r.Values, ",")
	}
	return r.Key + " " + string(r.Operator)
}

// Where writes which nodes a selector matches: by labels, or by name if it tells
// them by that.
func Where(s *corev1.NodeSelector) string {
	if s == nil {
		return "no node"
	}
	terms := make([]string, len(s.NodeSelectorTerms))
	for i, t := range s.NodeSelectorTerms {
		all := slices.Concat(t.MatchFields, t.MatchExpressions)
		parts := make([]string, len(all))
		for j, r := range all {
			parts[j] = Requirement(r)
			if len(all) == 1 && r.Operator == corev1.NodeSelectorOpIn && (r.Key == corev1.LabelHostname || r.Key == metav1.ObjectNameField) {
				parts[j] = strings.Join(r.Values, " or ")
			}
		}
		terms[i] = strings.Join(parts, " and ")
	}
	return strings.Join(terms, " or ")
}

// Package topologyspread spreads pods over domains of nodes, such as zones, by
// their topologySpreadConstraints.
package topologyspread

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "PodTopologySpread"

// The reasons that users read.
const (
	Reason             = "node(s) didn't match pod topology spread constraints"
	ReasonMissingLabel = Reason + " (missing required label)"
)

// Plugin implements framework.Filter and framework.Score.
type Plugin struct {
	hard *framework.Key[[]constraint]
	soft *framework.Key[*preference]
}

// New returns the plugin.
func New() *Plugin {
	return &Plugin{hard: framework.NewKey[[]constraint](), soft: framework.NewKey[*preference]()}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// constraint is one of the pod's, and how many matching pods each domain has.
type constraint struct {
	key      string
	maxSkew  int64
	selector labels.Selector
	// self is 1 if the pod counts itself.
	self int64
	// honorAffinity and honorTaints leave out nodes the pod could not run on.
	honorAffinity, honorTaints bool
	minDomains                 int
	counts                     map[string]int64
	// fewest is the smallest count of any domain.
	fewest int64
}

// parse returns the pod's constraints of one kind.
func parse(pod *corev1.Pod, action corev1.UnsatisfiableConstraintAction) []constraint {
	var out []constraint
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable != action {
			continue
		}
		parsed := constraint{
			key: c.TopologyKey, maxSkew: int64(c.MaxSkew), selector: snapshot.SpreadSelector(pod, c),
			honorAffinity: c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
			honorTaints:   c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
			counts:        make(map[string]int64),
		}
		if c.MinDomains != nil {
			parsed.minDomains = int(*c.MinDomains)
		}
		if parsed.selector.Matches(labels.Set(pod.Labels)) {
			parsed.self = 1
		}
		out = append(out, parsed)
	}
	return out
}

// count fills the domains in. Nodes that lack a constraint's label count for
// none of them.
func count(ctx context.Context, constraints []constraint, pod *corev1.Pod, nodes []*snapshot.NodeInfo) {
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	logger := klog.FromContext(ctx)
	for _, n := range nodes {
		if !hasLabels(constraints, n.Node) {
			continue
		}
		affine, err := required.Match(n.Node)
		affine = affine && err == nil
		_, tainted := corev1helpers.FindMatchingUntoleratedTaint(logger, n.Node.Spec.Taints, pod.Spec.Tolerations, keepsAway, false)
		for i := range constraints {
			c := &constraints[i]
			if c.honorAffinity && !affine || c.honorTaints && tainted {
				continue
			}
			c.counts[n.Node.Labels[c.key]] += matching(c.selector, pod.Namespace, n.Pods)
		}
	}
	for i := range constraints {
		constraints[i].fewest = constraints[i].smallest()
	}
}

func keepsAway(t *corev1.Taint) bool {
	return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
}

func hasLabels(constraints []constraint, node *corev1.Node) bool {
	for i := range constraints {
		if _, ok := node.Labels[constraints[i].key]; !ok {
			return false
		}
	}
	return true
}

// matching counts the pods of the namespace that match and are to stay.
func matching(selector labels.Selector, namespace string, pods []*snapshot.PodInfo) int64 {
	var n int64
	for _, p := range pods {
		if p.Pod.DeletionTimestamp == nil && p.Pod.Namespace == namespace && selector.Matches(labels.Set(p.Pod.Labels)) {
			n++
		}
	}
	return n
}

// smallest is the count that the others are compared with: 0 while there are
// fewer domains than asked for.
func (c *constraint) smallest() int64 {
	if len(c.counts) < c.minDomains || len(c.counts) == 0 {
		return 0
	}
	least := int64(math.MaxInt64)
	for _, n := range c.counts {
		least = min(least, n)
	}
	return least
}

// PreFilter counts for the constraints that must hold.
func (p *Plugin) PreFilter(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) ([]string, *framework.Status) {
	constraints := parse(pod.Pod, corev1.DoNotSchedule)
	if len(constraints) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	count(ctx, constraints, pod.Pod, nodes.Nodes())
	p.hard.Set(state, constraints)
	return nil, nil
}

// Filter rejects nodes whose domain would get too far ahead.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	for _, c := range p.hard.Get(state) {
		value, ok := node.Node.Labels[c.key]
		if !ok {
			return framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonMissingLabel)
		}
		if c.counts[value]+c.self-c.fewest > c.maxSkew {
			return framework.NewStatus(framework.Unschedulable, Reason)
		}
	}
	return nil
}

// EventsToRegister: pods come, go or change their labels, nodes come, go or
// change their domain or taints.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.AssignedPod, Action: framework.Add | framework.Delete | framework.UpdatePodLabels},
		{Resource: framework.Node, Action: framework.Add | framework.Delete | framework.UpdateNodeLabels | framework.UpdateTaints},
		{Resource: framework.WaitingPod, Action: framework.UpdatePodLabels},
	}
}

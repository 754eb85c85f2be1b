// Package topologyspread spreads pods over domains of nodes, such as zones, by
// their topologySpreadConstraints. Pods that have none, but belong to a service
// or a controller, are spread by the profile's default constraints.
package topologyspread

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"

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

// Groups returns a selector of the pods that belong together with a pod: those
// of its services and of its controller. It is empty if there are none.
type Groups func(pod *corev1.Pod) labels.Selector

// Plugin implements framework.Filter and framework.Score.
type Plugin struct {
	// defaults are the constraints of pods that have none; system says that
	// they are Kubernetes' own.
	defaults []corev1.TopologySpreadConstraint
	system   bool
	groups   Groups

	hard *framework.Key[[]constraint]
	soft *framework.Key[*preference]

	// The verdicts, made once as there are many.
	missingLabel, tooFarAhead *framework.Status
}

// New returns the plugin. Its arguments have their defaults and are valid.
func New(args *configv1.PodTopologySpreadArgs, groups Groups) *Plugin {
	p := &Plugin{
		defaults: args.DefaultConstraints, groups: groups,
		hard: framework.NewKey[[]constraint](), soft: framework.NewKey[*preference](),
		missingLabel: framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonMissingLabel).By(Name),
		tooFarAhead:  framework.NewStatus(framework.Unschedulable, Reason).By(Name),
	}
	if args.DefaultingType == configv1.SystemDefaulting {
		p.defaults, p.system = systemConstraints(), true
	}
	return p
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// constraint is one of the pod's, and how many matching pods each domain has.
type constraint struct {
	key     string
	maxSkew int64
	group   snapshot.SpreadGroup
	// self is 1 if the pod counts itself.
	self int64
	// honorAffinity and honorTaints leave out nodes the pod could not run on.
	honorAffinity, honorTaints bool
	minDomains                 int

	domains *snapshot.Domains
	// counts are the matching pods of each domain, members how many of its nodes
	// are counted. A domain without any does not count.
	counts  []int64
	members []int
	// present is how many domains count, fewest the smallest count of them.
	present int
	fewest  int64
}

// constraints returns those of one kind that a pod is under: its own or, if it
// has none of any kind, the default ones.
func (p *Plugin) constraints(pod *snapshot.PodInfo, action corev1.UnsatisfiableConstraintAction) []constraint {
	if own := pod.Pod.Spec.TopologySpreadConstraints; len(own) > 0 {
		if !hasAction(own, action) {
			return nil
		}
		groups := pod.SpreadGroups()
		return parse(pod.Pod, own, action, func(i int) snapshot.SpreadGroup { return groups[i] })
	}
	if !hasAction(p.defaults, action) {
		return nil
	}
	selector := p.groups(pod.Pod)
	if selector.Empty() {
		return nil
	}
	group := snapshot.NewSpreadGroup(selector)
	return parse(pod.Pod, p.defaults, action, func(int) snapshot.SpreadGroup { return group })
}

func hasAction(constraints []corev1.TopologySpreadConstraint, action corev1.UnsatisfiableConstraintAction) bool {
	for i := range constraints {
		if constraints[i].WhenUnsatisfiable == action {
			return true
		}
	}
	return false
}

// parse returns the constraints of an action; group is that of the i-th.
func parse(pod *corev1.Pod, constraints []corev1.TopologySpreadConstraint, action corev1.UnsatisfiableConstraintAction,
	group func(i int) snapshot.SpreadGroup,
) []constraint {
	out := make([]constraint, 0, len(constraints))
	for i := range constraints {
		c := &constraints[i]
		if c.WhenUnsatisfiable != action {
			continue
		}
		parsed := constraint{
			key: c.TopologyKey, maxSkew: int64(c.MaxSkew), group: group(i),
			honorAffinity: c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
			honorTaints:   c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
		}
		if c.MinDomains != nil {
			parsed.minDomains = int(*c.MinDomains)
		}
		if parsed.group.Matches(labels.Set(pod.Labels)) {
			parsed.self = 1
		}
		out = append(out, parsed)
	}
	return out
}

// labelsOf returns the labels that nodes need to be ranked by the constraints.
func labelsOf(constraints []constraint) []string {
	keys := make([]string, len(constraints))
	for i := range constraints {
		keys[i] = constraints[i].key
	}
	return keys
}

// inclusion says which nodes a pod's constraints count.
type inclusion struct {
	pod      *corev1.Pod
	required nodeaffinity.RequiredNodeAffinity
	logger   klog.Logger
}

func newInclusion(ctx context.Context, pod *corev1.Pod) *inclusion {
	return &inclusion{pod: pod, required: nodeaffinity.GetRequiredNodeAffinity(pod), logger: klog.FromContext(ctx)}
}

// all says whether the constraint counts every node, whatever it is like.
func (in *inclusion) all(c *constraint) bool {
	return !c.honorTaints && (!c.honorAffinity || !choosesNodes(in.pod))
}

func choosesNodes(pod *corev1.Pod) bool {
	a := pod.Spec.Affinity
	return len(pod.Spec.NodeSelector) > 0 || a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
}

// has says whether the constraint counts the node.
func (in *inclusion) has(c *constraint, node *corev1.Node) bool {
	if c.honorAffinity {
		if affine, err := in.required.Match(node); !affine || err != nil {
			return false
		}
	}
	if c.honorTaints {
		_, tainted := corev1helpers.FindMatchingUntoleratedTaint(in.logger, node.Spec.Taints, in.pod.Spec.Tolerations, keepsAway, false)
		return !tainted
	}
	return true
}

func keepsAway(t *corev1.Taint) bool {
	return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
}

// count fills the domains in. Nodes that lack a needed label count for none of
// them.
func (c *constraint) count(in *inclusion, nodes *snapshot.Snapshot, needed []string) {
	tally := nodes.Tally(matching(c.group, in.pod.Namespace), c.key, needed...)
	c.domains, c.counts, c.members = tally.Domains, tally.Sums, tally.Members
	if !in.all(c) {
		c.countIncluded(in, nodes, tally, needed)
	}
}

// countIncluded counts only the nodes that the pod could run on.
func (c *constraint) countIncluded(in *inclusion, nodes *snapshot.Snapshot, tally *snapshot.Tally, needed []string) {
	c.counts, c.members = make([]int64, len(c.domains.Values)), make([]int, len(c.domains.Values))
	for _, n := range nodes.Nodes() {
		if d, ok := c.domains.Of(n); ok && n.HasLabels(needed) && in.has(c, n.Node) {
			c.counts[d] += tally.On(n)
			c.members[d]++
		}
	}
}

// matching counts a namespace's pods that match a selector and are to stay. An
// empty selector matches nothing here, as Kubernetes has it.
func matching(group snapshot.SpreadGroup, namespace string) snapshot.Counter {
	if group.Empty() {
		return snapshot.Counter{ID: "no pods", Count: func(*snapshot.NodeInfo) int64 { return 0 }}
	}
	return snapshot.Counter{ID: "pods that stay in " + namespace + ": " + group.Text, Count: func(node *snapshot.NodeInfo) int64 {
		var n int64
		for _, p := range node.Pods {
			if p.Pod.DeletionTimestamp == nil && p.Pod.Namespace == namespace && group.Matches(labels.Set(p.Pod.Labels)) {
				n++
			}
		}
		return n
	}}
}

// compare works out what the domains' counts are compared with: the smallest,
// or 0 while there are fewer domains than asked for.
func (c *constraint) compare() {
	c.fewest = math.MaxInt64
	for d, nodes := range c.members {
		if nodes > 0 {
			c.present++
			c.fewest = min(c.fewest, c.counts[d])
		}
	}
	if c.present < c.minDomains || c.present == 0 {
		c.fewest = 0
	}
}

// PreFilter counts for the constraints that must hold.
func (p *Plugin) PreFilter(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) ([]string, *framework.Status) {
	constraints := p.constraints(pod, corev1.DoNotSchedule)
	if len(constraints) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	in, needed := newInclusion(ctx, pod.Pod), labelsOf(constraints)
	for i := range constraints {
		constraints[i].count(in, nodes, needed)
		constraints[i].compare()
	}
	p.hard.Set(state, constraints)
	return nil, nil
}

// Filter rejects nodes whose domain would get too far ahead.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	constraints := p.hard.Get(state)
	for i := range constraints {
		c := &constraints[i]
		if d, ok := c.domains.Of(node); !ok {
			return p.missingLabel
		} else if c.tooFarAhead(d) {
			return p.tooFarAhead
		}
	}
	return nil
}

// FilterBatch implements framework.BatchFilter.
func (p *Plugin) FilterBatch(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, nodes snapshot.Selection, verdicts []*framework.Status) {
	constraints := p.hard.Get(state)
	for i := range constraints {
		c := &constraints[i]
		for k := range verdicts {
			if verdicts[k] != nil {
				continue
			}
			if d, ok := c.domains.OfNth(nodes, k); !ok {
				verdicts[k] = p.missingLabel
			} else if c.tooFarAhead(d) {
				verdicts[k] = p.tooFarAhead
			}
		}
	}
}

// tooFarAhead says whether a domain would be if it had the pod.
func (c *constraint) tooFarAhead(domain int) bool {
	return c.counts[domain]+c.self-c.fewest > c.maxSkew
}

// EventsToRegister: pods come, go or change their labels, nodes come, go or
// change their domain or taints, the pod tolerates more.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.AssignedPod, Action: framework.Add | framework.Delete | framework.UpdatePodLabels},
		{Resource: framework.Node, Action: framework.Add | framework.Delete | framework.UpdateNodeLabels | framework.UpdateTaints},
		{Resource: framework.WaitingPod, Action: framework.UpdatePodLabels | framework.UpdateTolerations},
	}
}

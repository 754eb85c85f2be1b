// Package interpodaffinity places pods with, or away from, other pods: by their
// own terms, and by those of the pods that are there already.
package interpodaffinity

import (
	"context"

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

	// The verdicts, made once as there are many.
	noCompany, tooClose, keptAway *framework.Status
}

// New returns the plugin. Its arguments have their defaults and are valid.
func New(args *configv1.InterPodAffinityArgs, namespaces snapshot.NamespaceLabels) *Plugin {
	return &Plugin{
		namespaces: namespaces, requiredWeight: int64(*args.HardPodAffinityWeight),
		ignorePreferred: args.IgnorePreferredTermsOfExistingPods,
		required:        framework.NewKey[*required](), preferred: framework.NewKey[domains](),
		noCompany: framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonAffinity).By(Name),
		tooClose:  framework.NewStatus(framework.Unschedulable, ReasonAntiAffinity).By(Name),
		keptAway:  framework.NewStatus(framework.Unschedulable, ReasonExistingAntiAffinity).By(Name),
	}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// required is what the required terms mean for this pod.
type required struct {
	// affinity counts, for each of the pod's affinity terms, the pods that match
	// all of them, antiAffinity, for each of its anti-affinity terms, those that
	// match it, existing the pods with a term that keeps the pod away.
	affinity, antiAffinity, existing []*snapshot.Tally
	// elsewhere says that the verdict on a node depends on more than the pods of it:
	// on those of other nodes, or on the labels of namespaces.
	elsewhere bool
	// nodes is the view that was counted, for Advise to look into again.
	nodes *snapshot.Snapshot
}

// PreFilter counts the pods that the required terms speak of.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) ([]string, *framework.Status) {
	r := &required{nodes: nodes, elsewhere: len(pod.Affinity.Required) > 0}
	for term := range nodes.AntiAffinity() {
		if !term.Matches(pod.Pod, p.namespaces) {
			continue
		}
		if t := nodes.Tally(havingTerm(term), term.TopologyKey); t.Total > 0 {
			r.existing = append(r.existing, t)
			r.look(term, t)
		}
	}
	if len(pod.Affinity.Required) == 0 && len(pod.AntiAffinity.Required) == 0 && len(r.existing) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	for i := range pod.Affinity.Required {
		r.affinity = append(r.affinity, nodes.Tally(p.matchingAll(pod.Affinity.Required), pod.Affinity.Required[i].TopologyKey))
	}
	for i := range pod.AntiAffinity.Required {
		t := nodes.Tally(p.matchingAll(pod.AntiAffinity.Required[i:i+1]), pod.AntiAffinity.Required[i].TopologyKey)
		r.antiAffinity = append(r.antiAffinity, t)
		r.look(&pod.AntiAffinity.Required[i], t)
	}
	p.required.Set(state, r)
	return nil, nil
}

// look notes whether an anti-affinity term looks beyond each node.
func (r *required) look(term *snapshot.PodTerm, t *snapshot.Tally) {
	r.elsewhere = r.elsewhere || term.Group() == "" || !t.Apart()
}

// Lasting implements framework.Lasting: what keeps pods off one another's nodes by the
// name of the host, as most anti-affinity does, looks at the pods of one node alone.
func (p *Plugin) Lasting(state *framework.CycleState) bool { return !p.required.Get(state).elsewhere }

// havingTerm counts the pods that have an anti-affinity term.
func havingTerm(term *snapshot.PodTerm) snapshot.Counter {
	id := term.ID()
	return snapshot.Counter{ID: "pods that keep away by " + id, Count: func(node *snapshot.NodeInfo) int64 {
		var n int64
		for _, p := range node.WithRequiredAntiAffinity {
			for i := range p.AntiAffinity.Required {
				if p.AntiAffinity.Required[i].ID() == id {
					n++
				}
			}
		}
		return n
	}}
}

// matchingAll counts the pods that match all of some terms.
func (p *Plugin) matchingAll(terms []snapshot.PodTerm) snapshot.Counter {
	c := snapshot.Counter{ID: "pods that match", Count: func(node *snapshot.NodeInfo) int64 {
		var n int64
		for _, other := range node.Pods {
			if p.matchesAll(terms, other) {
				n++
			}
		}
		return n
	}}
	for i := range terms {
		group := terms[i].Group()
		if group == "" { // it depends on more than the pods
			c.ID = ""
			return c
		}
		c.ID += " and " + group
	}
	return c
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
	case !p.hasCompany(r, pod, node):
		return p.noCompany
	case anyIn(r.antiAffinity, node):
		return p.tooClose
	case anyIn(r.existing, node):
		return p.keptAway
	}
	return nil
}

// hasCompany says that every affinity term is met. The first pod of a group
// that wants its own company is let in anywhere the topology is known.
func (p *Plugin) hasCompany(r *required, pod *snapshot.PodInfo, node *snapshot.NodeInfo) bool {
	met, some := true, false
	for _, t := range r.affinity {
		if _, ok := t.Of(node); !ok {
			return false
		}
		met, some = met && t.In(node) > 0, some || t.Total > 0
	}
	return met || !some && p.matchesAll(pod.Affinity.Required, pod)
}

// anyIn says whether there is a counted pod in one of the node's domains.
func anyIn(tallies []*snapshot.Tally, node *snapshot.NodeInfo) bool {
	for _, t := range tallies {
		if t.In(node) > 0 {
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

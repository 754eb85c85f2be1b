// Package placement decides which node a pod goes to: it runs the plugins'
// filters and scores over a snapshot of the cluster and does nothing else. No
// object is written here and nothing is assumed.
//
// In a large cluster the filters stop once they have found enough nodes, as
// Kubernetes defines it, and begin the next time where they stopped. The answers
// for one pod are kept in a table; if the next pod reads the same to every
// plugin that takes part, only the nodes that have changed since are looked at
// again.
package placement

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

const (
	// alwaysAll is the size up to which every node is looked at, and the
	// fewest nodes that a sample looks for.
	alwaysAll = 100
	// minPercentage bounds the adaptive percentage from below.
	minPercentage = 5
	// sampleReuse is how many pods in a row may share one sample of nodes.
	sampleReuse = 50
)

// Config is how nodes are looked at.
type Config struct {
	// Parallelism is how many goroutines look at nodes in a large cluster.
	Parallelism int
}

// Nominations tells which pods wait for room on a node that is being made.
type Nominations interface {
	// On returns the pods nominated to a node, other than uid, that a pod of
	// the priority must leave room for.
	On(node string, pod *snapshot.PodInfo) []*snapshot.PodInfo
	// Any says whether there are any at all.
	Any() bool
}

// Placer makes decisions, one at a time.
type Placer struct {
	config      Config
	cache       *snapshot.Cache
	nominations Nominations

	nodes snapshot.Snapshot
	// next is where the next look at the nodes begins.
	next    int
	table   table
	scratch scratch
}

// New returns a Placer.
func New(config Config, cache *snapshot.Cache, nominations Nominations) *Placer {
	config.Parallelism = max(1, config.Parallelism)
	return &Placer{config: config, cache: cache, nominations: nominations}
}

// Result is a decision.
type Result struct {
	// Node is where the pod goes; empty if nowhere.
	Node string
	// Diagnosis says why nowhere; nil if Node is set.
	Diagnosis *framework.Diagnosis
	State     *framework.CycleState
	// Nodes is the view that was decided on. It is valid until the next Place.
	Nodes *snapshot.Snapshot
	// Feasible and Evaluated count nodes.
	Feasible, Evaluated int
	// Best are the best nodes and their scores, the chosen one first.
	Best Ranking
}

// attempt is one pod on its way through a decision.
type attempt struct {
	profile *framework.Profile
	state   *framework.CycleState
	pod     *snapshot.PodInfo
	// nominations says that there are any, which filters have to reckon with.
	nominations bool
	// shares says that the verdicts are those of all pods of the signature, but for
	// those of the filters at passing. batch says that all of these are BatchFilters.
	shares  bool
	passing []int
	batch   bool
	// feasible are the indexes of the nodes that the pod can go to, in
	// ascending order.
	feasible []int
}

// Place decides by a profile. An error means that something is broken; that no
// node takes the pod is a Diagnosis.
func (p *Placer) Place(ctx context.Context, profile *framework.Profile, pod *snapshot.PodInfo) (*Result, error) {
	changed, others := p.nodes.Refresh(p.cache)
	a := &attempt{profile: profile, state: &framework.CycleState{}, pod: pod, nominations: p.nominations.Any()}
	r := &Result{State: a.state, Nodes: &p.nodes}
	if len(p.nodes.Nodes()) == 0 {
		r.Diagnosis = &framework.Diagnosis{}
		return r, nil
	}
	only, absent, status := profile.PreFilter(ctx, a.state, pod, &p.nodes)
	switch {
	case status.Rejected():
		p.table.forget()
		r.Diagnosis = &framework.Diagnosis{AllNodes: len(p.nodes.Nodes()), PreFilter: status}
		return r, nil
	case !status.Success():
		return nil, fmt.Errorf("prepare to place pod %s: %w", pod.Key(), status)
	}
	if err := p.fillTable(ctx, a, only, changed, others); err != nil {
		return nil, fmt.Errorf("filter nodes for pod %s: %w", pod.Key(), err)
	}
	rejected, err := p.extend(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("filter nodes for pod %s: %w", pod.Key(), err)
	}
	r.Feasible, r.Evaluated = len(a.feasible), p.table.evaluated
	if r.Feasible == 0 {
		r.Diagnosis = p.table.diagnosis(&p.nodes, absent)
		maps.Copy(r.Diagnosis.Rejections, rejected)
		return r, nil
	}
	if err := p.score(ctx, r, a); err != nil {
		return nil, fmt.Errorf("score nodes for pod %s: %w", pod.Key(), err)
	}
	return r, nil
}

// fillTable makes the table hold verdicts for this pod: those of the last one,
// brought up to date, if they are exact, else new ones.
func (p *Placer) fillTable(ctx context.Context, a *attempt, only map[string]bool, changed []int, others bool) error {
	signature, err := a.pod.Signature()
	if err != nil {
		return err
	}
	key := tableKey{profile: a.profile, signature: signature}
	nominated := a.pod.Pod.Status.NominatedNodeName
	a.passing, a.batch = a.profile.Passing(a.state)
	a.shares = only == nil && nominated == "" && !a.nominations
	if a.shares && !others && p.table.holds(key, a.passing) {
		held, err := p.refilter(ctx, a, changed)
		if err != nil {
			p.table.forget()
			return err
		}
		if held && p.table.suffices(p.wanted(a.profile)) {
			return nil
		}
	}
	p.table.reset(len(p.nodes.Nodes()))
	if a.shares {
		p.table.key, p.table.passing = key, a.passing
	}
	if nominated != "" {
		if done, err := p.tryNominated(ctx, a, nominated); done || err != nil {
			return err
		}
	}
	if only != nil {
		return p.filterNamed(ctx, a, only)
	}
	return p.filterSample(ctx, a)
}

// extend leaves the table's feasible nodes that no extender rejects, and
// returns the verdicts on the others.
func (p *Placer) extend(ctx context.Context, a *attempt) (map[string]*framework.Status, error) {
	a.feasible = p.table.feasible
	if !a.profile.Extended() {
		return nil, nil
	}
	rejected, err := a.profile.Extend(ctx, a.pod, p.at(a.feasible))
	if len(rejected) == 0 {
		return nil, err
	}
	a.feasible = slices.DeleteFunc(slices.Clone(a.feasible), func(i int) bool { return rejected[p.nodes.Nodes()[i].Name()] != nil })
	if len(a.feasible) == 0 {
		p.table.forget() // the next pod is to see other nodes
	}
	return rejected, nil
}

// at returns the nodes of the indexes. They are valid until the next call.
func (p *Placer) at(indexes []int) []*snapshot.NodeInfo {
	nodes := p.scratch.nodes[:0]
	for _, i := range indexes {
		nodes = append(nodes, p.nodes.Nodes()[i])
	}
	p.scratch.nodes = nodes
	return nodes
}

// tryNominated looks at the node where preemption made room, before all
// others.
func (p *Placer) tryNominated(ctx context.Context, a *attempt, name string) (done bool, err error) {
	i, ok := p.nodes.Index(name)
	if !ok {
		return false, nil
	}
	s, err := p.filter(ctx, a, i)
	if err != nil {
		return false, err
	}
	var rejected map[string]*framework.Status
	if s.Success() {
		rejected, err = a.profile.Extend(ctx, a.pod, p.at([]int{i}))
	}
	if err != nil || !s.Success() || len(rejected) > 0 {
		p.table.verdicts[i] = verdict{} // it is one among the others
		return false, err
	}
	p.table.collect()
	return true, nil
}

func (p *Placer) filterNamed(ctx context.Context, a *attempt, only map[string]bool) error {
	for name := range only {
		i, ok := p.nodes.Index(name)
		if !ok {
			continue
		}
		if _, err := p.filter(ctx, a, i); err != nil {
			return err
		}
	}
	p.table.collect()
	return nil
}

// refilter asks the lasting filters about the nodes that have changed since the table
// was filled, and the others about all nodes that those leave. It returns false if that
// cannot be told from the table.
func (p *Placer) refilter(ctx context.Context, a *attempt, changed []int) (bool, error) {
	t := &p.table
	for _, i := range changed {
		if !t.verdicts[i].known {
			continue
		}
		standing := a.profile.Stand(ctx, a.state, a.pod, p.nodes.Nodes()[i])
		if standing.Status.Code() == framework.Error {
			return false, nil
		}
		t.restand(i, standing)
	}
	if len(a.passing) == 0 {
		t.feasible = t.candidates
		return true, nil
	}
	t.judged = cleared(t.judged, len(t.candidates))
	p.complete(ctx, a, t.judged)
	if err := t.judge(t.judged); err != nil {
		return false, err
	}
	if len(t.feasible) > 0 || !t.complete() {
		return true, nil
	}
	return true, p.completeAll(ctx, a)
}

// complete sets the verdicts on the candidates.
func (p *Placer) complete(ctx context.Context, a *attempt, verdicts []*framework.Status) {
	candidates := p.nodes.Select(p.table.candidates)
	if a.batch {
		a.profile.CompleteBatch(ctx, a.state, a.pod, candidates, verdicts)
		return
	}
	p.parallel(len(verdicts), func(from, to int) bool {
		a.profile.CompleteBatch(ctx, a.state, a.pod, candidates.Slice(from, to), verdicts[from:to])
		return true
	})
}

// completeAll makes the table's verdicts those on this pod, which no node takes, for
// its diagnosis.
func (p *Placer) completeAll(ctx context.Context, a *attempt) error {
	t := &p.table
	for k, i := range t.candidates {
		t.verdicts[i].status = t.judged[k]
	}
	for i := range t.verdicts {
		v := &t.verdicts[i]
		if v.standing.Status.Success() {
			continue
		}
		v.status = a.profile.Complete(ctx, a.state, a.pod, p.nodes.Nodes()[i], v.standing)
		if err := v.status.Err(); err != nil {
			return err
		}
	}
	return nil
}

// filter records the verdict of the filters on a node, and returns it.
func (p *Placer) filter(ctx context.Context, a *attempt, i int) (*framework.Status, error) {
	node := p.nodes.Nodes()[i]
	var standing framework.Standing
	var s *framework.Status
	if a.shares {
		standing = a.profile.Stand(ctx, a.state, a.pod, node)
		s = a.profile.Complete(ctx, a.state, a.pod, node, standing)
	} else {
		s = p.filterNominated(ctx, a, node)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	p.table.record(i, standing, s)
	return s, nil
}

// filterNominated runs the filters, leaving room for nominated pods: the node must
// take the pod with them, and, as they may go elsewhere, also without them.
func (p *Placer) filterNominated(ctx context.Context, a *attempt, node *snapshot.NodeInfo) *framework.Status {
	if !a.nominations {
		return a.profile.Filter(ctx, a.state, a.pod, node)
	}
	if nominated := p.nominations.On(node.Name(), a.pod); len(nominated) > 0 {
		with := node.Clone()
		for _, n := range nominated {
			with.AddPod(n)
		}
		if s := a.profile.Filter(ctx, a.state, a.pod, with); !s.Success() {
			return s
		}
	}
	return a.profile.Filter(ctx, a.state, a.pod, node)
}

// wanted is how many feasible nodes are enough.
func (p *Placer) wanted(profile *framework.Profile) int {
	return enough(len(p.nodes.Nodes()), profile.PercentageOfNodes())
}

func enough(nodes, percentage int) int {
	if nodes < alwaysAll || percentage >= 100 {
		return nodes
	}
	if percentage <= 0 {
		percentage = max(50-nodes/125, minPercentage)
	}
	return max(nodes*percentage/100, alwaysAll)
}

// pick chooses one of the best totals at random.
func pick(totals []int64) int {
	best, ties := 0, 1
	for i := 1; i < len(totals); i++ {
		switch {
		case totals[i] > totals[best]:
			best, ties = i, 1
		case totals[i] == totals[best]:
			if ties++; rand.IntN(ties) == 0 {
				best = i
			}
		}
	}
	return best
}

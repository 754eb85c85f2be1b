package framework

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// WeightedScore is a Score plugin and its weight.
type WeightedScore struct {
	Score
	Weight int64
}

// Settings are a profile's.
type Settings struct {
	// SchedulerName is the spec.schedulerName of the pods that the profile is
	// for.
	SchedulerName string
	// PercentageOfNodes is how many feasible nodes, of all, are enough to
	// choose from; 0 adapts it to the size of the cluster.
	PercentageOfNodes int
	Plugins           Layout
	// Extenders are asked in this order.
	Extenders []Extender
}

// Profile runs plugins at their extension points, in the order in which they
// were given. It is immutable and safe for concurrent use.
type Profile struct {
	schedulerName     string
	percentageOfNodes int

	sort       QueueSort
	preEnqueue []PreEnqueue
	preFilter  []PreFilter
	filter     []Filter
	postFilter []PostFilter
	preScore   []PreScore
	score      []WeightedScore
	reserve    []Reserve
	permit     []Permit
	preBind    []PreBind
	bind       []Bind
	extenders  []Extender
	hints      map[string][]EventHint
}

// NewProfile returns the profile of a Layout that passes its Check.
func NewProfile(s Settings) (*Profile, error) {
	l := s.Plugins
	if err := l.Check(); err != nil {
		return nil, fmt.Errorf("profile %q: %w", s.SchedulerName, err)
	}
	p := &Profile{
		schedulerName: s.SchedulerName, percentageOfNodes: s.PercentageOfNodes,
		sort:       at[QueueSort](l, QueueSortPoint)[0],
		preEnqueue: at[PreEnqueue](l, PreEnqueuePoint),
		preFilter:  at[PreFilter](l, PreFilterPoint),
		filter:     at[Filter](l, FilterPoint),
		postFilter: at[PostFilter](l, PostFilterPoint),
		preScore:   at[PreScore](l, PreScorePoint),
		reserve:    at[Reserve](l, ReservePoint),
		permit:     at[Permit](l, PermitPoint),
		preBind:    at[PreBind](l, PreBindPoint),
		bind:       at[Bind](l, BindPoint),
		extenders:  s.Extenders,
		hints:      make(map[string][]EventHint),
	}
	for i, plugin := range at[Score](l, ScorePoint) {
		p.score = append(p.score, WeightedScore{Score: plugin, Weight: l[ScorePoint][i].Weight})
	}
	for _, e := range s.Extenders {
		p.hints[e.Name] = anything()
	}
	for _, plugins := range l {
		for _, w := range plugins {
			if e, ok := w.Plugin.(EventsRegistrar); ok && p.hints[e.Name()] == nil {
				p.hints[e.Name()] = e.EventsToRegister()
			}
		}
	}
	return p, nil
}

// at returns the plugins of an extension point, which all are T.
func at[T Plugin](l Layout, point Point) []T {
	out := make([]T, len(l[point]))
	for i, w := range l[point] {
		out[i], _ = w.Plugin.(T)
	}
	return out
}

// SchedulerName is the spec.schedulerName of the pods that the profile is for.
func (p *Profile) SchedulerName() string { return p.schedulerName }

// PercentageOfNodes is how many feasible nodes, of all, are enough to choose
// from; 0 adapts it to the size of the cluster.
func (p *Profile) PercentageOfNodes() int { return p.percentageOfNodes }

// Less orders the queue.
func (p *Profile) Less(a, b *QueuedPod) bool { return p.sort.Less(a, b) }

// Hints returns the events that can help a pod which the plugin rejected.
func (p *Profile) Hints(plugin string) []EventHint { return p.hints[plugin] }

// PreEnqueue returns the first rejection.
func (p *Profile) PreEnqueue(pod *snapshot.PodInfo) *Status {
	for _, pl := range p.preEnqueue {
		if s := pl.PreEnqueue(pod); !s.Success() {
			return s.By(pl.Name())
		}
	}
	return nil
}

// PreFilter begins an attempt. only is the nodes worth looking at, nil for
// all; absent is the verdict on the others.
func (p *Profile) PreFilter(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) (only map[string]bool, absent, status *Status) {
	skipped := make([]string, 0, len(p.preFilter))
	var narrowed []string
	for _, pl := range p.preFilter {
		names, s := pl.PreFilter(ctx, state, pod, nodes)
		switch {
		case s.Code() == Skip:
			skipped = append(skipped, pl.Name())
		case !s.Success():
			return nil, nil, s.By(pl.Name())
		case names != nil:
			narrowed = append(narrowed, pl.Name())
			only = intersect(only, names)
		}
	}
	state.filters = make([]turn, 0, len(p.filter))
	for at, f := range p.filter {
		if !slices.Contains(skipped, f.Name()) {
			state.filters = append(state.filters, turn{filter: f, at: at, lasts: lasts(f, state)})
		}
	}
	if only != nil {
		reason := fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", narrowed)
		absent = NewStatus(UnschedulableAndUnresolvable, reason).By(narrowed[0])
	}
	return only, absent, nil
}

func intersect(have map[string]bool, names []string) map[string]bool {
	fresh := make(map[string]bool, len(names))
	for _, name := range names {
		fresh[name] = true
	}
	if have == nil {
		return fresh
	}
	maps.DeleteFunc(have, func(name string, _ bool) bool { return !fresh[name] })
	return have
}

// Filter returns the first plugin's verdict that is not Success. PreFilter must
// have run on state.
func (p *Profile) Filter(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *Status {
	for _, t := range state.filters {
		if s := t.filter.Filter(ctx, state, pod, node); !s.Success() {
			return s.By(t.filter.Name())
		}
	}
	return nil
}

// FilterAll returns the verdicts of all plugins that reject the node.
func (p *Profile) FilterAll(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) []*Status {
	var out []*Status
	for _, t := range state.filters {
		if s := t.filter.Filter(ctx, state, pod, node); !s.Success() {
			out = append(out, s.By(t.filter.Name()))
		}
	}
	return out
}

// PostFilter asks each plugin to make room until one can.
func (p *Profile) PostFilter(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot, why *Diagnosis) (nominated string, status *Status) {
	for _, pl := range p.postFilter {
		node, s := pl.PostFilter(ctx, p, state, pod, nodes, why)
		status = s.By(pl.Name())
		if !status.Rejected() {
			return node, status
		}
		nominated = cmp.Or(node, nominated)
	}
	return nominated, status
}

// PreScore prepares the scoring of the nodes that are left.
func (p *Profile) PreScore(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, all *snapshot.Snapshot, feasible snapshot.Selection) *Status {
	skipped := make([]string, 0, len(p.preScore))
	for _, pl := range p.preScore {
		switch s := pl.PreScore(ctx, state, pod, all, feasible); {
		case s.Code() == Skip:
			skipped = append(skipped, pl.Name())
		case !s.Success():
			return s.By(pl.Name())
		}
	}
	state.scores = slices.DeleteFunc(slices.Clone(p.score), func(w WeightedScore) bool { return slices.Contains(skipped, w.Name()) })
	return nil
}

// Scorers returns the plugins that score this attempt's nodes. PreScore must
// have run on state.
func (p *Profile) Scorers(state *CycleState) []WeightedScore { return state.scores }

// NodeLocal says whether every filter that takes part in the attempt is
// NodeLocal.
func (p *Profile) NodeLocal(state *CycleState) bool {
	return !slices.ContainsFunc(state.filters, func(t turn) bool { return !is[NodeLocal](t.filter) })
}

// Reserve runs every plugin's Reserve; on a failure all are unreserved.
func (p *Profile) Reserve(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string) *Status {
	for _, pl := range p.reserve {
		if s := pl.Reserve(ctx, state, pod, node); !s.Success() {
			p.Unreserve(ctx, state, pod, node)
			return s.By(pl.Name())
		}
	}
	return nil
}

// Unreserve gives back what Reserve took, in reverse order.
func (p *Profile) Unreserve(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string) {
	for _, pl := range slices.Backward(p.reserve) {
		pl.Unreserve(ctx, state, pod, node)
	}
}

// Permit returns Success, a rejection, or Wait and the shortest time that a
// plugin asked for.
func (p *Profile) Permit(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string) (*Status, time.Duration) {
	var wait *Status
	var timeout time.Duration
	for _, pl := range p.permit {
		s, t := pl.Permit(ctx, state, pod, node)
		switch {
		case s.Code() == Wait && (wait == nil || t < timeout):
			wait, timeout = s.By(pl.Name()), t
		case s.Code() != Wait && !s.Success():
			return s.By(pl.Name()), 0
		}
	}
	return wait, timeout
}

// NeedsPreBind says whether there is anything to do before the pod's binding is
// written.
func (p *Profile) NeedsPreBind(state *CycleState, pod *snapshot.PodInfo) bool {
	return slices.ContainsFunc(p.preBind, func(pl PreBind) bool { return pl.NeedsPreBind(state, pod) })
}

// PreBind runs the PreBind of every plugin that has something to do.
func (p *Profile) PreBind(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string) *Status {
	for _, pl := range p.preBind {
		if !pl.NeedsPreBind(state, pod) {
			continue
		}
		if s := pl.PreBind(ctx, state, pod, node); !s.Success() && s.Code() != Skip {
			return s.By(pl.Name())
		}
	}
	return nil
}

// Bind writes bindings; each goes to the first binder that does not skip it.
func (p *Profile) Bind(ctx context.Context, bindings []Binding) []*Status {
	results := make([]*Status, len(bindings))
	open := make([]int, len(bindings))
	for i := range bindings {
		open[i] = i
		results[i] = NewStatus(Error, "no binder took the pod")
	}
	for _, pl := range p.bind {
		if len(open) == 0 {
			break
		}
		batch := make([]Binding, len(open))
		for n, i := range open {
			batch[n] = bindings[i]
		}
		var skipped []int
		for n, s := range pl.Bind(ctx, batch) {
			if s.Code() == Skip {
				skipped = append(skipped, open[n])
				continue
			}
			results[open[n]] = s.By(pl.Name())
		}
		open = skipped
	}
	return results
}

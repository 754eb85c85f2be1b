package placement

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// NodeVerdict is all that the plugins say of one node.
type NodeVerdict struct {
	Node string
	// Rejections are those of every plugin that rejects the node.
	Rejections []Rejection
	// Score is that of a feasible node.
	Score NodeScore
}

// Rejection is a plugin's verdict on a node, and what would have to change.
type Rejection struct {
	Status *framework.Status
	Advice framework.Advice
}

// Explanation is the verdict on a pod, node by node.
type Explanation struct {
	// Best is the node with the highest score; empty if none is feasible.
	Best      string
	Nodes     []NodeVerdict
	Diagnosis *framework.Diagnosis
}

// Explain asks every plugin about every node. The pod is taken off its own node
// first, so that a placed pod is judged as it was before.
func Explain(ctx context.Context, profile *framework.Profile, cache *snapshot.Cache, pod *snapshot.PodInfo) (*Explanation, error) {
	nodes := &snapshot.Snapshot{}
	nodes.Refresh(cache)
	for _, n := range nodes.Nodes() {
		without := n.Clone()
		if without.RemovePod(pod.Pod.UID) {
			nodes = nodes.With(without)
			break
		}
	}
	e := &Explanation{Diagnosis: &framework.Diagnosis{AllNodes: len(nodes.Nodes()), Rejections: make(map[string]*framework.Status)}}
	state := &framework.CycleState{}
	only, absent, status := profile.PreFilter(ctx, state, pod, nodes)
	if err := status.Err(); err != nil {
		return nil, fmt.Errorf("explain pod %s: %w", pod.Key(), err)
	}
	if status.Rejected() {
		e.Diagnosis.PreFilter = status
		advice := profile.AdvisePod(ctx, pod, status)
		for _, n := range nodes.Nodes() {
			e.Nodes = append(e.Nodes, NodeVerdict{Node: n.Name(), Rejections: []Rejection{{Status: status, Advice: advice}}})
		}
		return e, nil
	}
	feasible, err := e.addVerdicts(ctx, profile, state, pod, nodes, func(node string) *framework.Status {
		if only != nil && !only[node] {
			return absent
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("explain pod %s: %w", pod.Key(), err)
	}
	e.addAdvice(ctx, profile, state, pod, nodes)
	if err := e.addScores(ctx, profile, state, pod, nodes, feasible); err != nil {
		return nil, fmt.Errorf("explain pod %s: %w", pod.Key(), err)
	}
	return e, nil
}

// addVerdicts asks the filters, and the extenders about what those leave. It
// returns the feasible nodes. narrowed is the verdict on a node that is not
// worth looking at.
func (e *Explanation) addVerdicts(ctx context.Context, profile *framework.Profile, state *framework.CycleState, pod *snapshot.PodInfo,
	nodes *snapshot.Snapshot, narrowed func(node string) *framework.Status,
) ([]*snapshot.NodeInfo, error) {
	var passed []*snapshot.NodeInfo
	for _, n := range nodes.Nodes() {
		v := NodeVerdict{Node: n.Name()}
		for _, s := range profile.FilterAll(ctx, state, pod, n) {
			v.Rejections = append(v.Rejections, Rejection{Status: s})
		}
		if s := narrowed(n.Name()); !s.Success() {
			v.Rejections = append(v.Rejections, Rejection{Status: s})
		}
		if len(v.Rejections) > 0 {
			e.Diagnosis.Rejections[n.Name()] = v.Rejections[0].Status
		} else {
			passed = append(passed, n)
		}
		e.Nodes = append(e.Nodes, v)
	}
	rejected, err := profile.Extend(ctx, pod, passed)
	if err != nil {
		return nil, err
	}
	maps.Copy(e.Diagnosis.Rejections, rejected)
	for i := range e.Nodes {
		if s := rejected[e.Nodes[i].Node]; s != nil {
			e.Nodes[i].Rejections = append(e.Nodes[i].Rejections, Rejection{Status: s})
		}
	}
	return slices.DeleteFunc(passed, func(n *snapshot.NodeInfo) bool { return rejected[n.Name()] != nil }), nil
}

// advised is how many nodes advice is given on, as working it out may take a
// look at every pod in the cluster.
const advised = 20

// addAdvice asks what would have to change on the nodes that the fewest plugins
// reject.
func (e *Explanation) addAdvice(ctx context.Context, profile *framework.Profile, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) {
	var rejecting []*NodeVerdict
	for i := range e.Nodes {
		if len(e.Nodes[i].Rejections) > 0 {
			rejecting = append(rejecting, &e.Nodes[i])
		}
	}
	slices.SortStableFunc(rejecting, func(a, b *NodeVerdict) int { return cmp.Compare(len(a.Rejections), len(b.Rejections)) })
	for _, v := range rejecting[:min(len(rejecting), advised)] {
		for i := range v.Rejections {
			r := &v.Rejections[i]
			r.Advice = profile.Advise(ctx, state, pod, nodes.Get(v.Node), r.Status)
		}
	}
}

// addScores scores the feasible nodes and finds the best.
func (e *Explanation) addScores(ctx context.Context, profile *framework.Profile, state *framework.CycleState, pod *snapshot.PodInfo,
	all *snapshot.Snapshot, feasible []*snapshot.NodeInfo,
) error {
	if len(feasible) == 0 {
		return nil
	}
	if s := profile.PreScore(ctx, state, pod, all, selected(all, feasible)); !s.Success() {
		return s
	}
	scorers := append(profile.Scorers(state), profile.ExtenderScores(ctx, pod, feasible)...)
	scores := make([][]int64, len(scorers))
	for k, s := range scorers {
		scores[k] = make([]int64, len(feasible))
		for i, n := range feasible {
			score, status := s.Score.Score(ctx, state, pod, n)
			if !status.Success() {
				return status.By(s.Name())
			}
			scores[k][i] = score
		}
	}
	normalize(ctx, state, pod, scorers, scores)
	totals := make([]int64, len(feasible))
	addScores(totals, scores, scorers)
	order := make([]int, len(feasible))
	for i := range order {
		order[i] = i
	}
	ranking := (&ranked{
		name: func(i int) string { return feasible[i].Name() }, plugins: pluginsOf(scorers, nil), scores: scores, totals: totals,
	}).ranking(order...)
	byNode := make(map[string]NodeScore, len(feasible))
	for _, n := range ranking.Nodes() {
		byNode[n.Node] = n
	}
	for i := range e.Nodes {
		e.Nodes[i].Score = byNode[e.Nodes[i].Node]
	}
	e.Best = feasible[slices.Index(totals, slices.Max(totals))].Name()
	return nil
}

// selected are some nodes, in their order, as a selection of all.
func selected(all *snapshot.Snapshot, nodes []*snapshot.NodeInfo) snapshot.Selection {
	indexes := make([]int, 0, len(nodes))
	for _, n := range nodes {
		if i, ok := all.Index(n.Name()); ok {
			indexes = append(indexes, i)
		}
	}
	return all.Select(indexes)
}

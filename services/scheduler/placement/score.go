package placement

import (
	"context"
	"slices"
	"sync"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// bestKept is how many of the best nodes a Result tells the scores of.
const bestKept = 16

// scratch is memory that a decision leaves to the next: a few numbers for each of
// hundreds of nodes would be a tenth of all that the control plane allocates for a
// pod.
type scratch struct {
	nodes  []*snapshot.NodeInfo
	scores []int64 // of all plugins, one behind the other
	totals []int64
}

// score ranks the feasible nodes of the table and chooses one.
func (p *Placer) score(ctx context.Context, r *Result, a *attempt) error {
	feasible := p.at(a.feasible)
	if s := a.profile.PreScore(ctx, a.state, a.pod, &p.nodes, feasible); !s.Success() {
		return s
	}
	scorers := a.profile.Scorers(a.state)
	if len(feasible) > 1 {
		scorers = append(scorers, a.profile.ExtenderScores(ctx, a.pod, feasible)...)
	}
	if err := p.scoreNodes(ctx, a, scorers); err != nil {
		p.table.forget()
		return err
	}
	p.scratch.scores = p.scratch.scores[:0]
	scores := NormalizedScores(ctx, a.state, a.pod, feasible, scorers, func(s framework.WeightedScore) []int64 {
		return p.rawScores(s, a.feasible)
	})
	p.scratch.totals = cleared(p.scratch.totals, len(feasible))
	totals := p.scratch.totals
	addScores(totals, scores, scorers)
	chosen := pick(totals)
	r.Node = feasible[chosen].Name()
	r.Best = best(feasible, scorers, scores, totals, chosen)
	return nil
}

// scoreNodes fills in the raw scores that the table lacks, and those that depend
// on more than the node and the pod's template.
func (p *Placer) scoreNodes(ctx context.Context, a *attempt, scorers []framework.WeightedScore) error {
	t := &p.table
	for _, s := range scorers {
		if len(t.raw[s.Name()]) != len(t.verdicts) {
			t.raw[s.Name()] = make([]int64, len(t.verdicts))
			clear(t.scored)
		}
	}
	columns := make([][]int64, len(scorers))
	lasting := make([]bool, len(scorers))
	for n, s := range scorers {
		columns[n] = t.raw[s.Name()]
		_, lasting[n] = s.Score.(framework.NodeLocal)
	}
	var first error
	var once sync.Once
	p.parallel(len(a.feasible), func(from, to int) bool {
		for _, i := range a.feasible[from:to] {
			for n, s := range scorers {
				if t.scored[i] && lasting[n] {
					continue
				}
				score, status := s.Score.Score(ctx, a.state, a.pod, p.nodes.Nodes()[i])
				if !status.Success() {
					once.Do(func() { first = status.By(s.Name()) })
					return false
				}
				columns[n][i] = score
			}
			t.scored[i] = true
		}
		return true
	})
	return first
}

// rawScores returns a plugin's scores of nodes, in their order.
func (p *Placer) rawScores(s framework.WeightedScore, nodes []int) []int64 {
	column, all := p.table.raw[s.Name()], p.scratch.scores
	begin := len(all)
	for _, i := range nodes {
		all = append(all, column[i])
	}
	p.scratch.scores = all
	return all[begin:len(all):len(all)]
}

// NormalizedScores returns every plugin's scores of the nodes from 0 to
// framework.MaxScore, given its raw ones.
func NormalizedScores(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo,
	scorers []framework.WeightedScore, raw func(framework.WeightedScore) []int64,
) [][]int64 {
	out := make([][]int64, len(scorers))
	for n, s := range scorers {
		out[n] = raw(s)
		if normalizer, ok := s.Score.(framework.ScoreNormalizer); ok {
			normalizer.NormalizeScore(ctx, state, pod, nodes, out[n])
		}
	}
	return out
}

// addScores adds the plugins' scores of each node to its total.
func addScores(totals []int64, scores [][]int64, scorers []framework.WeightedScore) {
	for n, s := range scorers {
		for i, score := range scores[n] {
			totals[i] += score * s.Weight
		}
	}
}

// best returns the scores of the best nodes, the chosen one first.
func best(nodes []*snapshot.NodeInfo, scorers []framework.WeightedScore, scores [][]int64, totals []int64, chosen int) []NodeScore {
	order := topIndexes(totals, chosen)
	out := make([]NodeScore, len(order))
	for n, i := range order {
		out[n] = nodeScore(nodes[i], scorers, scores, totals, i)
	}
	return out
}

// nodeScore is the scores of the i-th node.
func nodeScore(node *snapshot.NodeInfo, scorers []framework.WeightedScore, scores [][]int64, totals []int64, i int) NodeScore {
	out := NodeScore{Node: node.Name(), Total: totals[i], Scores: make([]PluginScore, len(scorers))}
	for k, s := range scorers {
		out.Scores[k] = PluginScore{Plugin: s.Name(), Score: scores[k][i], Weight: s.Weight}
	}
	return out
}

// topIndexes returns the indexes of the highest totals, descending, with first
// in front. It keeps a short sorted list, as sorting all would cost more than
// scoring them.
func topIndexes(totals []int64, first int) []int {
	top := make([]int, 0, bestKept+1)
	for i := range totals {
		if i == first || len(top) == bestKept-1 && totals[i] <= totals[top[len(top)-1]] {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, totals[i], func(j int, total int64) int {
			if totals[j] >= total {
				return -1
			}
			return 1
		})
		top = slices.Insert(top, at, i)
		top = top[:min(len(top), bestKept-1)]
	}
	return append([]int{first}, top...)
}

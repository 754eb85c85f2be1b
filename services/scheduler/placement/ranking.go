package placement

import (
	"slices"

	"navarch.dev/navarch/services/scheduler/framework"
)

// bestKept is how many of the best nodes a Ranking has.
const bestKept = 16

// Ranking is some nodes and their scores. Those of thousands of pods are remembered, so
// that it is small and has few pointers.
type Ranking struct {
	nodes   []string
	plugins []rankedBy
	// scores are, of one node behind the other, the total and what each plugin gives.
	scores []int64
}

// rankedBy is a plugin that scores, and what that counts.
type rankedBy struct {
	plugin string
	weight int64
}

// NodeScore is a node's score, in total and by plugin.
type NodeScore struct {
	Node   string
	Total  int64
	Scores []PluginScore
}

// PluginScore is what one plugin gives a node, from 0 to framework.MaxScore.
type PluginScore struct {
	Plugin        string
	Score, Weight int64
}

// Nodes returns the nodes of the Ranking in their order.
func (r Ranking) Nodes() []NodeScore {
	out := make([]NodeScore, len(r.nodes))
	width := 1 + len(r.plugins)
	for n, name := range r.nodes {
		scores := r.scores[n*width : (n+1)*width]
		out[n] = NodeScore{Node: name, Total: scores[0], Scores: make([]PluginScore, len(r.plugins))}
		for k, by := range r.plugins {
			out[n].Scores[k] = PluginScore{Plugin: by.plugin, Score: scores[1+k], Weight: by.weight}
		}
	}
	return out
}

// ranked are nodes and their scores, for Rankings to be made of.
type ranked struct {
	// name returns that of the i-th node.
	name    func(i int) string
	plugins []rankedBy
	// scores are those of the nodes by plugin, totals what they add up to.
	scores [][]int64
	totals []int64
}

// ranking returns some of the nodes.
func (r *ranked) ranking(order ...int) Ranking {
	out := Ranking{nodes: make([]string, len(order)), plugins: r.plugins, scores: make([]int64, 0, len(order)*(1+len(r.plugins)))}
	for n, i := range order {
		out.nodes[n] = r.name(i)
		out.scores = append(out.scores, r.totals[i])
		for k := range r.plugins {
			out.scores = append(out.scores, r.scores[k][i])
		}
	}
	return out
}

// plugins returns who scores: have, if it is that.
func pluginsOf(scorers []framework.WeightedScore, have []rankedBy) []rankedBy {
	same := func(by rankedBy, s framework.WeightedScore) bool {
		return by.plugin == s.Name() && by.weight == s.Weight
	}
	if slices.EqualFunc(have, scorers, same) {
		return have
	}
	out := make([]rankedBy, len(scorers))
	for k, s := range scorers {
		out[k] = rankedBy{plugin: s.Name(), weight: s.Weight}
	}
	return out
}

// topIndexes returns the indexes of the highest totals, descending, with first
// in front. It keeps a short sorted list, as sorting all would cost more than
// scoring them.
func topIndexes(totals []int64, first int) []int {
	top := make([]int, 1, bestKept+1)
	top[0] = first
	for i, total := range totals {
		if i == first || len(top) == bestKept && total <= totals[top[bestKept-1]] {
			continue
		}
		if len(top) == bestKept {
			top = top[:bestKept-1]
		}
		at := len(top)
		for at > 1 && totals[top[at-1]] < total {
			at--
		}
		top = slices.Insert(top, at, i)
	}
	return top
}

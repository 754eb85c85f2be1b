package placement

import (
	"context"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// scratch is memory that a decision leaves to the next: a few numbers for each of
// hundreds of nodes would be a tenth of all that the control plane allocates for a
// pod.
type scratch struct {
	nodes    []*snapshot.NodeInfo
	unscored []int
	scores   []int64 // of all plugins, one behind the other
	byPlugin [][]int64
	totals   []int64
	plugins  []rankedBy
}

// score ranks the feasible nodes of the table and chooses one.
func (p *Placer) score(ctx context.Context, r *Result, a *attempt) error {
	feasible := p.nodes.Select(a.feasible)
	if s := a.profile.PreScore(ctx, a.state, a.pod, &p.nodes, feasible); !s.Success() {
		return s
	}
	scorers := a.profile.Scorers(a.state)
	if a.profile.Extended() && feasible.Len() > 1 {
		scorers = append(scorers, a.profile.ExtenderScores(ctx, a.pod, p.at(a.feasible))...)
	}
	scores, err := p.scoreNodes(ctx, a, feasible, scorers)
	if err != nil {
		p.table.forget()
		return err
	}
	normalize(ctx, a.state, a.pod, scorers, scores)
	p.scratch.totals = cleared(p.scratch.totals, feasible.Len())
	addScores(p.scratch.totals, scores, scorers)
	chosen := pick(p.scratch.totals)
	r.Node = feasible.Node(chosen).Name()
	p.scratch.plugins = pluginsOf(scorers, p.scratch.plugins)
	all := &ranked{
		name: func(i int) string { return feasible.Node(i).Name() }, plugins: p.scratch.plugins,
		scores: scores, totals: p.scratch.totals,
	}
	r.Best = all.ranking(topIndexes(p.scratch.totals, chosen)...)
	return nil
}

// scoreNodes returns every plugin's raw scores of the nodes. Those that depend on the
// node and the pod's template alone are in the table, which it fills in where it lacks
// them.
func (p *Placer) scoreNodes(ctx context.Context, a *attempt, nodes snapshot.Selection, scorers []framework.WeightedScore) ([][]int64, error) {
	if err := p.scoreLasting(ctx, a, scorers); err != nil {
		return nil, err
	}
	count := nodes.Len()
	p.scratch.scores = cleared(p.scratch.scores, len(scorers)*count)
	p.scratch.byPlugin = cleared(p.scratch.byPlugin, len(scorers))
	for n, s := range scorers {
		scores := p.scratch.scores[n*count : (n+1)*count]
		p.scratch.byPlugin[n] = scores
		if lasting(s) {
			column := p.table.raw[s.Name()]
			for k, i := range a.feasible {
				scores[k] = column[i]
			}
			continue
		}
		if err := p.scoreAll(ctx, a, nodes, s, scores); err != nil {
			return nil, err
		}
	}
	return p.scratch.byPlugin, nil
}

func lasting(s framework.WeightedScore) bool {
	_, ok := s.Score.(framework.NodeLocal)
	return ok
}

// scoreLasting fills in the scores of feasible nodes that the table lacks.
func (p *Placer) scoreLasting(ctx context.Context, a *attempt, scorers []framework.WeightedScore) error {
	t := &p.table
	columns := make([][]int64, len(scorers))
	for n, s := range scorers {
		if !lasting(s) {
			continue
		}
		if len(t.raw[s.Name()]) != len(t.verdicts) {
			t.raw[s.Name()] = make([]int64, len(t.verdicts))
			clear(t.scored)
		}
		columns[n] = t.raw[s.Name()]
	}
	unscored := p.scratch.unscored[:0]
	for _, i := range a.feasible {
		if !t.scored[i] {
			unscored = append(unscored, i)
		}
	}
	p.scratch.unscored = unscored
	var failed firstError
	p.parallel(len(unscored), func(from, to int) bool {
		for _, i := range unscored[from:to] {
			for n, s := range scorers {
				if columns[n] == nil {
					continue
				}
				score, status := s.Score.Score(ctx, a.state, a.pod, p.nodes.Nodes()[i])
				if !status.Success() {
					failed.set(status.By(s.Name()))
					return false
				}
				columns[n][i] = score
			}
			t.scored[i] = true
		}
		return true
	})
	return failed.err
}

// scoreAll sets a plugin's scores of the nodes.
func (p *Placer) scoreAll(ctx context.Context, a *attempt, nodes snapshot.Selection, s framework.WeightedScore, scores []int64) error {
	if batch, ok := s.Score.(framework.BatchScore); ok {
		if status := batch.ScoreBatch(ctx, a.state, a.pod, nodes, scores); !status.Success() {
			return status.By(s.Name())
		}
		return nil
	}
	var failed firstError
	p.parallel(len(scores), func(from, to int) bool {
		for k := from; k < to; k++ {
			score, status := s.Score.Score(ctx, a.state, a.pod, nodes.Node(k))
			if !status.Success() {
				failed.set(status.By(s.Name()))
				return false
			}
			scores[k] = score
		}
		return true
	})
	return failed.err
}

// normalize makes the raw scores of every plugin those from 0 to framework.MaxScore.
func normalize(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, scorers []framework.WeightedScore, scores [][]int64) {
	for n, s := range scorers {
		if normalizer, ok := s.Score.(framework.ScoreNormalizer); ok {
			normalizer.NormalizeScore(ctx, state, pod, scores[n])
		}
	}
}

// addScores adds the plugins' scores of each node to its total.
func addScores(totals []int64, scores [][]int64, scorers []framework.WeightedScore) {
	for n, s := range scorers {
		weight := s.Weight
		for i, score := range scores[n] {
			totals[i] += score * weight
		}
	}
}

package framework

import (
	"context"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Standing is what the filters say of a node whose verdicts last until it changes.
type Standing struct {
	// Status is the first of their verdicts that is not Success.
	Status *Status
	// at is the place of the filter that gave it, among all of the profile's.
	at int
}

// lasts says whether a filter's verdict on a node lasts until the node changes, for all
// pods of the attempt's Signature of which that is said as well: whether it is
// NodeLocal, or Lasting for the pod.
func lasts(f Filter, state *CycleState) bool {
	l, ok := f.(Lasting)
	return is[NodeLocal](f) || ok && l.Lasting(state)
}

// Passing returns the places of the filters whose verdicts do not last, and whether all
// of those are BatchFilters. Standings hold for attempts that have the same places.
func (p *Profile) Passing(state *CycleState) (places []int, batch bool) {
	batch = true
	for _, t := range state.filters {
		if !t.lasts {
			places = append(places, t.at)
			batch = batch && is[BatchFilter](t.filter)
		}
	}
	return places, batch
}

// Stand asks the filters whose verdicts last.
func (p *Profile) Stand(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) Standing {
	for _, t := range state.filters {
		if !t.lasts {
			continue
		}
		if s := t.filter.Filter(ctx, state, pod, node); !s.Success() {
			return Standing{Status: s.By(t.filter.Name()), at: t.at}
		}
	}
	return Standing{}
}

// Complete returns the verdict of Filter on a node of the standing: it asks the filters
// whose verdicts do not last, as far as they come before the one that rejects it.
func (p *Profile) Complete(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo, standing Standing) *Status {
	for _, t := range state.filters {
		if !standing.Status.Success() && t.at > standing.at {
			break
		}
		if t.lasts {
			continue
		}
		if s := t.filter.Filter(ctx, state, pod, node); !s.Success() {
			return s.By(t.filter.Name())
		}
	}
	return standing.Status
}

// CompleteBatch sets the verdicts of Complete on nodes that no lasting verdict rejects.
// They are not set before.
func (p *Profile) CompleteBatch(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, nodes snapshot.Selection, verdicts []*Status) {
	for _, t := range state.filters {
		if t.lasts {
			continue
		}
		if batch, ok := t.filter.(BatchFilter); ok {
			batch.FilterBatch(ctx, state, pod, nodes, verdicts)
			continue
		}
		for k := range nodes.Len() {
			if !verdicts[k].Success() {
				continue
			}
			if s := t.filter.Filter(ctx, state, pod, nodes.Node(k)); !s.Success() {
				verdicts[k] = s.By(t.filter.Name())
			}
		}
	}
}

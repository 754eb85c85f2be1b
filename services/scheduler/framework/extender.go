package framework

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Extender is a program beside the scheduler that has a say in its decisions:
// after the filters, among the scores, and on who is to make room. What it
// does not do is nil. One that binds is a Bind plugin as well.
// See https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/#Extender
type Extender struct {
	// Name is unique, and shown to users.
	Name string
	// Interested says whether it is asked about the pod.
	Interested func(pod *corev1.Pod) bool
	// Filter returns the verdicts on the nodes that cannot take the pod, by
	// name.
	Filter func(ctx context.Context, pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo) (map[string]*Status, error)
	// Score returns how well nodes suit the pod, from 0 to MaxScore, by name;
	// Weight is what that counts.
	Score  func(ctx context.Context, pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo) (map[string]int64, error)
	Weight int64
	// Preempt returns the candidates that may be carried out, with other
	// victims if it says so.
	Preempt func(ctx context.Context, pod *snapshot.PodInfo, nodes *snapshot.Snapshot, candidates []Candidate) ([]Candidate, error)
}

// Candidate is a node that has room for a pod once its victims have gone.
type Candidate struct {
	Node string
	// Victims are in descending order of importance.
	Victims []*snapshot.PodInfo
	// Violations counts the victims that a disruption budget protects.
	Violations int
}

// Extended says whether there are extenders.
func (p *Profile) Extended() bool { return len(p.extenders) > 0 }

// Extend asks the extenders, one after the other, about nodes that passed every
// filter. It returns the verdicts on those that are not left, by name.
func (p *Profile) Extend(ctx context.Context, pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo) (map[string]*Status, error) {
	var rejected map[string]*Status
	for _, e := range p.extenders {
		if e.Filter == nil || len(nodes) == 0 || !e.Interested(pod.Pod) {
			continue
		}
		verdicts, err := e.Filter(ctx, pod, nodes)
		if err != nil {
			return nil, fmt.Errorf("ask extender %s: %w", e.Name, err)
		}
		var left []*snapshot.NodeInfo
		for _, n := range nodes {
			s, ok := verdicts[n.Name()]
			if !ok {
				left = append(left, n)
				continue
			}
			if rejected == nil {
				rejected = make(map[string]*Status)
			}
			rejected[n.Name()] = s.By(e.Name)
		}
		nodes = left
	}
	return rejected, nil
}

// ExtenderScores returns what the extenders give the nodes, as plugins whose
// scores are known. An extender that fails has no opinion.
func (p *Profile) ExtenderScores(ctx context.Context, pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo) []WeightedScore {
	var out []WeightedScore
	for _, e := range p.extenders {
		if e.Score == nil || !e.Interested(pod.Pod) {
			continue
		}
		if scores, err := e.Score(ctx, pod, nodes); err == nil {
			out = append(out, WeightedScore{Score: given{name: e.Name, scores: scores}, Weight: e.Weight})
		}
	}
	return out
}

// ExtendPreemption lets the extenders take candidates away and change their
// victims.
func (p *Profile) ExtendPreemption(ctx context.Context, pod *snapshot.PodInfo, nodes *snapshot.Snapshot, candidates []Candidate) ([]Candidate, error) {
	for _, e := range p.extenders {
		if e.Preempt == nil || len(candidates) == 0 || !e.Interested(pod.Pod) {
			continue
		}
		var err error
		if candidates, err = e.Preempt(ctx, pod, nodes, candidates); err != nil {
			return nil, fmt.Errorf("ask extender %s about preemption: %w", e.Name, err)
		}
	}
	return candidates, nil
}

// given is scores that are known beforehand.
type given struct {
	name   string
	scores map[string]int64
}

// Name of the extender.
func (g given) Name() string { return g.name }

// Score returns the score; 0 if the extender gave none.
func (g given) Score(_ context.Context, _ *CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *Status) {
	return g.scores[node.Name()], nil
}

// anything is every event. What could help a pod that an extender rejected is
// known to the extender alone.
func anything() []EventHint {
	const every = ^Action(0)
	hints := make([]EventHint, 0, len(resources))
	for _, r := range resources {
		hints = append(hints, EventHint{Resource: r, Action: every})
	}
	return hints
}

package preemption

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// trial tries what would be if pods were taken away.
type trial struct {
	filters framework.Filters
	state   *framework.CycleState
	pod     *snapshot.PodInfo
	nodes   *snapshot.Snapshot
	// nominated are the pods that a node must take as well.
	nominated func(node string, pod *snapshot.PodInfo) []*snapshot.PodInfo
}

// fits says whether a changed node takes the pod with those for which room is
// being made there, and, as they may go elsewhere, also without them. Room that
// is made for others is not counted twice.
func (t *trial) fits(ctx context.Context, node *snapshot.NodeInfo) *framework.Status {
	if nominated := t.nominated(node.Name(), t.pod); len(nominated) > 0 {
		with := node.Clone()
		for _, n := range nominated {
			with.AddPod(n)
		}
		if s := t.filter(ctx, with); !s.Success() {
			return s
		}
	}
	return t.filter(ctx, node)
}

// filter runs the filters on a changed node. Plugins that look beyond the node
// must count again.
func (t *trial) filter(ctx context.Context, node *snapshot.NodeInfo) *framework.Status {
	state := t.state
	if !t.filters.NodeLocal(state) {
		state = &framework.CycleState{}
		if _, _, s := t.filters.PreFilter(ctx, state, t.pod, t.nodes.With(node)); !s.Success() {
			return s
		}
	}
	return t.filters.Filter(ctx, state, t.pod, node)
}

// try finds the fewest and least important pods without which the pod fits.
func (t *trial) try(ctx context.Context, node *snapshot.NodeInfo, budgets func(string) []*policyv1.PodDisruptionBudget) (framework.Candidate, *framework.Status, error) {
	var lower []*snapshot.PodInfo
	for _, p := range node.Pods {
		if p.Priority() < t.pod.Priority() {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return framework.Candidate{}, framework.NewStatus(framework.UnschedulableAndUnresolvable, reasonNoVictims), nil
	}
	without := node.Clone()
	for _, p := range lower {
		without.RemovePod(p.Pod.UID)
	}
	if s := t.fits(ctx, without); !s.Success() {
		return framework.Candidate{}, s, s.Err()
	}
	protected, others := protect(lower, budgets)
	c := framework.Candidate{Node: node.Name()}
	for i, group := range [][]*snapshot.PodInfo{protected, others} {
		for _, p := range group {
			without.AddPod(p)
			s := t.fits(ctx, without)
			if err := s.Err(); err != nil {
				return framework.Candidate{}, nil, err
			}
			if s.Success() {
				continue
			}
			without.RemovePod(p.Pod.UID)
			c.Victims = append(c.Victims, p)
			if i == 0 {
				c.Violations++
			}
		}
	}
	if len(c.Victims) == 0 { // what is in the way is not the pods
		return framework.Candidate{}, framework.NewStatus(framework.UnschedulableAndUnresolvable, reasonNoVictims), nil
	}
	slices.SortStableFunc(c.Victims, byImportance)
	return c, nil, nil
}

// protect splits pods into those that no budget lets go and the others, each
// the most important first.
func protect(pods []*snapshot.PodInfo, budgets func(string) []*policyv1.PodDisruptionBudget) (protected, others []*snapshot.PodInfo) {
	slices.SortStableFunc(pods, byImportance)
	left := make(map[*policyv1.PodDisruptionBudget]int32)
	for _, p := range pods {
		violates := false
		for _, b := range budgets(p.Pod.Namespace) {
			if !covers(b, p.Pod) {
				continue
			}
			if _, ok := left[b]; !ok {
				left[b] = b.Status.DisruptionsAllowed
			}
			left[b]--
			violates = violates || left[b] < 0
		}
		if violates {
			protected = append(protected, p)
		} else {
			others = append(others, p)
		}
	}
	return protected, others
}

// covers says that the budget protects the pod and does not know yet that it
// is going.
func covers(b *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	selector := snapshot.Selector(b.Spec.Selector)
	if _, going := b.Status.DisruptedPods[pod.Name]; going || selector.Empty() {
		return false
	}
	return selector.Matches(labels.Set(pod.Labels))
}

// byImportance orders by priority, then by how long the pod has run.
func byImportance(a, b *snapshot.PodInfo) int {
	return cmp.Or(cmp.Compare(b.Priority(), a.Priority()), started(a).Compare(started(b)))
}

func started(p *snapshot.PodInfo) time.Time {
	if p.Pod.Status.StartTime != nil {
		return p.Pod.Status.StartTime.Time
	}
	return p.Pod.CreationTimestamp.Time
}

// cheapest chooses the candidate whose loss is smallest: the fewest broken
// budgets, then the least important victim in front, the smallest sum of
// priorities, the fewest victims, the youngest ones.
func cheapest(candidates []framework.Candidate) framework.Candidate {
	return slices.MinFunc(candidates, func(a, b framework.Candidate) int {
		return cmp.Or(
			cmp.Compare(a.Violations, b.Violations),
			cmp.Compare(highest(a), highest(b)),
			cmp.Compare(sum(a), sum(b)),
			cmp.Compare(len(a.Victims), len(b.Victims)),
			earliest(b).Compare(earliest(a)),
		)
	})
}

func highest(c framework.Candidate) int64 {
	if len(c.Victims) == 0 {
		return -1 << 62
	}
	return int64(c.Victims[0].Priority())
}

// sum counts each victim's priority from the lowest possible, so that more
// victims of negative priority are not cheaper than fewer.
func sum(c framework.Candidate) int64 {
	var n int64
	for _, v := range c.Victims {
		n += int64(v.Priority()) + 1<<31
	}
	return n
}

// earliest is when the first of the most important victims started.
func earliest(c framework.Candidate) time.Time {
	if len(c.Victims) == 0 {
		return time.Time{}
	}
	return started(c.Victims[0])
}

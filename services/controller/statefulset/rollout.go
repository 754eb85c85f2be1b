package statefulset

import (
	"cmp"
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// rollout is one reconcile's view of a StatefulSet.
type rollout struct {
	*reconciler
	set *appsv1.StatefulSet
	// current is the revision that the set had everywhere last, update the one
	// it is going to have.
	current, update *appsv1.ControllerRevision
	now             time.Time

	// slots are the pods of the wanted ordinals, nil where there is none.
	slots []*corev1.Pod
	// surplus are all others, the highest ordinal first.
	surplus []*corev1.Pod
}

// place puts the pods into their slots.
func (ro *rollout) place(pods []*corev1.Pod) {
	ro.slots = make([]*corev1.Pod, ptr.Deref(ro.set.Spec.Replicas, 1))
	for _, pod := range pods {
		ordinal, ok := ordinalOf(ro.set, pod.Name)
		if i := ordinal - first(ro.set); ok && i >= 0 && i < len(ro.slots) {
			ro.slots[i] = pod
		} else {
			ro.surplus = append(ro.surplus, pod)
		}
	}
	slices.SortFunc(ro.surplus, func(a, b *corev1.Pod) int {
		x, _ := ordinalOf(ro.set, a.Name)
		y, _ := ordinalOf(ro.set, b.Name)
		return cmp.Compare(y, x)
	})
}

// run reports the present state and takes one step.
func (ro *rollout) run(ctx context.Context, revisions []*appsv1.ControllerRevision) (runner.Outcome, error) {
	if err := ro.writeStatus(ctx, ro.set, ro.status()); err != nil {
		return runner.Done(), err
	}
	if err := ro.step(ctx); err != nil {
		return runner.Done(), err
	}
	inUse := map[string]bool{}
	for _, rev := range revisions {
		for _, pod := range slices.Concat(ro.slots, ro.surplus) {
			if rev == ro.current || (pod != nil && isOf(pod, rev)) {
				inUse[rev.Labels[appsv1.ControllerRevisionHashLabelKey]] = true
			}
		}
	}
	return ro.nextAvailable(), ro.history.CleanUp(ctx, revisions, ro.set.Spec.RevisionHistoryLimit, inUse)
}

// step fills the slots, then removes what is too many, then updates. With
// ordered management each waits until what it did before has come to be.
func (ro *rollout) step(ctx context.Context) error {
	for _, do := range []func(context.Context) (bool, error){ro.ownClaims, ro.fill, ro.identify, ro.shrink, ro.roll} {
		if goOn, err := do(ctx); err != nil || !goOn {
			return err
		}
	}
	return nil
}

func (ro *rollout) isOrdered() bool {
	return ro.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// isHealthy says whether a pod is there to stay and available.
func (ro *rollout) isHealthy(pod *corev1.Pod) bool {
	return pod != nil && pod.DeletionTimestamp == nil && podset.IsAvailable(pod, ro.set.Spec.MinReadySeconds, ro.now)
}

// fill creates missing pods, the lowest ordinal first, and replaces those that
// have ended.
func (ro *rollout) fill(ctx context.Context) (goOn bool, err error) {
	goOn = true
	for i, pod := range ro.slots {
		switch {
		case pod == nil:
			err = ro.create(ctx, first(ro.set)+i)
		case pod.DeletionTimestamp == nil && podset.IsFinished(pod):
			err = ro.control.Delete(ctx, ro.set, []*corev1.Pod{pod})
		case ro.isHealthy(pod):
			continue
		}
		if err != nil || ro.isOrdered() {
			return false, err
		}
		if pod == nil {
			goOn = false
		}
	}
	return goOn, nil
}

// shrink removes surplus pods, the highest ordinal first; an update does not wait for
// them to end unless it all goes in order. With ordered management
// one that is not healthy is left for somebody to look at, unless it is the last
// one of these: whatever ails it may have begun with those before it.
func (ro *rollout) shrink(ctx context.Context) (goOn bool, err error) {
	for i, pod := range ro.surplus {
		switch {
		case ro.isOrdered() && !ro.isHealthy(pod) && slices.ContainsFunc(ro.surplus[i+1:], func(p *corev1.Pod) bool { return !ro.isHealthy(p) }):
			return false, nil
		case pod.DeletionTimestamp == nil:
			err = ro.control.Delete(ctx, ro.set, []*corev1.Pod{pod})
		}
		if err != nil || ro.isOrdered() {
			return false, err
		}
	}
	return true, nil
}

// revisionFor returns the revision that a new pod of an ordinal is made from:
// below the partition the current one.
func (ro *rollout) revisionFor(ordinal int) *appsv1.ControllerRevision {
	if ordinal < first(ro.set)+ro.partition() {
		return ro.current
	}
	return ro.update
}

func (ro *rollout) partition() int {
	if ru := ro.set.Spec.UpdateStrategy.RollingUpdate; ru != nil && ru.Partition != nil {
		return int(*ru.Partition)
	}
	return 0
}

// maxUnavailable is how many pods an update may have down, at least one.
func (ro *rollout) maxUnavailable() int {
	ru := ro.set.Spec.UpdateStrategy.RollingUpdate
	if ru == nil || ru.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(ru.MaxUnavailable, len(ro.slots), false)
	if err != nil {
		return 1 // the Store lets no such value in
	}
	return max(n, 1)
}

// roll deletes pods of old revisions, from the highest ordinal down to the
// partition, as many as may be down; fill makes them anew. Those that are down
// anyway go first: they must not use up what others may be down.
func (ro *rollout) roll(ctx context.Context) (bool, error) {
	if ro.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return true, nil
	}
	unavailable := 0
	var healthy, broken []*corev1.Pod // of old revisions
	for i := len(ro.slots) - 1; i >= 0; i-- {
		pod := ro.slots[i]
		if !ro.isHealthy(pod) {
			unavailable++
		}
		switch {
		case i < ro.partition() || pod == nil || pod.DeletionTimestamp != nil || isOf(pod, ro.update):
		case ro.isHealthy(pod):
			healthy = append(healthy, pod)
		default:
			broken = append(broken, pod)
		}
	}
	spare := min(max(ro.maxUnavailable()-unavailable, 0), len(healthy))
	for _, pod := range slices.Concat(broken, healthy[:spare]) {
		if err := ro.control.Delete(ctx, ro.set, []*corev1.Pod{pod}); err != nil {
			return false, err
		}
	}
	return spare == len(healthy), nil
}

// nextAvailable asks to be called when the next ready pod becomes available.
func (ro *rollout) nextAvailable() runner.Outcome {
	next := runner.Done()
	for _, pod := range ro.slots {
		if pod == nil {
			continue
		}
		if wait, ready := podset.AvailableIn(pod, ro.set.Spec.MinReadySeconds, ro.now); ready {
			next = next.Sooner(runner.RequeueAfter(wait))
		}
	}
	return next
}

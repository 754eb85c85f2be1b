package deployment

import (
	"cmp"
	"context"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
)

// isScaling says whether the Deployment was resized since its ReplicaSets were
// last scaled. Then they are resized first, before the rollout goes on.
func (ro *rollout) isScaling() bool {
	sets := active(ro.all())
	if !isRolling(ro.d) && len(sets) > 1 {
		return false // the strategy was changed under way: it ends the old pods first
	}
	for _, rs := range sets {
		if desired, ok := sizeAnnotation(rs, DesiredReplicasAnnotation); ok && desired != *ro.d.Spec.Replicas {
			return true
		}
	}
	return false
}

// resize brings the ReplicaSets to the Deployment's new size without moving
// the rollout on. It is also all that is done while a Deployment is paused.
func (ro *rollout) resize(ctx context.Context) error {
	if err := ro.scaleSets(ctx); err != nil {
		return err
	}
	if ro.d.Spec.Paused {
		if err := ro.cleanUp(ctx); err != nil {
			return err
		}
	}
	return ro.writeStatus(ctx, ro.status())
}

func (ro *rollout) scaleSets(ctx context.Context) error {
	desired := *ro.d.Spec.Replicas
	if rs := ro.onlyActive(); rs != nil {
		if wait, err := ro.mustWait(rs, desired); wait || err != nil {
			return err
		}
		_, err := ro.scaleTo(ctx, rs, desired)
		return err
	}
	if ro.isSaturated() {
		for _, rs := range active(ro.oldRSs) {
			if _, err := ro.scaleTo(ctx, rs, 0); err != nil {
				return err
			}
		}
		return nil
	}
	if !isRolling(ro.d) {
		return nil // several versions run: none of them may grow
	}
	sets := active(ro.all())
	allowed := int32(0)
	if desired > 0 {
		allowed = desired + maxSurge(ro.d)
	}
	sizes := proportional(sets, ro.d, allowed-totalSize(sets))
	for i, rs := range sets {
		if _, err := ro.scaleTo(ctx, rs, sizes[i]); err != nil {
			return err
		}
	}
	return nil
}

// mustWait says whether a set may not grow to a size yet, as pods of other
// versions still run and the strategy wants one version at a time. The end of
// the last one leads to another reconcile.
func (ro *rollout) mustWait(rs *appsv1.ReplicaSet, desired int32) (bool, error) {
	if isRolling(ro.d) || desired <= size(rs) {
		return false, nil
	}
	return ro.podsRun(slices.DeleteFunc(ro.all(), func(other *appsv1.ReplicaSet) bool { return other == rs }))
}

// onlyActive returns the one set with pods or, if none has, the newest set;
// nil if several have pods or there is no set at all.
func (ro *rollout) onlyActive() *appsv1.ReplicaSet {
	sets := active(ro.all())
	switch {
	case len(sets) == 1:
		return sets[0]
	case len(sets) > 1:
		return nil
	case ro.newRS != nil:
		return ro.newRS
	case len(ro.oldRSs) > 0:
		return ro.oldRSs[len(ro.oldRSs)-1]
	}
	return nil
}

// isSaturated says whether the new set alone is what the Deployment asks for.
func (ro *rollout) isSaturated() bool {
	if ro.newRS == nil {
		return false
	}
	desired, ok := sizeAnnotation(ro.newRS, DesiredReplicasAnnotation)
	want := *ro.d.Spec.Replicas
	return ok && desired == want && size(ro.newRS) == want && ro.newRS.Status.AvailableReplicas == want
}

// proportional shares out delta pods (taken away if negative) over the sets by
// their sizes. sets is sorted; the result is in its order: when adding, the
// largest comes first, the newest among equals; when taking away, the oldest
// among equals. What rounding leaves over goes to the first.
func proportional(sets []*appsv1.ReplicaSet, d *appsv1.Deployment, delta int32) []int32 {
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		byAge := olderFirst(a, b)
		if delta > 0 {
			byAge = -byAge
		}
		return cmp.Or(cmp.Compare(size(b), size(a)), byAge)
	})
	sizes := make([]int32, len(sets))
	shared := int32(0)
	for i, rs := range sets {
		part := share(rs, d, delta, shared)
		sizes[i] = size(rs) + part
		shared += part
	}
	if len(sizes) > 0 {
		sizes[0] = max(sizes[0]+delta-shared, 0)
	}
	return sizes
}

// share is how much of delta a set takes, when so much has been shared out.
func share(rs *appsv1.ReplicaSet, d *appsv1.Deployment, delta, shared int32) int32 {
	left := delta - shared
	switch {
	case size(rs) == 0 || left == 0:
		return 0
	case delta > 0:
		return min(fraction(rs, d), left)
	default:
		return max(fraction(rs, d), left)
	}
}

// fraction is how much a set grows (or shrinks) if it keeps its part of the
// Deployment's largest size.
func fraction(rs *appsv1.ReplicaSet, d *appsv1.Deployment) int32 {
	desired := *d.Spec.Replicas
	if desired == 0 {
		return -size(rs)
	}
	before, ok := sizeAnnotation(rs, MaxReplicasAnnotation)
	if !ok || before <= 0 {
		before = d.Status.Replicas // a set that we have not scaled yet
	}
	if before <= 0 {
		return 0
	}
	now := float64(size(rs)) * float64(desired+maxSurge(d)) / float64(before)
	return int32(math.Round(now)) - size(rs)
}

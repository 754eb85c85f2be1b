package deployment

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// limits resolves maxSurge, rounded up, and maxUnavailable, rounded down,
// against the Deployment's size. Both may not be 0, or nothing could move.
func limits(d *appsv1.Deployment) (surge, unavailable int32) {
	ru := d.Spec.Strategy.RollingUpdate
	if ru == nil {
		return 0, 1
	}
	s := resolve(ru.MaxSurge, *d.Spec.Replicas, true)
	u := resolve(ru.MaxUnavailable, *d.Spec.Replicas, false)
	if s == 0 && u == 0 {
		u = 1
	}
	return s, u
}

// resolve treats what cannot be read as 0; the Store lets no such value in.
func resolve(v *intstr.IntOrString, total int32, up bool) int32 {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(total), up)
	if err != nil {
		return 0
	}
	return int32(max(n, 0))
}

func isRolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

func maxSurge(d *appsv1.Deployment) int32 {
	if !isRolling(d) {
		return 0
	}
	surge, _ := limits(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	if !isRolling(d) || *d.Spec.Replicas == 0 {
		return 0
	}
	_, unavailable := limits(d)
	return min(unavailable, *d.Spec.Replicas)
}

// roll takes one step of a rolling update: it scales the new ReplicaSet up, or
// if that cannot be, the old ones down.
func (ro *rollout) roll(ctx context.Context) error {
	if err := ro.ensureNew(ctx); err != nil {
		return err
	}
	scaled, err := ro.scaleNew(ctx)
	if err != nil || scaled {
		return err
	}
	scaled, err = ro.scaleOldDown(ctx)
	if err != nil || scaled {
		return err
	}
	return ro.cleanUpIfComplete(ctx)
}

func (ro *rollout) cleanUpIfComplete(ctx context.Context) error {
	if !isComplete(ro.d, ro.d.Status) {
		return nil
	}
	return ro.cleanUp(ctx)
}

// scaleNew brings the new ReplicaSet to the size it may have now.
func (ro *rollout) scaleNew(ctx context.Context) (bool, error) {
	want := *ro.d.Spec.Replicas
	switch {
	case size(ro.newRS) == want:
		return false, nil
	case size(ro.newRS) < want:
		want = ro.newSize()
	}
	return ro.scaleTo(ctx, ro.newRS, want)
}

// newSize is how large the new ReplicaSet may be now without exceeding the
// Deployment's size and surge over all sets.
func (ro *rollout) newSize() int32 {
	desired := *ro.d.Spec.Replicas
	if !isRolling(ro.d) {
		return desired
	}
	room := desired + maxSurge(ro.d) - totalSize(ro.all())
	if room <= 0 {
		return size(ro.newRS)
	}
	return size(ro.newRS) + min(room, desired-size(ro.newRS))
}

// scaleOldDown takes pods from the old ReplicaSets, first such that are not
// available anyway, then as many as can be missed.
//
// Pods of the new ReplicaSet that are not available yet count against what may
// be taken, so that a new version that never gets ready takes no more old pods
// than maxUnavailable.
func (ro *rollout) scaleOldDown(ctx context.Context) (bool, error) {
	if totalSize(ro.oldRSs) == 0 {
		return false, nil
	}
	minAvailable := *ro.d.Spec.Replicas - maxUnavailable(ro.d)
	newUnavailable := size(ro.newRS) - available(ro.newRS)
	most := totalSize(ro.all()) - minAvailable - newUnavailable
	if most <= 0 {
		return false, nil
	}
	cleaned, err := ro.dropUnhealthy(ctx, most)
	if err != nil {
		return false, err
	}
	dropped, err := ro.dropAvailable(ctx, totalAvailable(ro.all())-minAvailable)
	return cleaned+dropped > 0, err
}

// dropUnhealthy scales old ReplicaSets down by the pods that are not
// available, at most by most in all.
func (ro *rollout) dropUnhealthy(ctx context.Context, most int32) (dropped int32, err error) {
	for _, rs := range active(ro.oldRSs) {
		n := min(most-dropped, size(rs)-available(rs))
		if n <= 0 {
			continue
		}
		if _, err := ro.scaleTo(ctx, rs, size(rs)-n); err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, nil
}

// dropAvailable scales old ReplicaSets down by surplus pods, oldest first.
func (ro *rollout) dropAvailable(ctx context.Context, surplus int32) (dropped int32, err error) {
	for _, rs := range active(ro.oldRSs) {
		n := min(surplus-dropped, size(rs))
		if n <= 0 {
			break
		}
		if _, err := ro.scaleTo(ctx, rs, size(rs)-n); err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, nil
}

// scaleTo writes a ReplicaSet's new size, and the Deployment's with it.
func (ro *rollout) scaleTo(ctx context.Context, rs *appsv1.ReplicaSet, n int32) (scaled bool, err error) {
	before := size(rs)
	annotated := annotateSize(ro.d, rs)
	if before == n && !annotated {
		return false, nil
	}
	rs.Spec.Replicas = &n
	if err := ro.client.Update(ctx, rs); err != nil {
		return false, fmt.Errorf("scale replica set %s to %d: %w", rs.Name, n, err)
	}
	ro.wrote(rs)
	if before == n {
		return false, nil
	}
	direction := "up"
	if n < before {
		direction = "down"
	}
	ro.events.Event(ro.d, corev1.EventTypeNormal, "ScalingReplicaSet",
		fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, rs.Name, before, n))
	return true, nil
}

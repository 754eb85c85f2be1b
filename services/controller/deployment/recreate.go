package deployment

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"

	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/podset"
)

// recreate ends every old pod before it starts a new one.
func (ro *rollout) recreate(ctx context.Context) error {
	scaled := false
	for _, rs := range active(ro.oldRSs) {
		ok, err := ro.scaleTo(ctx, rs, 0)
		if err != nil {
			return err
		}
		scaled = scaled || ok
	}
	if scaled {
		return nil
	}
	running, err := ro.podsRun(ro.oldRSs)
	if err != nil || running {
		return err
	}
	if err := ro.ensureNew(ctx); err != nil {
		return err
	}
	if _, err := ro.scaleTo(ctx, ro.newRS, *ro.d.Spec.Replicas); err != nil {
		return err
	}
	return ro.cleanUpIfComplete(ctx)
}

// podsRun says whether a pod of one of the sets has not ended yet.
func (ro *rollout) podsRun(sets []*appsv1.ReplicaSet) (bool, error) {
	for _, rs := range sets {
		if rs.Status.ObservedGeneration < rs.Generation || rs.Status.Replicas > 0 {
			return true, nil // it may make pods, or the informer of pods may be behind
		}
		pods, err := ownership.Owned(ro.pods, rs.UID)
		if err != nil {
			return false, err
		}
		for _, pod := range pods {
			if !podset.IsFinished(pod) {
				return true, nil
			}
		}
	}
	return false, nil
}

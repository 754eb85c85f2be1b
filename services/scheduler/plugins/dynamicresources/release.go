package dynamicresources

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// What users read where a claim has given up its devices for the pod to be tried
// elsewhere, or is gone itself.
const (
	ReasonDeallocated = "deallocation of ResourceClaim completed"
	ReasonDeleted     = "deletion of ResourceClaim completed"
)

// PostFilter has one of the claims whose devices keep the pod from nodes give them
// up, if nobody else uses it, and deletes a claim that an earlier attempt has left.
// Either wakes the pod.
func (p *Plugin) PostFilter(ctx context.Context, _ framework.Filters, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot, _ *framework.Diagnosis) (string, *framework.Status) {
	claims := p.claims.Get(state)
	if claims == nil {
		return "", framework.NewStatus(framework.Unschedulable)
	}
	if claims.stale != nil {
		if err := p.takeAway(ctx, pod.Pod, claims.stale); err != nil {
			return "", framework.AsStatus(err)
		}
		return "", framework.NewStatus(framework.Unschedulable, ReasonDeleted)
	}
	for _, i := range slices.Sorted(maps.Keys(claims.unavailable)) {
		claim := claims.allocated[i]
		if _, held := p.ledger.isHeld(claim.UID); held || !isFree(claim, pod.Pod) {
			continue
		}
		if err := p.deallocate(ctx, claim, pod.Pod); err != nil {
			return "", framework.AsStatus(fmt.Errorf("deallocate resourceclaim %s: %w", claim.Name, err))
		}
		return "", framework.NewStatus(framework.Unschedulable, ReasonDeallocated)
	}
	return "", framework.NewStatus(framework.Unschedulable)
}

// isFree says whether nobody but a pod, if that, has reserved a claim.
func isFree(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	return !slices.ContainsFunc(claim.Status.ReservedFor, func(c resourcev1.ResourceClaimConsumerReference) bool { return c.UID != pod.UID })
}

// deallocate takes a claim's devices, unless somebody else has reserved it
// meanwhile.
func (p *Plugin) deallocate(ctx context.Context, claim *resourcev1.ResourceClaim, pod *corev1.Pod) error {
	return p.write(ctx, claim, func(now *resourcev1.ResourceClaim) (bool, error) {
		if now.Status.Allocation == nil || !isFree(now, pod) {
			return false, nil
		}
		now.Status = resourcev1.ResourceClaimStatus{}
		return true, nil
	})
}

package dynamicresources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

const (
	// undoTimeout bounds how long taking back what was written may take.
	undoTimeout = 10 * time.Second
	// attempts is how often a claim is written that others write as well.
	attempts = 5
)

// held is what was decided for a pod.
type held struct {
	// claims are all of the pod's, allocations those of the ones that had none,
	// nil for the others.
	claims      []*resourcev1.ResourceClaim
	allocations []*resourcev1.AllocationResult
	// written says of each claim that it was written.
	written []bool
	// uses is nil unless the last of the claims is for the pod's extended resources,
	// which is stored before it is written.
	uses   []corev1.ContainerExtendedResourceRequest
	stored bool
}

// isExtended says whether a claim is for the pod's extended resources.
func (h *held) isExtended(i int) bool { return h.uses != nil && i == len(h.claims)-1 }

// Reserve holds the devices that were found on the chosen node.
func (p *Plugin) Reserve(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node string) *framework.Status {
	claims := p.claims.Get(state)
	if claims == nil {
		return nil
	}
	choice := claims.found[node]
	switch {
	case choice == nil && len(claims.waiting) > 0:
		return framework.AsStatus(errors.New("claim allocation not found for node")) // Filter has seen every node
	case choice == nil && len(claims.allocated) == 0:
		return nil // the node itself has the extended resources
	case choice == nil:
		choice = &found{asked: claims.alone}
	}
	h := &held{claims: slices.Concat(claims.allocated, choice.claims), uses: choice.uses}
	h.allocations = append(make([]*resourcev1.AllocationResult, len(claims.allocated)), choice.allocations...)
	h.written = make([]bool, len(h.claims))
	for i, claim := range h.claims {
		if a, ok := p.ledger.isHeld(claim.UID); ok && h.allocations[i] == nil {
			h.allocations[i] = a // another pod's binding has yet to write it
		}
		if h.allocations[i] != nil {
			p.ledger.hold(claim.UID, pod.Pod.UID, h.allocations[i])
		}
	}
	p.held.Set(state, h)
	return nil
}

// Unreserve gives the devices back, also where that was written. A Scheduler that
// stops leaves what it has written: the next one goes on with it.
func (p *Plugin) Unreserve(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ string) {
	h := p.held.Get(state)
	if h == nil {
		return
	}
	stops := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for i, claim := range h.claims {
		switch {
		case stops:
		case h.isExtended(i) && h.stored:
			_ = p.takeAway(ctx, pod.Pod, claim) // or the next attempt does it
		case h.written[i]:
			p.release(ctx, pod.Pod, claim)
		}
		p.ledger.letGo(claim.UID, pod.Pod.UID)
	}
}

// NeedsPreBind says whether the pod has claims.
func (p *Plugin) NeedsPreBind(state *framework.CycleState, _ *snapshot.PodInfo) bool {
	return p.held.Get(state) != nil
}

// PreBind writes allocations to claims, reserves them for the pod, and waits until
// their devices are ready.
func (p *Plugin) PreBind(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node string) *framework.Status {
	h := p.held.Get(state)
	for i, claim := range h.claims {
		if h.isExtended(i) {
			var err error
			if claim, err = p.store(ctx, claim, h.allocations[i], pod.Pod.UID); err != nil {
				return framework.AsStatus(err)
			}
			h.claims[i], h.stored = claim, true
		}
		if err := p.bind(ctx, pod.Pod, claim, h.allocations[i]); err != nil {
			return framework.AsStatus(fmt.Errorf("binding resourceclaim %s: %w", claim.Name, err))
		}
		h.written[i] = true
	}
	if h.stored {
		name := h.claims[len(h.claims)-1].Name
		err := p.cluster.SetExtendedClaim(ctx, pod.Pod, &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: name, RequestMappings: h.uses})
		if err != nil {
			return framework.AsStatus(fmt.Errorf("write to the pod that it has resourceclaim %s: %w", name, err))
		}
	}
	// The ledger knows what was written.
	for _, claim := range h.claims {
		p.ledger.letGo(claim.UID, pod.Pod.UID)
	}
	if err := p.await(ctx, pod.Pod, h.claims, node); err != nil {
		return framework.AsStatus(err)
	}
	return nil
}

// bind writes one claim: first the finalizer that keeps it while it has devices,
// then its status.
func (p *Plugin) bind(ctx context.Context, pod *corev1.Pod, claim *resourcev1.ResourceClaim, a *resourcev1.AllocationResult) error {
	return p.write(ctx, claim, func(now *resourcev1.ResourceClaim) (bool, error) {
		switch {
		case now.DeletionTimestamp != nil:
			return false, errors.New("the claim is being deleted")
		case now.Status.Allocation == nil && a == nil:
			return false, errors.New("the claim has lost its devices meanwhile")
		case deviceclaim.IsReserved(now, pod):
			return false, nil
		case !deviceclaim.HasRoom(now):
			return false, errors.New(ReasonInUse)
		}
		if now.Status.Allocation == nil {
			if !slices.Contains(now.Finalizers, resourcev1.Finalizer) {
				now.Finalizers = append(now.Finalizers, resourcev1.Finalizer)
				if err := p.cluster.Update(ctx, now); err != nil {
					return false, err
				}
			}
			now.Status.Allocation = a.DeepCopy()
			now.Status.Allocation.AllocationTimestamp = &metav1.Time{Time: time.Now().Truncate(time.Second)}
		}
		now.Status.ReservedFor = append(now.Status.ReservedFor, deviceclaim.Consumer(pod))
		return true, nil
	})
}

// release cancels a pod's reservation of a claim, and gives up its devices if
// nobody else has reserved it, so that the pod can be tried elsewhere. What fails
// here the controllers do once the pod has ended.
func (p *Plugin) release(ctx context.Context, pod *corev1.Pod, claim *resourcev1.ResourceClaim) {
	_ = p.write(ctx, claim, func(now *resourcev1.ResourceClaim) (bool, error) {
		if !deviceclaim.IsReserved(now, pod) {
			return false, nil
		}
		now.Status.ReservedFor = slices.DeleteFunc(now.Status.ReservedFor, func(c resourcev1.ResourceClaimConsumerReference) bool { return c.UID == pod.UID })
		if len(now.Status.ReservedFor) == 0 && slices.Contains(now.Finalizers, resourcev1.Finalizer) {
			now.Status.Allocation, now.Status.Devices = nil, nil
		}
		return true, nil
	})
}

// write changes a claim's status, again if somebody else was faster, as long as it
// is the claim. change says whether there is anything to write.
func (p *Plugin) write(ctx context.Context, claim *resourcev1.ResourceClaim, change func(*resourcev1.ResourceClaim) (bool, error)) error {
	now := p.current(claim).DeepCopy()
	var err error
	for range attempts {
		if now.UID != claim.UID {
			return errors.New("the claim is another by now")
		}
		var needed bool
		if needed, err = change(now); err == nil {
			if !needed {
				return nil
			}
			if err = p.cluster.UpdateStatus(ctx, now); err == nil {
				p.ledger.wrote(now)
				return nil
			}
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		if now, err = p.cluster.Get(ctx, claim.Namespace, claim.Name); err != nil {
			return err
		}
	}
	return err
}

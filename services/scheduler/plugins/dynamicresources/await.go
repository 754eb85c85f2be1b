package dynamicresources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The ways in which devices may fail to become ready.
var (
	errBindingFailed  = errors.New("device binding failed")
	errBindingTimeout = errors.New("device binding timeout")
)

// await returns once every device of the pod's claims is ready: a driver says so
// of those whose use takes preparation beyond the node, as conditions in the
// claim's status. See https://kep.k8s.io/5007
func (p *Plugin) await(ctx context.Context, pod *corev1.Pod, claims []*resourcev1.ResourceClaim, node string) error {
	deadline, conditional := time.Now().Add(p.bindingTimeout), false
	for _, claim := range claims {
		if claim = p.current(claim); !isConditional(claim) {
			continue
		}
		conditional = true
		if at := p.expires(claim); at.Before(deadline) {
			deadline = at
		}
	}
	if !conditional {
		return nil
	}
	p.events(pod, corev1.EventTypeNormal, "BindingConditionsPending", "waiting for binding conditions for device on node "+node)
	timed, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for {
		changed := p.cluster.Changed()
		if !p.cluster.PodWaits(pod) {
			return errors.New("pod does not exist any more")
		}
		late, err := p.unready(claims)
		if late == nil || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-timed.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: claim=%s", errBindingTimeout, late.Name)
		}
	}
}

// unready returns a claim whose devices are not ready yet; nil if there is none.
func (p *Plugin) unready(claims []*resourcev1.ResourceClaim) (*resourcev1.ResourceClaim, error) {
	for _, claim := range claims {
		now := p.current(claim)
		switch {
		case now.UID != claim.UID:
			return nil, fmt.Errorf("the claim %s is another by now", claim.Name)
		case now.Status.Allocation == nil:
			return nil, fmt.Errorf("the claim %s has lost its devices meanwhile", claim.Name)
		}
		ready, err := isReady(now)
		if err != nil {
			return nil, err
		}
		if !ready {
			return now, nil
		}
	}
	return nil, nil
}

// current returns a claim as it is stored, as far as is known. The watch may not
// show it yet.
func (p *Plugin) current(claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	if now, ok := p.cluster.Claim(claim.Namespace, claim.Name); ok {
		return p.ledger.lastWritten(now)
	}
	return p.ledger.unshown(claim)
}

// isConditional says whether a claim has devices that drivers must say are ready.
func isConditional(claim *resourcev1.ResourceClaim) bool {
	return claim.Status.Allocation != nil && slices.ContainsFunc(claim.Status.Allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
		return len(r.BindingConditions) > 0
	})
}

// isReady says whether all devices of a claim are ready. That a driver has given up
// on one is an error.
func isReady(claim *resourcev1.ResourceClaim) (bool, error) {
	ready := true
	for i := range claim.Status.Allocation.Devices.Results {
		r := &claim.Status.Allocation.Devices.Results[i]
		if len(r.BindingConditions) == 0 {
			continue
		}
		status := statusOf(claim, r)
		if status == nil {
			ready = false
			continue
		}
		for _, name := range r.BindingFailureConditions {
			if c := meta.FindStatusCondition(status.Conditions, name); c != nil && c.Status == metav1.ConditionTrue {
				return false, fmt.Errorf("%w: claim=%s, reason=%s, message=%q", errBindingFailed, claim.Name, c.Reason, c.Message)
			}
		}
		ready = ready && !slices.ContainsFunc(r.BindingConditions, func(name string) bool {
			return !meta.IsStatusConditionTrue(status.Conditions, name)
		})
	}
	return ready, nil
}

// statusOf returns what a driver says of an allocated device; nil if nothing.
func statusOf(claim *resourcev1.ResourceClaim, r *resourcev1.DeviceRequestAllocationResult) *resourcev1.AllocatedDeviceStatus {
	for i := range claim.Status.Devices {
		if d := &claim.Status.Devices[i]; d.Driver == r.Driver && d.Pool == r.Pool && d.Device == r.Device && sameShare(d.ShareID, r) {
			return d
		}
	}
	return nil
}

// sameShare says whether a status is of the share that was allocated, where the
// device is shared.
func sameShare(id *string, r *resourcev1.DeviceRequestAllocationResult) bool {
	return id == nil || r.ShareID == nil || *id == string(*r.ShareID)
}

// expires is when the devices of a claim must be ready.
func (p *Plugin) expires(claim *resourcev1.ResourceClaim) time.Time {
	if at := claim.Status.Allocation.AllocationTimestamp; at != nil {
		return at.Add(p.bindingTimeout)
	}
	return time.Now().Add(p.bindingTimeout)
}

// isLost says whether the devices of a claim will not be ready any more.
func (p *Plugin) isLost(claim *resourcev1.ResourceClaim) bool {
	if !isConditional(claim) {
		return false
	}
	ready, err := isReady(claim)
	return err != nil || !ready && time.Now().After(p.expires(claim))
}

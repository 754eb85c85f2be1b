package dynamicresources

import (
	"context"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// PreScore leaves out pods whose claims name no alternatives.
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, _ *snapshot.Snapshot, _ snapshot.Selection) *framework.Status {
	claims := p.claims.Get(state)
	if claims == nil || !slices.ContainsFunc(claims.waiting, func(c *resourcev1.ResourceClaim) bool {
		return slices.ContainsFunc(c.Spec.Devices.Requests, func(r resourcev1.DeviceRequest) bool { return len(r.FirstAvailable) > 0 })
	}) {
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

// Score is higher the earlier the alternatives come that requests are given on the
// node. What was allocated before is the same on every node.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (score int64, _ *framework.Status) {
	claims := p.claims.Get(state)
	claims.mu.Lock()
	choice := claims.found[node.Name()]
	claims.mu.Unlock()
	if choice == nil {
		return 0, nil
	}
	for i, claim := range claims.waiting {
		score += preference(claim, choice.allocations[i])
	}
	return score, nil
}

// preference is the sum, over the requests with alternatives, of how early the one
// comes that was allocated.
func preference(claim *resourcev1.ResourceClaim, a *resourcev1.AllocationResult) (sum int64) {
	given := map[string]bool{}
	for i := range a.Devices.Results {
		given[a.Devices.Results[i].Request] = true
	}
	for i := range claim.Spec.Devices.Requests {
		r := &claim.Spec.Devices.Requests[i]
		for j := range r.FirstAvailable {
			if given[r.Name+"/"+r.FirstAvailable[j].Name] {
				sum += int64(resourcev1.FirstAvailableDeviceRequestMaxSize - j)
			}
		}
	}
	return sum
}

// NormalizeScore makes the best node's score framework.MaxScore.
func (*Plugin) NormalizeScore(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, scores []int64) {
	framework.Normalize(scores)
}

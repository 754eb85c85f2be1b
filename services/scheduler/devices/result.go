package devices

import (
	"slices"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// allocations makes each claim's allocation of what was picked.
func (s *search) allocations(node *corev1.Node) []*resourcev1.AllocationResult {
	out := make([]*resourcev1.AllocationResult, len(s.request.claims))
	for i, claim := range s.request.claims {
		var picks []pick
		for _, p := range s.picks {
			if p.claim == i {
				picks = append(picks, p)
			}
		}
		out[i] = allocation(claim, picks, node)
	}
	return out
}

func allocation(claim *resourcev1.ResourceClaim, picks []pick, node *corev1.Node) *resourcev1.AllocationResult {
	a := &resourcev1.AllocationResult{NodeSelector: where(picks, node)}
	for _, p := range picks {
		a.Devices.Results = append(a.Devices.Results, result(p))
	}
	var requests []string
	for _, p := range picks {
		name := p.alternative.name
		if slices.Contains(requests, name) {
			continue
		}
		requests = append(requests, name)
		for _, c := range p.alternative.class.Spec.Config {
			a.Devices.Config = append(a.Devices.Config, resourcev1.DeviceAllocationConfiguration{
				Source: resourcev1.AllocationConfigSourceClass, Requests: []string{name}, DeviceConfiguration: c.DeviceConfiguration,
			})
		}
	}
	for _, c := range claim.Spec.Devices.Config {
		if len(c.Requests) == 0 || slices.ContainsFunc(requests, func(r string) bool { return names(c.Requests, r) }) {
			a.Devices.Config = append(a.Devices.Config, resourcev1.DeviceAllocationConfiguration{
				Source: resourcev1.AllocationConfigSourceClaim, Requests: c.Requests, DeviceConfiguration: c.DeviceConfiguration,
			})
		}
	}
	return a
}

func result(p pick) resourcev1.DeviceRequestAllocationResult {
	r := resourcev1.DeviceRequestAllocationResult{
		Request: p.alternative.name, Driver: p.device.id.Driver, Pool: p.device.id.Pool, Device: p.device.id.Device, Tolerations: p.alternative.tolerations,
		BindingConditions: p.device.BindingConditions, BindingFailureConditions: p.device.BindingFailureConditions,
	}
	switch {
	case p.alternative.admin:
		r.AdminAccess = ptr.To(true)
	case shareable(p.device):
		r.ShareID = ptr.To(types.UID(uuid.NewString()))
		r.ConsumedCapacity = p.consumed
	}
	return r
}

// where says on which nodes an allocation can be used: on one if a device is of
// that node only, or is bound to it, otherwise on those that have all devices; nil
// are all nodes.
func where(picks []pick, node *corev1.Node) *corev1.NodeSelector {
	var term *corev1.NodeSelectorTerm
	for _, p := range picks {
		if p.device.node() != "" || p.device.BindsToNode != nil && *p.device.BindsToNode {
			return OnlyOn(node.Name)
		}
		selector := p.device.selector()
		if selector == nil {
			continue
		}
		if len(selector.NodeSelectorTerms) != 1 { // several cannot be joined with others' into one
			return OnlyOn(node.Name)
		}
		if term == nil {
			term = &corev1.NodeSelectorTerm{}
		}
		term.MatchExpressions = union(term.MatchExpressions, selector.NodeSelectorTerms[0].MatchExpressions)
		term.MatchFields = union(term.MatchFields, selector.NodeSelectorTerms[0].MatchFields)
	}
	if term == nil {
		return nil
	}
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{*term}}
}

// OnlyOn selects one node.
func OnlyOn(node string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{
		Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node},
	}}}}}
}

func union(a, b []corev1.NodeSelectorRequirement) []corev1.NodeSelectorRequirement {
	for _, r := range b {
		if !slices.ContainsFunc(a, func(have corev1.NodeSelectorRequirement) bool { return equality.Semantic.DeepEqual(have, r) }) {
			a = append(a, r)
		}
	}
	return a
}

package dynamicresources

import (
	"context"
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor: it says where the devices of a claim are,
// or which request the node has none for and who has them.
func (p *Plugin) Advise(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	claims := p.claims.Get(state)
	for i, selector := range claims.selectors {
		claim := claims.allocated[i]
		if claims.lost[i] {
			return framework.Advice{
				Detail:   fmt.Sprintf("the devices of claim %s are not ready, and will not be", claim.Name),
				Remedies: []framework.Remedy{{Kind: framework.ChangePod, Description: "use another claim than " + claim.Name}},
			}
		}
		if selector != nil && !selector.Match(node.Node) {
			return framework.Advice{
				Detail:   fmt.Sprintf("claim %s has devices that are only on %s", claim.Name, framework.Where(claim.Status.Allocation.NodeSelector)),
				Remedies: []framework.Remedy{{Kind: framework.ChangePod, Description: "use another claim than " + claim.Name}},
			}
		}
	}
	wanted, err := p.askedOn(claims, pod, node)
	if err != nil || len(wanted.claims) == 0 || claims.stale != nil {
		return framework.Advice{} // the verdict says it
	}
	ctx, cancel := p.search(ctx)
	defer cancel()
	short, err := claims.inventory.Shortage(ctx, wanted.request, node.Node)
	if err != nil {
		return framework.Advice{} // the verdict says it
	}
	owners := p.owners()
	pools := p.cluster.Pools()
	room := framework.MakeRoom(owners.users(claims.nodes, pools.On(node.Node)), pod, func(gone []*snapshot.PodInfo) bool {
		left := devices.NewInventory(pools, owners.without(gone))
		_, err := left.Allocate(ctx, wanted.request, node.Node)
		return err == nil
	}, nil)
	if short == nil {
		return framework.Advice{Detail: "the devices that are free do for each request, not for all together", Remedies: room}
	}
	return framework.Advice{Detail: detail(short, owners), Remedies: append(room, remedies(short)...)}
}

// owners are the claims that have devices, and allocations beyond those that are
// held for pods.
type owners struct {
	claims []*resourcev1.ResourceClaim
	all    []*resourcev1.AllocationResult
}

func (p *Plugin) owners() *owners {
	o := &owners{all: p.ledger.allocations(p.cluster)}
	for _, claim := range p.cluster.Allocated() {
		if claim = p.ledger.latest(claim); claim.Status.Allocation != nil {
			o.claims = append(o.claims, claim)
		}
	}
	return o
}

// users returns the pods that claims with some of the devices are reserved for.
func (o *owners) users(nodes *snapshot.Snapshot, ids map[devices.ID]bool) (pods []*snapshot.PodInfo) {
	reserved := make(map[types.UID]bool)
	for _, claim := range o.claims {
		if !has(claim, func(id devices.ID) bool { return ids[id] }) {
			continue
		}
		for _, ref := range claim.Status.ReservedFor {
			reserved[ref.UID] = true
		}
	}
	for _, n := range nodes.Nodes() {
		for _, pod := range n.Pods {
			if reserved[pod.Pod.UID] {
				pods = append(pods, pod)
			}
		}
	}
	return pods
}

// without returns the allocations that are left once pods have gone: a claim
// that is reserved for nobody loses its devices.
func (o *owners) without(gone []*snapshot.PodInfo) []*resourcev1.AllocationResult {
	released := make(map[*resourcev1.AllocationResult]bool)
	for _, claim := range o.claims {
		released[claim.Status.Allocation] = len(claim.Status.ReservedFor) > 0 && !slices.ContainsFunc(claim.Status.ReservedFor, func(ref resourcev1.ResourceClaimConsumerReference) bool {
			return !slices.ContainsFunc(gone, func(p *snapshot.PodInfo) bool { return p.Pod.UID == ref.UID })
		})
	}
	return slices.DeleteFunc(slices.Clone(o.all), func(a *resourcev1.AllocationResult) bool { return released[a] })
}

// of names the claims that have some of the devices.
func (o *owners) of(ids []devices.ID) (names []string) {
	for _, claim := range o.claims {
		if has(claim, func(id devices.ID) bool { return slices.Contains(ids, id) }) {
			names = append(names, claim.Namespace+"/"+claim.Name)
		}
	}
	slices.Sort(names)
	return names
}

// has says whether a claim has one of some devices, not only access to it.
func has(claim *resourcev1.ResourceClaim, of func(devices.ID) bool) bool {
	return slices.ContainsFunc(claim.Status.Allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
		return of(devices.ID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}) && (r.AdminAccess == nil || !*r.AdminAccess)
	})
}

// detail is "needs 1 device of class gpu, 0 of 2 are free (2 allocated to
// default/a, default/b)".
func detail(s *devices.Shortage, o *owners) string {
	selected := s.Selected()
	switch {
	case selected == 0 && s.Claim == extendedName:
		return fmt.Sprintf("the node has no device of class %s, which stands for an extended resource that the pod requests", s.Class)
	case selected == 0:
		return fmt.Sprintf("the node has no device of class %s for request %s of claim %s", s.Class, s.Request, s.Claim)
	}
	text := fmt.Sprintf("needs %s of class %s, %d of %d are free", count(s.Wanted), s.Class, len(s.Free), selected)
	var why []string
	if n := len(s.Taken); n > 0 {
		names := strings.Join(o.of(s.Taken), ", ")
		if names == "" {
			names = "pods that are being bound"
		}
		why = append(why, fmt.Sprintf("%d allocated to %s", n, names))
	}
	if n := len(s.Tainted); n > 0 {
		why = append(why, fmt.Sprintf("%d tainted %s", n, taints(s)))
	}
	if n := len(s.Unfit); n > 0 {
		why = append(why, fmt.Sprintf("%d without the capacity", n))
	}
	if len(why) == 0 {
		return text + ", but not together"
	}
	return text + " (" + strings.Join(why, ", ") + ")"
}

func count(n int) string {
	if n == 1 {
		return "1 device"
	}
	return fmt.Sprintf("%d devices", n)
}

func taints(s *devices.Shortage) string {
	var names []string
	for _, t := range s.Taints {
		key := t.Key
		if t.Value != "" {
			key += "=" + t.Value
		}
		names = append(names, key+":"+string(t.Effect))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// remedies are those that make no room.
func remedies(s *devices.Shortage) (out []framework.Remedy) {
	if s.Selected() == 0 {
		out = append(out, framework.Remedy{Kind: framework.ChangeNode, Description: "add a device of class " + s.Class + " to the node"})
	}
	if s.Claim == extendedName {
		return out // the claim cannot be changed
	}
	if len(s.Tainted) > 0 && len(s.Free)+len(s.Tainted) >= s.Wanted {
		out = append(out, framework.Remedy{Kind: framework.ChangeClaim, Description: fmt.Sprintf("tolerate %s in request %s of claim %s", taints(s), s.Request, s.Claim)})
	}
	if n := len(s.Free); n > 0 && n < s.Wanted && !s.All {
		out = append(out, framework.Remedy{Kind: framework.ChangeClaim, Description: fmt.Sprintf("ask for at most %s in request %s of claim %s", count(n), s.Request, s.Claim)})
	}
	return out
}

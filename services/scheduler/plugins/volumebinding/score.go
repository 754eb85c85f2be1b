package volumebinding

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// PreScore leaves out pods none of whose claims wait for their node.
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, _ *snapshot.Snapshot, _ snapshot.Selection) *framework.Status {
	if claims := p.claims.Get(state); claims == nil || len(claims.waiting) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

// Score is the mean, over the classes, of how good it is that the claims take what
// they do of the volumes that are there for them or, if there are none, of the
// space that drivers tell of. Where neither is known it is 0.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	d, stuck := p.decide(p.claims.Get(state).waiting, node.Node)
	if stuck != nil {
		return 0, nil // taken since the node was looked at
	}
	classes := d.uses()
	if len(classes) == 0 {
		return 0, nil
	}
	var sum int64
	for _, u := range classes {
		sum += p.score(u.used, u.capacity)
	}
	return int64(math.Round(float64(sum) / float64(len(classes)))), nil
}

// use is how much is used of what there is, in bytes.
type use struct{ used, capacity int64 }

// uses returns what a decision takes, by class.
func (d *decision) uses() map[string]use {
	classes := make(map[string]use)
	for _, b := range d.bind {
		u, asked, size := classes[b.pv.Spec.StorageClassName], b.claim.Spec.Resources.Requests[corev1.ResourceStorage], b.pv.Spec.Capacity[corev1.ResourceStorage]
		u.used += asked.Value()
		u.capacity += size.Value()
		classes[b.pv.Spec.StorageClassName] = u
	}
	if len(classes) > 0 {
		return classes
	}
	for _, made := range d.provision {
		if made.from == nil {
			continue
		}
		u, asked, whole := classes[made.from.StorageClassName], made.claim.Spec.Resources.Requests[corev1.ResourceStorage], made.from.Capacity
		if whole == nil {
			whole = limit(made.from)
		}
		u.used += asked.Value()
		u.capacity = whole.Value() // all volumes of the class are made of it
		classes[made.from.StorageClassName] = u
	}
	return classes
}

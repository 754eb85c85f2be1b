// Package volumebinding places a pod where its volumes are or can be, and binds
// the claims that wait for the pod's place.
//
// Claims are of three kinds. A bound one keeps the pod to the nodes of its
// volume. One that is to be bound at once and is not keeps the pod waiting. One
// whose class waits for the first consumer is this plugin's: on each node it
// looks for a volume that suits the claim, or whether one can be made there.
// Once the node is chosen, the volume is taken for the claim, or the node
// written to the claim for its provisioner to see, and the pod's own binding
// waits until the claims are bound.
//
//	volumebinding.go  the extension points that choose the node
//	find.go           what is to be bound if the pod goes to a node
//	space.go          what drivers can make volumes of
//	migrated.go       volumes of built-in kinds whose place a driver took
//	score.go          how much is left beside what is bound
//	reserve.go        what pods that are being bound have taken already
//	bind.go           writing it and waiting
//	advise.go         what would have to change on a node that is rejected
package volumebinding

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/volume"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/internal/storageclass"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/shape"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// Name of the plugin.
const Name = "VolumeBinding"

// The reasons that users read.
const (
	ReasonUnboundImmediate = "pod has unbound immediate PersistentVolumeClaims"
	ReasonNodeConflict     = "node(s) didn't match PersistentVolume's node affinity"
	ReasonBindConflict     = "node(s) didn't find available persistent volumes to bind"
	ReasonNoSpace          = "node(s) did not have enough free storage"
	ReasonVolumeMissing    = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
)

// Plugin implements framework.Filter, framework.Score, framework.Reserve and
// framework.PreBind.
type Plugin struct {
	storage storage.Cluster
	// bindTimeout is how long a pod's binding waits for its claims'.
	bindTimeout time.Duration
	claims      *framework.Key[*podClaims]
	decision    *framework.Key[*decision]
	reserved    *Reservations
	// score says how good it is that claims take so much of what there is.
	score func(used, capacity int64) int64
}

// New returns the plugin. Its arguments have their defaults and are valid. The
// plugins of several profiles share their reservations.
func New(args *configv1.VolumeBindingArgs, cluster storage.Cluster, reserved *Reservations) *Plugin {
	return &Plugin{
		storage: cluster, bindTimeout: time.Duration(*args.BindTimeoutSeconds) * time.Second,
		claims: framework.NewKey[*podClaims](), decision: framework.NewKey[*decision](), reserved: reserved,
		score: shape.Function(args.Shape),
	}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// podClaims is what the nodes are compared with.
type podClaims struct {
	// bound are the bound claims with their volumes.
	bound []*bound
	// missing are the bound claims whose volumes are not there.
	missing []*corev1.PersistentVolumeClaim
	waiting []waiting
	// nodes is the view that is decided on, good until the node is chosen.
	nodes *snapshot.Snapshot
}

// PreFilter sorts the pod's claims, and gives up if one cannot be used anywhere.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) ([]string, *framework.Status) {
	refs := storage.ClaimsOf(pod.Pod)
	if len(refs) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	sorted := &podClaims{nodes: nodes}
	unbound := false
	for _, ref := range refs {
		claim, err := storage.Check(p.storage, pod.Pod, ref)
		if err != nil {
			return nil, framework.NewStatus(framework.UnschedulableAndUnresolvable, err.Error())
		}
		switch {
		case storage.IsBound(claim):
			pv, ok := p.storage.Volume(claim.Spec.VolumeName)
			if !ok {
				sorted.missing = append(sorted.missing, claim)
				continue
			}
			sorted.bound = append(sorted.bound, newBound(claim, pv))
		case claim.Spec.VolumeName == "" && p.delayed(claim):
			sorted.waiting = append(sorted.waiting, p.wait(claim))
		default:
			unbound = true
		}
	}
	if unbound {
		return nil, framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonUnboundImmediate)
	}
	smallestFirst(sorted.waiting)
	p.claims.Set(state, sorted)
	return nil, nil
}

func (p *Plugin) delayed(claim *corev1.PersistentVolumeClaim) bool {
	class, ok := p.storage.Class(volume.GetPersistentVolumeClaimClass(claim))
	return ok && storageclass.IsDelayed(class)
}

// Filter rejects nodes that a volume cannot be used from, or where there is
// none for a claim.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	claims := p.claims.Get(state)
	if len(claims.missing) > 0 {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonVolumeMissing)
	}
	var reasons []string
	for _, b := range claims.bound {
		if p.reaches(b, node.Node) != nil {
			reasons = append(reasons, ReasonNodeConflict)
			break
		}
	}
	if _, stuck := p.decide(claims.waiting, node.Node); stuck != nil {
		reasons = append(reasons, stuck.reason)
	}
	if len(reasons) > 0 {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, reasons...)
	}
	return nil
}

// EventsToRegister: a claim or a volume comes or is bound, a class comes, a
// node comes or its labels change, a driver has more space, or takes the place of
// a built-in kind.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return append(storage.Events(),
		framework.EventHint{Resource: framework.Node, Action: framework.Add | framework.UpdateNodeLabels},
		framework.EventHint{Resource: framework.CSIStorageCapacity, Action: framework.Add | framework.Update, Helps: hasMoreSpace},
		framework.EventHint{Resource: framework.CSIDriver, Action: framework.Update | framework.Delete, Helps: limitsNoMore},
		framework.EventHint{Resource: framework.CSINode, Action: framework.Add | framework.Update, Helps: migratesOthers},
	)
}

// Package volumerestrictions keeps a pod from being placed while another one
// uses a claim that only one pod may use.
package volumerestrictions

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// Name of the plugin.
const Name = "VolumeRestrictions"

// Reason is what users read.
const Reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"

// Plugin implements framework.Filter.
type Plugin struct {
	storage storage.Reader
	taken   *framework.Key[bool]
}

// New returns the plugin.
func New(reader storage.Reader) *Plugin {
	return &Plugin{storage: reader, taken: framework.NewKey[bool]()}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// PreFilter looks for pods that use one of the pod's exclusive claims, wherever
// they are.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) ([]string, *framework.Status) {
	var exclusive []string
	for _, ref := range storage.ClaimsOf(pod.Pod) {
		claim, ok := p.storage.Claim(pod.Pod.Namespace, ref.Name)
		if ok && slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			exclusive = append(exclusive, ref.Name)
		}
	}
	if len(exclusive) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	p.taken.Set(state, slices.ContainsFunc(nodes.Nodes(), func(n *snapshot.NodeInfo) bool {
		return slices.ContainsFunc(n.Pods, func(other *snapshot.PodInfo) bool {
			return slices.ContainsFunc(exclusive, func(name string) bool { return storage.Uses(other.Pod, pod.Pod.Namespace, name) })
		})
	}))
	return nil, nil
}

// Filter rejects every node while a claim is taken. Where the pod that has it
// ends, its place does not matter.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, _ *snapshot.NodeInfo) *framework.Status {
	if p.taken.Get(state) {
		return framework.NewStatus(framework.Unschedulable, Reason)
	}
	return nil
}

// EventsToRegister: a pod that uses one of the claims goes.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{{Resource: framework.AssignedPod, Action: framework.Delete, Helps: givesClaimBack}}
}

func givesClaimBack(pod *snapshot.PodInfo, e framework.Event) bool {
	gone, ok := e.Old.(*corev1.Pod)
	return ok && slices.ContainsFunc(storage.ClaimsOf(pod.Pod), func(ref storage.ClaimRef) bool {
		return storage.Uses(gone, pod.Pod.Namespace, ref.Name)
	})
}

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
	users   *framework.Key[[]user]
}

// user is a pod that uses one of the claims.
type user struct {
	pod         *snapshot.PodInfo
	claim, node string
}

// New returns the plugin.
func New(reader storage.Reader) *Plugin {
	return &Plugin{storage: reader, users: framework.NewKey[[]user]()}
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
	p.users.Set(state, usersOf(exclusive, pod.Pod.Namespace, nodes))
	return nil, nil
}

func usersOf(claims []string, namespace string, nodes *snapshot.Snapshot) (users []user) {
	for _, n := range nodes.Nodes() {
		for _, other := range n.Pods {
			for _, claim := range claims {
				if storage.Uses(other.Pod, namespace, claim) {
					users = append(users, user{other, claim, n.Name()})
				}
			}
		}
	}
	return users
}

// Filter rejects every node while a claim is taken. Where the pod that has it
// ends, its place does not matter.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, _ *snapshot.NodeInfo) *framework.Status {
	if len(p.users.Get(state)) > 0 {
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

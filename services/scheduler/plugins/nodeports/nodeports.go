// Package nodeports keeps pods off nodes where another pod holds a host port
// that they want.
package nodeports

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodePorts"

// Reason is what users read.
const Reason = "node(s) didn't have free ports for the requested pod ports"

// Plugin implements framework.Filter.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: the verdict depends on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// PreFilter opts out for pods without host ports.
func (*Plugin) PreFilter(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot) ([]string, *framework.Status) {
	if len(pod.Ports) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	return nil, nil
}

// Filter rejects nodes where a port is taken.
func (*Plugin) Filter(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	if free(pod.Ports, node.Ports) {
		return nil
	}
	return framework.NewStatus(framework.Unschedulable, Reason)
}

// EventsToRegister: a node comes, or a pod that holds one of the ports goes.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.Node, Action: framework.Add},
		{Resource: framework.AssignedPod, Action: framework.Delete, Helps: givesPortsBack},
	}
}

func givesPortsBack(pod *snapshot.PodInfo, e framework.Event) bool {
	gone, ok := e.Old.(*corev1.Pod)
	return ok && !free(pod.Ports, snapshot.NewPodInfo(gone).Ports)
}

// free says that none of the wanted ports conflicts with one in use.
func free(wanted, used []snapshot.HostPort) bool {
	for _, w := range wanted {
		for _, u := range used {
			if w.Conflicts(u) {
				return false
			}
		}
	}
	return true
}

// Package nodename keeps a pod that names its node to that node.
package nodename

import (
	"context"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeName"

// Reason is what users read.
const Reason = "node(s) didn't match the requested node name"

// Plugin implements framework.Filter.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: the verdict depends on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// PreFilter opts out for pods that name no node, which is nearly all.
func (*Plugin) PreFilter(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot) ([]string, *framework.Status) {
	if pod.Pod.Spec.NodeName == "" {
		return nil, framework.NewStatus(framework.Skip)
	}
	return nil, nil
}

// Filter rejects every other node.
func (*Plugin) Filter(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	if fits(pod.Pod.Spec.NodeName, node.Name()) {
		return nil
	}
	return framework.NewStatus(framework.UnschedulableAndUnresolvable, Reason)
}

// EventsToRegister: the named node may yet come.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{{Resource: framework.Node, Action: framework.Add}}
}

func fits(wanted, node string) bool { return wanted == "" || wanted == node }

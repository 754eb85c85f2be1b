// Package leastallocated prefers nodes with more CPU and memory left.
package leastallocated

import (
	"context"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeResourcesLeastAllocated"

// Plugin implements framework.Score.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: the score depends on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// Score is the mean of the fractions of CPU and memory left with the pod there.
func (*Plugin) Score(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	cpu := left(node.Load.MilliCPU+pod.Load.MilliCPU, node.Allocatable.MilliCPU)
	memory := left(node.Load.Memory+pod.Load.Memory, node.Allocatable.Memory)
	return (cpu + memory) / 2, nil
}

// left is the share of capacity that is not used, from 0 to MaxScore.
func left(used, capacity int64) int64 {
	if capacity <= 0 || used > capacity {
		return 0
	}
	return (capacity - used) * framework.MaxScore / capacity
}

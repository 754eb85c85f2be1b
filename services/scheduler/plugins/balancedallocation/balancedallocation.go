// Package balancedallocation prefers nodes where CPU and memory would be used
// to the same degree, so that neither is stranded.
package balancedallocation

import (
	"context"
	"math"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeResourcesBalancedAllocation"

// Plugin implements framework.Score.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: the score depends on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// PreScore opts out for pods that request nothing: they change no balance.
func (*Plugin) PreScore(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot, _ []*snapshot.NodeInfo) *framework.Status {
	if pod.Requests.MilliCPU == 0 && pod.Requests.Memory == 0 {
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

// Score is best where the pod brings the two fractions closest together.
func (*Plugin) Score(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	return balance(
		snapshot.Fraction(node.Requested.MilliCPU+pod.Requests.MilliCPU, node.Allocatable.MilliCPU),
		snapshot.Fraction(node.Requested.Memory+pod.Requests.Memory, node.Allocatable.Memory),
	), nil
}

// balance is MaxScore for equal fractions, less by their standard deviation,
// which of two numbers is half their distance.
func balance(cpu, memory float64) int64 {
	return int64((1 - math.Abs(cpu-memory)/2) * float64(framework.MaxScore))
}

// Package devicestock counts, for plugins that score nodes by their resources,
// the devices that stand for extended resources.
package devicestock

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Counter counts once for each pod, and keeps that for the scores of its nodes.
type Counter struct {
	// count is nil where devices stand for nothing.
	count func([]corev1.ResourceName) *devices.Stock
	kept  *framework.Key[*devices.Stock]
}

// New returns a counter. count may be nil: then devices stand for nothing.
func New(count func([]corev1.ResourceName) *devices.Stock) Counter {
	return Counter{count: count, kept: framework.NewKey[*devices.Stock]()}
}

// Prepare counts the devices that stand for those of a pod's resources that they
// may stand for. It belongs into PreScore.
func (c Counter) Prepare(state *framework.CycleState, requested []corev1.ResourceName) {
	if c.count == nil {
		return
	}
	var extended []corev1.ResourceName
	for _, name := range requested {
		if snapshot.IsScalar(name) {
			extended = append(extended, name)
		}
	}
	if len(extended) > 0 {
		c.kept.Set(state, c.count(extended))
	}
}

// Of returns how much of a resource a node has, and how much of that is used: used,
// or where the node itself has none, the devices that stand for it. What does not
// count is nothing: an extended resource that a pod does not want.
func (c Counter) Of(ctx context.Context, state *framework.CycleState, node *snapshot.NodeInfo, name corev1.ResourceName, wanted, used int64) (capacity, inUse int64) {
	extended := snapshot.IsScalar(name)
	if wanted == 0 && extended {
		return 0, 0
	}
	if capacity = node.Allocatable.Of(name); capacity != 0 || c.count == nil || !extended {
		return capacity, used
	}
	return c.kept.Get(state).On(ctx, node.Node, name)
}

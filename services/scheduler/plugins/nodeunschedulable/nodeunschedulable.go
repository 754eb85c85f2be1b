// Package nodeunschedulable keeps pods off cordoned nodes.
package nodeunschedulable

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeUnschedulable"

// Reason is what users read.
const Reason = "node(s) were unschedulable"

// Plugin implements framework.Filter.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: the verdict depends on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// Filter rejects cordoned nodes, unless the pod tolerates the taint that
// stands for it.
func (*Plugin) Filter(ctx context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	if !node.Node.Spec.Unschedulable || tolerates(ctx, pod.Pod.Spec.Tolerations) {
		return nil
	}
	return framework.NewStatus(framework.UnschedulableAndUnresolvable, Reason)
}

// EventsToRegister: a node comes or is uncordoned, or the pod learns to
// tolerate it.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.Node, Action: framework.Add | framework.UpdateTaints, Helps: schedulable},
		{Resource: framework.WaitingPod, Action: framework.UpdateTolerations},
	}
}

func schedulable(_ *snapshot.PodInfo, e framework.Event) bool {
	node, ok := e.New.(*corev1.Node)
	return ok && !node.Spec.Unschedulable
}

func tolerates(ctx context.Context, tolerations []corev1.Toleration) bool {
	return corev1helpers.TolerationsTolerateTaint(klog.FromContext(ctx), tolerations,
		&corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}, false)
}

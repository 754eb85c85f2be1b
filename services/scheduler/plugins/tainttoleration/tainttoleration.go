// Package tainttoleration keeps pods off nodes whose taints they do not
// tolerate, and prefers nodes with fewer PreferNoSchedule taints that they do
// not tolerate.
package tainttoleration

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "TaintToleration"

// Reason is what users read.
const Reason = "node(s) had untolerated taint(s)"

// Plugin implements framework.Filter and framework.Score.
type Plugin struct{}

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: verdict and score depend on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// Filter rejects nodes with an untolerated NoSchedule or NoExecute taint.
func (*Plugin) Filter(ctx context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	if untolerated(ctx, node.Node.Spec.Taints, pod.Pod.Spec.Tolerations, keepsAway) == 0 {
		return nil
	}
	return framework.NewStatus(framework.UnschedulableAndUnresolvable, Reason)
}

// Score counts the untolerated PreferNoSchedule taints; normalizing turns few
// into good.
func (*Plugin) Score(ctx context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	return untolerated(ctx, node.Node.Spec.Taints, pod.Pod.Spec.Tolerations, putsOff), nil
}

// NormalizeScore gives the node with the most such taints 0.
func (*Plugin) NormalizeScore(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, scores []int64) {
	framework.NormalizeReversed(scores)
}

// EventsToRegister: a node comes or its taints change to something the pod
// tolerates, or the pod learns to tolerate them.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.Node, Action: framework.Add | framework.UpdateTaints, Helps: nowTolerated},
		{Resource: framework.WaitingPod, Action: framework.UpdateTolerations},
	}
}

func nowTolerated(pod *snapshot.PodInfo, e framework.Event) bool {
	node, ok := e.New.(*corev1.Node)
	return ok && untolerated(context.Background(), node.Spec.Taints, pod.Pod.Spec.Tolerations, keepsAway) == 0
}

func keepsAway(t *corev1.Taint) bool {
	return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
}

func putsOff(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectPreferNoSchedule }

// untolerated counts the taints of the wanted effects that are not tolerated.
func untolerated(ctx context.Context, taints []corev1.Taint, tolerations []corev1.Toleration, wanted func(*corev1.Taint) bool) int64 {
	if len(taints) == 0 {
		return 0
	}
	var n int64
	logger := klog.FromContext(ctx)
	for i := range taints {
		if wanted(&taints[i]) && !corev1helpers.TolerationsTolerateTaint(logger, tolerations, &taints[i], false) {
			n++
		}
	}
	return n
}

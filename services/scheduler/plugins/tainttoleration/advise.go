package tainttoleration

import (
	"context"
	"strings"

	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// managed begins the keys of taints that follow from the node's state: they go
// when that changes, and come back if they are taken off.
const managed = "node.kubernetes.io/"

// Advise implements framework.Advisor: it says which tolerations are missing.
func (*Plugin) Advise(ctx context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	var names, states []string
	for i := range node.Node.Spec.Taints {
		taint := &node.Node.Spec.Taints[i]
		if !keepsAway(taint) || corev1helpers.TolerationsTolerateTaint(klog.FromContext(ctx), pod.Pod.Spec.Tolerations, taint, false) {
			continue
		}
		names = append(names, taint.ToString())
		if state, ok := strings.CutPrefix(taint.Key, managed); ok {
			states = append(states, state)
		}
	}
	if len(names) == 0 {
		return framework.Advice{}
	}
	all := strings.Join(names, " and ")
	tolerate := framework.Remedy{Kind: framework.ChangePod, Description: "tolerate " + all}
	remove := framework.Remedy{Kind: framework.ChangeNode, Description: "take the taint " + all + " off the node"}
	if len(states) > 0 {
		// Such pods seldom want to be on such a node.
		remove.Description = "see to the node, which is " + strings.Join(states, ", ")
		if len(states) < len(names) {
			remove.Description += ", and take its other taints off"
		}
		return framework.Advice{Detail: "does not tolerate " + all, Remedies: []framework.Remedy{remove, tolerate}}
	}
	return framework.Advice{Detail: "does not tolerate " + all, Remedies: []framework.Remedy{tolerate, remove}}
}

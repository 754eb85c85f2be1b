package tainttoleration

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestAdvise(t *testing.T) {
	pod := schedtest.Pod("p").With(func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "known", Operator: corev1.TolerationOpExists}}
	}).Info()
	valued := schedtest.Node("n").With(func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{
			{Key: "team", Value: "a", Effect: corev1.TaintEffectNoSchedule}, {Key: "known", Effect: corev1.TaintEffectNoSchedule},
			{Key: "soft", Effect: corev1.TaintEffectPreferNoSchedule}, {Key: "b", Effect: corev1.TaintEffectNoExecute},
		}
	})
	for _, tt := range []struct {
		name string
		node *schedtest.NodeBuilder
		want framework.Advice
	}{
		{"tolerated", schedtest.Node("n").Taint("known", corev1.TaintEffectNoSchedule), framework.Advice{}},
		{"what is missing", valued, framework.Advice{Detail: "does not tolerate team=a:NoSchedule and b:NoExecute", Remedies: []framework.Remedy{
			{Kind: framework.ChangePod, Description: "tolerate team=a:NoSchedule and b:NoExecute"},
			{Kind: framework.ChangeNode, Description: "take the taint team=a:NoSchedule and b:NoExecute off the node"},
		}}},
		{"the node's state", schedtest.Node("n").Taint("node.kubernetes.io/not-ready", corev1.TaintEffectNoSchedule), framework.Advice{
			Detail: "does not tolerate node.kubernetes.io/not-ready:NoSchedule", Remedies: []framework.Remedy{
				{Kind: framework.ChangeNode, Description: "see to the node, which is not-ready"},
				{Kind: framework.ChangePod, Description: "tolerate node.kubernetes.io/not-ready:NoSchedule"},
			},
		}},
	} {
		if diff := cmp.Diff(tt.want, New().Advise(t.Context(), nil, pod, tt.node.Info())); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

package nodeunschedulable

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestFilter(t *testing.T) {
	cordoned := schedtest.Node("n").With(func(n *corev1.Node) { n.Spec.Unschedulable = true })
	tolerant := schedtest.Pod("p").With(func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}}
	})
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		node *schedtest.NodeBuilder
		fits bool
	}{
		{"open", schedtest.Pod("p"), schedtest.Node("n"), true},
		{"cordoned", schedtest.Pod("p"), cordoned, false},
		{"cordoned, tolerated", tolerant, cordoned, true},
	} {
		s := New().Filter(t.Context(), nil, tt.pod.Info(), tt.node.Info())
		if s.Success() != tt.fits || !tt.fits && s.Message() != Reason {
			t.Errorf("%s: %v %q", tt.name, s.Code(), s.Message())
		}
	}
}

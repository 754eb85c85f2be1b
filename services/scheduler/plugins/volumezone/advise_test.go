package volumezone

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestAdvise(t *testing.T) {
	pv := schedtest.Volume("pv-1", "", "")
	pv.Labels = map[string]string{corev1.LabelTopologyZone: "a__b", corev1.LabelTopologyRegion: "x"}
	p, state := New(schedtest.NewStorage(pv, schedtest.Bound(schedtest.Claim("data", ""), "pv-1"))), &framework.CycleState{}
	pod := schedtest.Pod("p").Claims("data").Info()
	if _, s := p.PreFilter(t.Context(), state, pod, nil); !s.Success() {
		t.Fatal(s)
	}
	another := []framework.Remedy{{Kind: framework.ChangePod, Description: "use another claim than data"}}
	for _, tt := range []struct {
		name string
		node *schedtest.NodeBuilder
		want framework.Advice
	}{
		{"there", schedtest.Node("n").Label(corev1.LabelTopologyZone, "b").Label(corev1.LabelTopologyRegion, "x"), framework.Advice{}},
		{"elsewhere", schedtest.Node("n").Label(corev1.LabelTopologyZone, "c").Label(corev1.LabelTopologyRegion, "x"), framework.Advice{
			Detail:   "claim data is bound to volume pv-1 that is only in topology.kubernetes.io/zone=a or b (the node has topology.kubernetes.io/zone=c)",
			Remedies: another,
		}},
		{"elsewhere, and of no region", schedtest.Node("n").Label(corev1.LabelFailureDomainBetaZone, "c"), framework.Advice{
			Detail: "claim data is bound to volume pv-1 that is only in topology.kubernetes.io/zone=a or b (the node has failure-domain.beta.kubernetes.io/zone=c); " +
				"claim data is bound to volume pv-1 that is only in topology.kubernetes.io/region=x (the node has no topology.kubernetes.io/region)",
			Remedies: another,
		}},
	} {
		if diff := cmp.Diff(tt.want, p.Advise(t.Context(), state, pod, tt.node.Info())); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

package framework

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMessage(t *testing.T) {
	cpu := NewStatus(Unschedulable, "Insufficient cpu").By("NodeResourcesFit")
	both := NewStatus(Unschedulable, "Insufficient cpu", "Insufficient memory").By("NodeResourcesFit")
	taint := NewStatus(UnschedulableAndUnresolvable, "node(s) had untolerated taint(s)").By("TaintToleration")
	named := NewStatus(UnschedulableAndUnresolvable, "node(s) didn't satisfy plugin(s) [NodeAffinity]").By("NodeAffinity")
	for _, tt := range []struct {
		name      string
		diagnosis Diagnosis
		want      string
		plugins   []string
	}{
		{"no nodes", Diagnosis{}, "no nodes available to schedule pods", []string{}},
		{
			"counted and sorted",
			Diagnosis{AllNodes: 3, Rejections: map[string]*Status{"a": taint, "b": cpu, "c": taint}},
			"0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).",
			[]string{"NodeResourcesFit", "TaintToleration"},
		},
		{
			"every reason of a node",
			Diagnosis{AllNodes: 2, Rejections: map[string]*Status{"a": both, "b": cpu}},
			"0/2 nodes are available: 1 Insufficient memory, 2 Insufficient cpu.",
			[]string{"NodeResourcesFit"},
		},
		{
			"nodes that were not looked at",
			Diagnosis{AllNodes: 5, Rejections: map[string]*Status{"a": cpu}, Absent: named},
			"0/5 nodes are available: 1 Insufficient cpu, 4 node(s) didn't satisfy plugin(s) [NodeAffinity].",
			[]string{"NodeAffinity", "NodeResourcesFit"},
		},
		{
			"a PreFilter's verdict",
			Diagnosis{AllNodes: 2, PreFilter: NewStatus(UnschedulableAndUnresolvable, "volume is gone").By("Volumes")},
			"0/2 nodes are available: volume is gone.",
			[]string{"Volumes"},
		},
		{
			"what preemption said",
			Diagnosis{
				AllNodes: 1, Rejections: map[string]*Status{"a": cpu},
				PostFilter: "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
			},
			"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
			[]string{"NodeResourcesFit"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.diagnosis.Message(); got != tt.want {
				t.Errorf("%q, not %q", got, tt.want)
			}
			if diff := cmp.Diff(tt.plugins, tt.diagnosis.Plugins()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

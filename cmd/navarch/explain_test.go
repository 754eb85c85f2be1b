package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
)

func TestWriteRemedies(t *testing.T) {
	rejected := func(node string, by ...*schedulerv1.PluginVerdict) *schedulerv1.NodeVerdict {
		return &schedulerv1.NodeVerdict{NodeName: node, Rejections: by}
	}
	evict := &schedulerv1.PluginVerdict{Plugin: "NodeResourcesFit", Reason: "Insufficient cpu", Detail: "needs 300m of cpu, 120m of 4 are free", Remedies: []*schedulerv1.Remedy{
		{Description: "evict default/x"}, {Description: "request at most 120m of cpu"},
	}}
	tolerate := &schedulerv1.PluginVerdict{Plugin: "TaintToleration", Detail: "does not tolerate a:NoSchedule", Remedies: []*schedulerv1.Remedy{{Description: "tolerate a:NoSchedule"}}}
	silent := &schedulerv1.PluginVerdict{Plugin: "VolumeZone", Reason: "node(s) had no available volume zone"}
	many := []*schedulerv1.NodeVerdict{}
	for i := range nodesAdvised + 2 {
		many = append(many, rejected(fmt.Sprint("n", i), tolerate))
	}
	for _, tt := range []struct {
		name  string
		nodes []*schedulerv1.NodeVerdict
		want  []string // lines
	}{
		{"nobody knows any", []*schedulerv1.NodeVerdict{rejected("n1", silent), {NodeName: "n2", Feasible: true}}, nil},
		{"the node with the least in the way first", []*schedulerv1.NodeVerdict{rejected("n1", tolerate, evict, silent), rejected("n2", evict)}, []string{
			"", "NODE|THE POD|WHAT WOULD HELP",
			"n2|needs 300m of cpu, 120m of 4 are free|evict default/x, or request at most 120m of cpu",
			"n1|does not tolerate a:NoSchedule|tolerate a:NoSchedule",
			"n1|needs 300m of cpu, 120m of 4 are free|evict default/x, or request at most 120m of cpu",
			"n1|node(s) had no available volume zone|-",
		}},
	} {
		var out bytes.Buffer
		writeRemedies(&out, tt.nodes)
		got := strings.ReplaceAll(strings.TrimSuffix(out.String(), "\n"), "\t", "|")
		if got != strings.Join(tt.want, "\n") {
			t.Errorf("%s:\n%s", tt.name, got)
		}
	}
	var out bytes.Buffer
	writeRemedies(&out, many)
	if lines := strings.Count(out.String(), "tolerate a:NoSchedule\n"); lines != nodesAdvised || !strings.HasSuffix(out.String(), "and 2 more nodes\n") {
		t.Errorf("%d nodes:\n%s", lines, out.String())
	}
}

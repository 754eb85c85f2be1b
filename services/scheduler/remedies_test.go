package scheduler

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/client"
	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

// TestExplainSaysWhatWouldHelp: n1 lacks CPU, n2 is tainted and cordoned. What
// is said of n1 is then done, and does help.
func TestExplainSaysWhatWouldHelp(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2").Taint("team", corev1.TaintEffectNoSchedule).With(func(n *corev1.Node) { n.Spec.Unschedulable = true }))
	c.create(schedtest.Pod("x").CPU("3880m").Pod())
	c.until("x is on n1", func() bool { return c.nodeOf("x") == "n1" })
	c.create(schedtest.Pod("waits").CPU("300m").Pod())
	c.until("waits is told that it waits", func() bool {
		p, ok := c.pods.Get("default", "waits")
		return ok && scheduledCondition(p) != nil && scheduledCondition(p).Reason == corev1.PodReasonUnschedulable
	})
	resp, err := (&service{scheduler: c.scheduler}).Explain(t.Context(), &schedulerv1.ExplainRequest{Namespace: "default", Name: "waits"})
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]*schedulerv1.PluginVerdict)
	for _, n := range resp.GetDiagnosis().GetNodes() {
		for _, r := range n.GetRejections() {
			got[n.GetNodeName()+" "+r.GetPlugin()] = r
		}
	}
	fit := got["n1 NodeResourcesFit"]
	if fit.GetDetail() != "needs 300m of cpu, 120m of 4 are free" || len(fit.GetRemedies()) != 2 ||
		fit.GetRemedies()[0].GetKind() != schedulerv1.RemedyKind_REMEDY_KIND_EVICT_PODS || strings.Join(fit.GetRemedies()[0].GetPods(), " ") != "default/x" ||
		fit.GetRemedies()[1].GetKind() != schedulerv1.RemedyKind_REMEDY_KIND_CHANGE_POD {
		t.Errorf("n1: %v", fit)
	}
	if taint := got["n2 TaintToleration"]; len(taint.GetRemedies()) != 2 || taint.GetRemedies()[0].GetDescription() != "tolerate team:NoSchedule" {
		t.Errorf("n2: %v", taint)
	}
	if cordon := got["n2 NodeUnschedulable"]; len(cordon.GetRemedies()) != 1 || cordon.GetRemedies()[0].GetDescription() != "uncordon the node (kubectl uncordon n2)" {
		t.Errorf("n2: %v", cordon)
	}
	victim, _ := c.pods.Get("default", "x")
	if err := c.Delete(t.Context(), victim.DeepCopy(), client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("it does", func() bool {
		c.endTerminating()
		return c.nodeOf("waits") == "n1"
	})
}

// TestExplainSaysWhatNoNodeHelps: what keeps a pod from every node is said of
// each.
func TestExplainSaysWhatNoNodeHelps(t *testing.T) {
	c := start(t, schedtest.Node("n1"), schedtest.Node("n2"))
	c.create(schedtest.Pod("waits").Claims("data").Pod())
	c.until("waits is told that it waits", func() bool {
		p, ok := c.pods.Get("default", "waits")
		return ok && scheduledCondition(p) != nil && scheduledCondition(p).Reason == corev1.PodReasonUnschedulable
	})
	resp, err := (&service{scheduler: c.scheduler}).Explain(t.Context(), &schedulerv1.ExplainRequest{Namespace: "default", Name: "waits"})
	if err != nil {
		t.Fatal(err)
	}
	nodes := resp.GetDiagnosis().GetNodes()
	if len(nodes) != 2 {
		t.Fatalf("%v", nodes)
	}
	for _, n := range nodes {
		r := n.GetRejections()[0]
		if r.GetDetail() != "claim data does not exist" || len(r.GetRemedies()) != 1 || r.GetRemedies()[0].GetDescription() != "create claim data" ||
			r.GetRemedies()[0].GetKind() != schedulerv1.RemedyKind_REMEDY_KIND_CHANGE_CLAIM {
			t.Errorf("%s: %v", n.GetNodeName(), r)
		}
	}
}

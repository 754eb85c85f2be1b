package preemption

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins/noderesources"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// world notes who is evicted and has one budget.
type world struct {
	evicted []string
	budget  *policyv1.PodDisruptionBudget
	// nominated are pods for which room is being made on n1.
	nominated []*snapshot.PodInfo
	// displaced is the node whose less important nominations were taken back.
	displaced string
}

func (w *world) Displace(node string, _ *snapshot.PodInfo) { w.displaced = node }

func (w *world) Nominated(node string, _ *snapshot.PodInfo) []*snapshot.PodInfo {
	if node != "n1" {
		return nil
	}
	return w.nominated
}

func (w *world) Evict(_ context.Context, victim, _ *corev1.Pod, node string) error {
	w.evicted = append(w.evicted, victim.Name+" on "+node)
	return nil
}

func (w *world) Budgets(string) []*policyv1.PodDisruptionBudget {
	if w.budget == nil {
		return nil
	}
	return []*policyv1.PodDisruptionBudget{w.budget}
}

// fit is a profile of the resources plugin alone.
type fit struct{ *noderesources.Plugin }

func (fit) PreFilter(context.Context, *framework.CycleState, *snapshot.PodInfo, *snapshot.Snapshot) (map[string]bool, *framework.Status, *framework.Status) {
	return nil, nil, nil
}
func (fit) NodeLocal(*framework.CycleState) bool { return true }
func (fit) ExtendPreemption(_ context.Context, _ *snapshot.PodInfo, _ *snapshot.Snapshot, candidates []framework.Candidate) ([]framework.Candidate, error) {
	return candidates, nil
}

func TestPostFilter(t *testing.T) {
	pod := func(name, cpu string, priority int32) *schedtest.PodBuilder {
		return schedtest.Pod(name).CPU(cpu).Priority(priority)
	}
	never := corev1.PreemptNever
	guard := &policyv1.PodDisruptionBudget{
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
	}
	for _, tt := range []struct {
		name    string
		pod     *schedtest.PodBuilder
		nodes   []*schedtest.NodeBuilder
		budget  *policyv1.PodDisruptionBudget
		node    string
		evicted []string
		message string
		// nominated wait for room on n1.
		nominated []*schedtest.PodBuilder
	}{
		{
			name: "the least important victim", pod: pod("p", "3", 100),
			nodes: []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "3", 5)), schedtest.Node("n2").Pods(pod("b", "3", 1))},
			node:  "n2", evicted: []string{"b on n2"},
		},
		{
			name: "no more than needed", pod: pod("p", "2", 100),
			nodes: []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "1", 3), pod("b", "2", 1), pod("c", "1", 2))},
			node:  "n1", evicted: []string{"b on n1"},
		},
		{
			name: "a budget is kept", pod: pod("p", "3", 100), budget: guard,
			nodes: []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "3", 1).Label("app", "db")), schedtest.Node("n2").Pods(pod("b", "3", 50))},
			node:  "n2", evicted: []string{"b on n2"},
		},
		{
			name: "equals stay", pod: pod("p", "3", 5),
			nodes:   []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "3", 5))},
			message: "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
		},
		{
			name: "it would not help", pod: pod("p", "30", 100),
			nodes:   []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "3", 5))},
			message: "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		{
			name: "never", pod: pod("p", "3", 100).With(func(p *corev1.Pod) { p.Spec.PreemptionPolicy = &never }),
			nodes:   []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "3", 5))},
			message: "preemption: not eligible due to preemptionPolicy=Never.",
		},
		{
			name: "room for another is not taken", pod: pod("p", "3", 100), nominated: []*schedtest.PodBuilder{pod("other", "1", 100)},
			nodes: []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "1", 5), pod("b", "1", 6))}, // one would do for p alone
			node:  "n1", evicted: []string{"b on n1", "a on n1"},
		},
		{
			name: "there is room for another alone", pod: pod("p", "3", 100), nominated: []*schedtest.PodBuilder{pod("other", "2", 100)},
			nodes:   []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "2", 5))},
			message: "preemption: 0/1 nodes are available: 1 Insufficient cpu.",
		},
		{
			name: "room is being made", pod: pod("p", "4", 100).With(func(p *corev1.Pod) { p.Status.NominatedNodeName = "n1" }),
			nodes: []*schedtest.NodeBuilder{schedtest.Node("n1").Pods(pod("a", "3", 5).With(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }))},
			node:  "n1", message: "preemption: not eligible due to a terminating pod on the nominated node.",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filters := fit{noderesources.New(noderesources.DefaultArgs(), nil, nil)}
			why := &framework.Diagnosis{AllNodes: len(tt.nodes), Rejections: map[string]*framework.Status{}}
			var infos []*snapshot.NodeInfo
			for _, n := range tt.nodes {
				info := n.Info()
				infos = append(infos, info)
				why.Rejections[info.Name()] = filters.Filter(t.Context(), nil, tt.pod.Info(), info)
			}
			w := &world{budget: tt.budget}
			for _, p := range tt.nominated {
				w.nominated = append(w.nominated, p.Info())
			}
			node, s := New(DefaultArgs(), w).PostFilter(t.Context(), filters, &framework.CycleState{}, tt.pod.Info(), snapshot.New(infos...), why)
			if node != tt.node || s.Message() != tt.message {
				t.Errorf("%q %q", node, s.Message())
			}
			if diff := cmp.Diff(tt.evicted, w.evicted); diff != "" {
				t.Error(diff)
			}
			want := ""
			if tt.evicted != nil {
				want = tt.node
			}
			if w.displaced != want {
				t.Errorf("nominations to %q were taken back, want %q", w.displaced, want)
			}
		})
	}
}

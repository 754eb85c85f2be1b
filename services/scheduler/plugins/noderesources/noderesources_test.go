package noderesources

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestFilter(t *testing.T) {
	node := func() *schedtest.NodeBuilder { // 4 CPUs, 8Gi, 110 pods
		return schedtest.Node("n").Allocatable("example.com/gpu", "2")
	}
	full := node().Allocatable("pods", "1").Pods(schedtest.Pod("a"))
	busy := node().Pods(schedtest.Pod("a").CPU("3").Memory("6Gi").Request("example.com/gpu", "1"))
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		node *schedtest.NodeBuilder
		code framework.Code
		want []string
	}{
		{"fits exactly", schedtest.Pod("p").CPU("1").Memory("2Gi").Request("example.com/gpu", "1"), busy, framework.Success, nil},
		{"no cpu left", schedtest.Pod("p").CPU("1001m"), busy, framework.Unschedulable, []string{"Insufficient cpu"}},
		{"cpu that no pod's end could give", schedtest.Pod("p").CPU("5"), busy, framework.UnschedulableAndUnresolvable, []string{"Insufficient cpu"}},
		{"nothing left", schedtest.Pod("p").CPU("2").Memory("3Gi"), busy, framework.Unschedulable, []string{"Insufficient cpu", "Insufficient memory"}},
		{"extended resource", schedtest.Pod("p").Request("example.com/gpu", "2"), busy, framework.Unschedulable, []string{"Insufficient example.com/gpu"}},
		{"unknown resource", schedtest.Pod("p").Request("example.com/fpga", "1"), node(), framework.UnschedulableAndUnresolvable, []string{"Insufficient example.com/fpga"}},
		{"storage", schedtest.Pod("p").Request("ephemeral-storage", "1Gi"), node(), framework.UnschedulableAndUnresolvable, []string{"Insufficient ephemeral-storage"}},
		{"too many pods", schedtest.Pod("p"), full, framework.Unschedulable, []string{TooManyPods}},
		{"asks for nothing", schedtest.Pod("p"), busy, framework.Success, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(DefaultArgs()).Filter(t.Context(), nil, tt.pod.Info(), tt.node.Info())
			if s.Code() != tt.code {
				t.Errorf("%v, not %v", s.Code(), tt.code)
			}
			if diff := cmp.Diff(tt.want, s.Reasons()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIgnoredResources(t *testing.T) {
	args := DefaultArgs()
	args.IgnoredResources, args.IgnoredResourceGroups = []string{"example.com/one", "cpu"}, []string{"elsewhere.com"}
	p := New(args)
	for _, tt := range []struct {
		resource corev1.ResourceName
		want     string
	}{
		{"example.com/one", ""},
		{"example.com/two", "Insufficient example.com/two"},
		{"elsewhere.com/any", ""},
		{"cpu", "Insufficient cpu"}, // extended ones only
	} {
		pod, node := schedtest.Pod("p").Request(tt.resource, "5").Info(), schedtest.Node("n")
		if s := p.Filter(t.Context(), nil, pod, node.Info()); s.Message() != tt.want {
			t.Errorf("%s: %q", tt.resource, s.Message())
		}
		helps := p.couldFit(pod, framework.Event{Resource: framework.Node, Action: framework.Add, New: node.Node()})
		if helps != (tt.want == "") {
			t.Errorf("%s: the node's coming helps: %v", tt.resource, helps)
		}
	}
}

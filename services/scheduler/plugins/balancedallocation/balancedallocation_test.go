package balancedallocation

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

func TestBalance(t *testing.T) {
	for _, tt := range []struct {
		fractions []float64
		want      int64
	}{
		{nil, 100},
		{[]float64{1}, 100},
		{[]float64{0, 0}, 100},
		{[]float64{0.5, 0.5}, 100},
		{[]float64{1, 0}, 50},
		{[]float64{0, 1}, 50},
		{[]float64{0.75, 0.25}, 75},
		{[]float64{0.5, 0.5, 0.5}, 100},
		{[]float64{1, 0, 0}, 52},   // mean 1/3, √(2/9) = 0.4714
		{[]float64{0, 0.5, 1}, 59}, // mean 1/2, √(1/6) = 0.4082
	} {
		if got := balance(tt.fractions); got != tt.want {
			t.Errorf("%v: %d, not %d", tt.fractions, got, tt.want)
		}
	}
}

// TestScore has values worked out by hand: 50 + (50 + with − without) / 2, of
// a node of 4 CPUs and 8Gi.
func TestScore(t *testing.T) {
	const gpu = "example.com/gpu"
	resources := func(names ...string) *configv1.NodeResourcesBalancedAllocationArgs {
		args := &configv1.NodeResourcesBalancedAllocationArgs{}
		for _, name := range names {
			args.Resources = append(args.Resources, configv1.ResourceSpec{Name: name, Weight: 1})
		}
		return args
	}
	for _, tt := range []struct {
		name string
		args *configv1.NodeResourcesBalancedAllocationArgs
		pod  *schedtest.PodBuilder
		node *schedtest.NodeBuilder
		want int64
	}{
		{"no change", DefaultArgs(), schedtest.Pod("p").CPU("1").Memory("2Gi"), schedtest.Node("n"), 75}, // 100, 100
		{"unbalances", DefaultArgs(), schedtest.Pod("p").CPU("4"), schedtest.Node("n"), 50},              // 50, 100
		{"balances", DefaultArgs(), schedtest.Pod("p").CPU("4"),
			schedtest.Node("n").Pods(schedtest.Pod("a").Memory("8Gi")), 100}, // 100, 50
		{"balances a little", DefaultArgs(), schedtest.Pod("p").CPU("2"),
			schedtest.Node("n").Pods(schedtest.Pod("a").Memory("8Gi")), 87}, // 75, 50
		{"what is not requested does not count", DefaultArgs(), schedtest.Pod("p").CPU("2"),
			schedtest.Node("n").Pods(schedtest.Pod("a"), schedtest.Pod("b")), 62}, // 75, 100
		{"overdrawn is full", DefaultArgs(), schedtest.Pod("p").CPU("2").Memory("4Gi"),
			schedtest.Node("n").Pods(schedtest.Pod("a").CPU("4").Memory("4Gi")), 87}, // 100, 75
		{"a resource the node has not", DefaultArgs(), schedtest.Pod("p").CPU("4"), schedtest.Node("n").Allocatable("memory", "0"), 75},
		{"three", resources("cpu", "memory", gpu), schedtest.Pod("p").Request(gpu, "2"),
			schedtest.Node("n").Allocatable(gpu, "2"), 51}, // 52, 100
		{"an extended resource that is not asked for", resources("cpu", gpu), schedtest.Pod("p").CPU("4"),
			schedtest.Node("n").Allocatable(gpu, "2"), 75},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, s := New(tt.args, nil).Score(t.Context(), nil, tt.pod.Info(), tt.node.Info())
			if got != tt.want || !s.Success() {
				t.Errorf("%d, not %d", got, tt.want)
			}
		})
	}
}

func TestPodThatRequestsNothingIsSkipped(t *testing.T) {
	for name, tt := range map[string]struct {
		pod  *schedtest.PodBuilder
		want framework.Code
	}{
		"nothing":      {schedtest.Pod("p"), framework.Skip},
		"other things": {schedtest.Pod("p").Request("example.com/gpu", "1"), framework.Skip},
		"memory":       {schedtest.Pod("p").Memory("1Gi"), framework.Success},
	} {
		if got := New(DefaultArgs(), nil).PreScore(t.Context(), nil, tt.pod.Info(), nil, snapshot.Selection{}); got.Code() != tt.want {
			t.Errorf("%s: %v", name, got.Code())
		}
	}
}

// TestScoreOfDevices: node n has four devices that stand for GPUs, of which one is
// given away, and a quarter of its CPU is used. A pod that asks for as much of both
// keeps the balance, one that asks for GPUs alone does not.
func TestScoreOfDevices(t *testing.T) {
	const gpu = "example.com/gpu"
	args := &configv1.NodeResourcesBalancedAllocationArgs{Resources: []configv1.ResourceSpec{{Name: "cpu", Weight: 1}, {Name: gpu, Weight: 1}}}
	node := schedtest.Node("n").Pods(schedtest.Pod("a").CPU("1")).Info()
	for _, tt := range []struct {
		pod  *schedtest.PodBuilder
		want int64
	}{
		{schedtest.Pod("p").CPU("1").Request(gpu, "1"), 75},
		{schedtest.Pod("p").Request(gpu, "2"), 50 + (50+75-100)/2}, // a quarter and three quarters deviate by one quarter
	} {
		p := New(args, func([]corev1.ResourceName) *devices.Stock { return schedtest.Stock("n", gpu, 4, 1) })
		state := &framework.CycleState{}
		if s := p.PreScore(t.Context(), state, tt.pod.Info(), nil, snapshot.Selection{}); !s.Success() {
			t.Fatal(s)
		}
		if got, s := p.Score(t.Context(), state, tt.pod.Info(), node); got != tt.want || !s.Success() {
			t.Errorf("%d, not %d", got, tt.want)
		}
	}
}

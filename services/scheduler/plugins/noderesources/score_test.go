package noderesources

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// TestScore has values worked out by hand. A node has 4 CPUs and 8Gi. A
// container that asks for nothing counts as 100m and 200Mi: 97 of 100 are left
// of each.
func TestScore(t *testing.T) {
	const gpu = "example.com/gpu"
	weights := func(cpu, memory int64) []configv1.ResourceSpec {
		return []configv1.ResourceSpec{{Name: "cpu", Weight: cpu}, {Name: "memory", Weight: memory}}
	}
	withGPU := append(weights(1, 1), configv1.ResourceSpec{Name: gpu, Weight: 3})
	rising := []configv1.UtilizationShapePoint{{Utilization: 0, Score: 0}, {Utilization: 100, Score: 10}}
	tent := []configv1.UtilizationShapePoint{{Utilization: 20, Score: 2}, {Utilization: 60, Score: 10}, {Utilization: 80, Score: 0}}
	half := func() *schedtest.PodBuilder { return schedtest.Pod("p").CPU("2").Memory("4Gi") }
	node := func() *schedtest.NodeBuilder { return schedtest.Node("n") }
	for _, tt := range []struct {
		name      string
		strategy  configv1.ScoringStrategyType
		resources []configv1.ResourceSpec
		shape     []configv1.UtilizationShapePoint
		pod       *schedtest.PodBuilder
		node      *schedtest.NodeBuilder
		want      int64
	}{
		{"half and half", configv1.LeastAllocated, weights(1, 1), nil, half(), node(), 50},
		{"full", configv1.LeastAllocated, weights(1, 1), nil, half(), node().Pods(schedtest.Pod("a").CPU("2").Memory("4Gi")), 0},
		{"one is overdrawn", configv1.LeastAllocated, weights(1, 1), nil, schedtest.Pod("p").CPU("5").Memory("4Gi"), node(), (0 + 50) / 2},
		{"asks for nothing, counts a little", configv1.LeastAllocated, weights(1, 1), nil, schedtest.Pod("p"), node(), (97 + 97) / 2},
		{"a resource the node has not counts neither way", configv1.LeastAllocated, weights(1, 1), nil, half(), node().Allocatable("memory", "0"), 50},
		{"no capacity at all", configv1.LeastAllocated, weights(1, 1), nil, half(), node().Allocatable("cpu", "0").Allocatable("memory", "0"), 0},
		{"weighted", configv1.LeastAllocated, weights(3, 1), nil, schedtest.Pod("p").CPU("1").Memory("8Gi"), node(), (75*3 + 0) / 4},
		{"an extended resource", configv1.LeastAllocated, withGPU, nil, half().Request(gpu, "1"), node().Allocatable(gpu, "4"), (50 + 50 + 75*3) / 5},
		{"an extended resource that is not asked for", configv1.LeastAllocated, withGPU, nil, half(), node().Allocatable(gpu, "4"), 50},
		{"storage", configv1.LeastAllocated, []configv1.ResourceSpec{{Name: "ephemeral-storage", Weight: 1}}, nil,
			schedtest.Pod("p").Request("ephemeral-storage", "3Gi"), node().Allocatable("ephemeral-storage", "4Gi"), 25},

		{"most: half and half", configv1.MostAllocated, weights(1, 1), nil, half(), node(), 50},
		{"most: weighted", configv1.MostAllocated, weights(1, 3), nil, schedtest.Pod("p").CPU("1").Memory("6Gi"), node(), (25 + 75*3) / 4},
		{"most: overdrawn is full", configv1.MostAllocated, weights(1, 1), nil, schedtest.Pod("p").CPU("5").Memory("4Gi"), node(), (100 + 50) / 2},
		{"most: no memory", configv1.MostAllocated, weights(1, 1), nil, schedtest.Pod("p").CPU("3"), node().Allocatable("memory", "0"), 75},

		{"ratio: rising", configv1.RequestedToCapacityRatio, weights(1, 1), rising, schedtest.Pod("p").CPU("1").Memory("4Gi"), node(), 38}, // 37.5 rounded
		{"ratio: what scores 0 is left out", configv1.RequestedToCapacityRatio, weights(1, 1), tent, schedtest.Pod("p").CPU("4").Memory("4Gi"), node(), 80},
		{"ratio: between points", configv1.RequestedToCapacityRatio, weights(1, 1), tent, schedtest.Pod("p").CPU("2").Memory("4Gi"), node(), 80}, // 20 + (100-20)*(50-20)/(60-20)
		{"ratio: falling", configv1.RequestedToCapacityRatio, weights(1, 1), tent, schedtest.Pod("p").CPU("2800m").Memory("5734Mi"), node(), 53}, // cpu 70 %: 50; memory 69 %: 55
		{"ratio: before the first point", configv1.RequestedToCapacityRatio, weights(1, 1), tent, schedtest.Pod("p").CPU("400m").Memory("819Mi"), node(), 20},
		{"ratio: overdrawn", configv1.RequestedToCapacityRatio, weights(1, 1), rising, schedtest.Pod("p").CPU("5").Memory("9Gi"), node(), 100},
		{"ratio: nothing scores", configv1.RequestedToCapacityRatio, weights(1, 1), tent, schedtest.Pod("p").CPU("4").Memory("8Gi"), node(), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			strategy := &configv1.ScoringStrategy{Type: tt.strategy, Resources: tt.resources}
			if tt.shape != nil {
				strategy.RequestedToCapacityRatio = &configv1.RequestedToCapacityRatioParam{Shape: tt.shape}
			}
			p := New(&configv1.NodeResourcesFitArgs{ScoringStrategy: strategy}, nil, nil)
			if got, s := p.Score(t.Context(), nil, tt.pod.Info(), tt.node.Info()); got != tt.want || !s.Success() {
				t.Errorf("%d, not %d", got, tt.want)
			}
		})
	}
}

// TestScoreOfDevices: node n has four devices that stand for GPUs, of which one is
// given away.
func TestScoreOfDevices(t *testing.T) {
	const gpu = "example.com/gpu"
	for _, tt := range []struct {
		name     string
		strategy configv1.ScoringStrategyType
		pod      *schedtest.PodBuilder
		node     *schedtest.NodeBuilder
		want     int64
	}{
		{"half of them are left", configv1.LeastAllocated, schedtest.Pod("p").Request(gpu, "1"), schedtest.Node("n"), 50},
		{"most of them are taken", configv1.MostAllocated, schedtest.Pod("p").Request(gpu, "2"), schedtest.Node("n"), 75},
		{"those that the node has itself come first", configv1.LeastAllocated, schedtest.Pod("p").Request(gpu, "1"), schedtest.Node("n").Allocatable(gpu, "10"), 90},
		{"a node without any", configv1.LeastAllocated, schedtest.Pod("p").Request(gpu, "1"), schedtest.Node("other"), 0},
		{"a pod that asks for none", configv1.LeastAllocated, schedtest.Pod("p"), schedtest.Node("n"), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := &configv1.NodeResourcesFitArgs{ScoringStrategy: &configv1.ScoringStrategy{Type: tt.strategy, Resources: []configv1.ResourceSpec{{Name: gpu, Weight: 1}}}}
			p := New(args, nil, func([]corev1.ResourceName) *devices.Stock { return schedtest.Stock("n", gpu, 4, 1) })
			state, pod, node := &framework.CycleState{}, tt.pod.Info(), tt.node.Info()
			if s := p.PreScore(t.Context(), state, pod, nil, snapshot.Selection{}); !s.Success() {
				t.Fatal(s)
			}
			if got, s := p.Score(t.Context(), state, pod, node); got != tt.want || !s.Success() {
				t.Errorf("%d, not %d", got, tt.want)
			}
		})
	}
}

package leastallocated

import (
	"testing"

	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestScore(t *testing.T) {
	for _, tt := range []struct {
		name string
		pod  *schedtest.PodBuilder
		node *schedtest.NodeBuilder
		want int64
	}{
		{"half and half", schedtest.Pod("p").CPU("2").Memory("4Gi"), schedtest.Node("n"), 50},
		{"full", schedtest.Pod("p").CPU("2").Memory("4Gi"), schedtest.Node("n").Pods(schedtest.Pod("a").CPU("2").Memory("4Gi")), 0},
		{"asks for nothing, counts a little", schedtest.Pod("p"), schedtest.Node("n"), (97 + 97) / 2},
		{"no capacity", schedtest.Pod("p"), schedtest.Node("n").Allocatable("cpu", "0").Allocatable("memory", "0"), 0},
	} {
		if got, _ := New().Score(t.Context(), nil, tt.pod.Info(), tt.node.Info()); got != tt.want {
			t.Errorf("%s: %d, not %d", tt.name, got, tt.want)
		}
	}
}

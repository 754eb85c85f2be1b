package horizontalpodautoscaler

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func TestTolerance(t *testing.T) {
	rules := func(tolerance string) *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{Tolerance: ptr.To(resource.MustParse(tolerance))}
	}
	type behavior = autoscalingv2.HorizontalPodAutoscalerBehavior
	for name, tt := range map[string]struct {
		behavior *behavior
		// ratios of usage and target: two that change nothing, two that do
		low, high, tooLow, tooHigh float64
	}{
		"a tenth by default":              {nil, 0.91, 1.09, 0.89, 1.11},
		"rules that say nothing of it":    {&behavior{ScaleUp: &autoscalingv2.HPAScalingRules{}, ScaleDown: &autoscalingv2.HPAScalingRules{}}, 0.91, 1.09, 0.89, 1.11},
		"of its own upwards":              {&behavior{ScaleUp: rules("0.02")}, 0.91, 1.01, 0.89, 1.03},
		"of its own downwards":            {&behavior{ScaleDown: rules("0.5")}, 0.51, 1.09, 0.49, 1.11},
		"none: all but the target counts": {&behavior{ScaleUp: rules("0"), ScaleDown: rules("0")}, 1, 1, 0.999, 1.001},
	} {
		t.Run(name, func(t *testing.T) {
			tolerated := toleranceOf(tt.behavior)
			for ratio, want := range map[float64]bool{tt.low: true, tt.high: true, tt.tooLow: false, tt.tooHigh: false} {
				if got := tolerated.covers(ratio); got != want {
					t.Errorf("ratio %v tolerated: %v, want %v", ratio, got, want)
				}
			}
		})
	}
}

package horizontalpodautoscaler

import (
	"context"
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// A target without pods stays so if somebody else has set it to nothing: that
// is how autoscaling is switched off. If its autoscaler has, which the
// condition ScaledToZero remembers, the autoscaler brings it back (KEP-2021).

// wakes says whether the autoscaler may bring a target back that has no pods.
func (r *round) wakes(least int32) bool {
	slept := slices.ContainsFunc(r.hpa.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScaledToZero && c.Status == corev1.ConditionTrue
	})
	return slept && (least != 0 || r.canSleep())
}

// canSleep says whether a metric tells of work while there are no pods.
func (r *round) canSleep() bool {
	return slices.ContainsFunc(r.hpa.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}

// noteZero remembers whether the target is scaled to nothing. That is stored
// before it happens: who comes after a controller that died in between must
// know that the target may be brought back.
func (r *round) noteZero(ctx context.Context, before, after int32) error {
	if before == 0 || after != 0 || !r.canSleep() {
		r.set(autoscalingv2.ScaledToZero, corev1.ConditionFalse, "NotScaledToZero", "the HPA controller did not scale the workload to zero")
		return nil
	}
	r.set(autoscalingv2.ScaledToZero, corev1.ConditionTrue, "ScaledToZero", "the HPA controller scaled the workload to zero")
	if err := r.client.UpdateStatus(ctx, r.hpa); err != nil {
		return fmt.Errorf("note that the target is scaled to zero: %w", err)
	}
	return nil
}

package horizontalpodautoscaler

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// ofPods returns a metric of the target's pods: as a server tells that is
// registered for custom metrics or, without one, as the pods expose it.
func (e *exposed) ofPods(ctx context.Context, pods []*corev1.Pod, selector string) (map[string]sample, error) {
	if !e.sources.APIs.HasCustom() {
		samples, rest := e.of(ctx, byName(running(pods)), byAnnotations)
		if len(samples) == 0 && rest != nil {
			return nil, rest
		}
		return samples, nil
	}
	told, err := e.sources.APIs.OfPods(ctx, e.hpa.Namespace, e.name, selector, e.text())
	if err != nil {
		return nil, err
	}
	samples := make(map[string]sample, len(told))
	for _, v := range told {
		samples[v.Of] = sample{value: v.Value.MilliValue(), at: v.At, window: v.Window}
	}
	return samples, nil
}

// text is the selector of the metric's series as servers read it.
func (e *exposed) text() string { return e.selector.String() }

// registeredExternal is external for a metric that a registered server tells:
// its series together.
func (r *round) registeredExternal(ctx context.Context, m *autoscalingv2.ExternalMetricSource, scale *autoscalingv1.Scale, pods []*corev1.Pod) (int32, autoscalingv2.MetricValueStatus, error) {
	e, err := r.exposed(m.Metric)
	if err != nil {
		return 0, autoscalingv2.MetricValueStatus{}, err
	}
	told, err := r.sources.APIs.External(ctx, r.hpa.Namespace, m.Metric.Name, e.text())
	if err != nil {
		return 0, autoscalingv2.MetricValueStatus{}, err
	}
	var sum float64
	for _, v := range told {
		sum += float64(v.Value.MilliValue())
	}
	return r.whole(m.Target, bounded(sum), scale, pods)
}

package kinds

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const defaultCPUUtilization = 80

func autoscalerColumns() []Column {
	spec, status := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	type hpa = autoscalingv2.HorizontalPodAutoscaler
	return columns(
		text("Reference", spec["scaleTargetRef"], func(h *hpa) string { return h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name }),
		text("Targets", spec["metrics"], metricTargets),
		text("MinPods", spec["minReplicas"], func(h *hpa) string {
			if h.Spec.MinReplicas == nil {
				return "<unset>"
			}
			return fmt.Sprint(*h.Spec.MinReplicas)
		}),
		figure("MaxPods", spec["maxReplicas"], func(h *hpa) int64 { return int64(h.Spec.MaxReplicas) }),
		figure("Replicas", status["currentReplicas"], func(h *hpa) int64 { return int64(h.Status.CurrentReplicas) }),
		ageColumn(),
	)
}

// metricTargets is "cpu: 31%/80%" for each metric.
func metricTargets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	var out []string
	for i := range h.Spec.Metrics {
		name, target := metricTarget(&h.Spec.Metrics[i])
		now := unknown
		if i < len(h.Status.CurrentMetrics) {
			if v := currentValue(&h.Status.CurrentMetrics[i], target); v != "" {
				now = v
			}
		}
		out = append(out, name+now+"/"+targetValue(target))
	}
	if len(out) == 0 {
		return none
	}
	return some(out, 2, ", ")
}

func metricTarget(m *autoscalingv2.MetricSpec) (string, *autoscalingv2.MetricTarget) {
	switch {
	case m.Resource != nil:
		return string(m.Resource.Name) + ": ", &m.Resource.Target
	case m.ContainerResource != nil:
		return string(m.ContainerResource.Name) + ": ", &m.ContainerResource.Target
	case m.Pods != nil:
		return "", &m.Pods.Target
	case m.Object != nil:
		return "", &m.Object.Target
	case m.External != nil:
		return "", &m.External.Target
	}
	return "", &autoscalingv2.MetricTarget{}
}

func targetValue(t *autoscalingv2.MetricTarget) string {
	switch {
	case t.AverageUtilization != nil:
		return fmt.Sprintf("%d%%", *t.AverageUtilization)
	case t.AverageValue != nil:
		return t.AverageValue.String()
	case t.Value != nil:
		return t.Value.String()
	}
	return "<auto>"
}

func currentValue(m *autoscalingv2.MetricStatus, target *autoscalingv2.MetricTarget) string {
	var v *autoscalingv2.MetricValueStatus
	switch {
	case m.Resource != nil:
		v = &m.Resource.Current
	case m.ContainerResource != nil:
		v = &m.ContainerResource.Current
	case m.Pods != nil:
		v = &m.Pods.Current
	case m.Object != nil:
		v = &m.Object.Current
	case m.External != nil:
		v = &m.External.Current
	default:
		return ""
	}
	quantity := func(q *resource.Quantity) string {
		if q == nil {
			return ""
		}
		return q.String()
	}
	switch {
	case target.AverageUtilization != nil && v.AverageUtilization != nil:
		return fmt.Sprintf("%d%%", *v.AverageUtilization)
	case target.AverageValue != nil:
		return quantity(v.AverageValue)
	}
	return quantity(v.Value)
}

func autoscalerStrategy() Strategy {
	return specStatus(
		func(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerSpec {
			return &h.Spec
		},
		func(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerStatus {
			return &h.Status
		},
		rules[*autoscalingv2.HorizontalPodAutoscaler]{
			defaults: defaultAutoscaler,
			validate: validateAutoscaler, validateCreate: validateScaledGroup, validateUpdate: validateScaledGroupUpdate,
			validateStatus: validateAutoscalerStatus,
		})
}

func defaultAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) {
	setPointer(&h.Spec.MinReplicas, 1)
	if len(h.Spec.Metrics) == 0 {
		h.Spec.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultCPUUtilization)}
	}
	if h.Spec.Behavior == nil {
		return
	}
	up, down := &h.Spec.Behavior.ScaleUp, &h.Spec.Behavior.ScaleDown
	if *up == nil {
		*up = &autoscalingv2.HPAScalingRules{}
	}
	if *down == nil {
		*down = &autoscalingv2.HPAScalingRules{}
	}
	setPointer(&(*up).StabilizationWindowSeconds, 0)
	defaultScaling(*up,
		autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
		autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
	defaultScaling(*down, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
}

func defaultScaling(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) {
	setPointer(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
}

func cpuMetric(utilization int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
	}}
}

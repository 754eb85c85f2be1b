package kinds

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/quantities"
)

// What autoscaling/v1 has no fields for travels in these annotations, as JSON
// of the autoscaling/v2 types.
const (
	metricsAnnotation    = "autoscaling.alpha.kubernetes.io/metrics"
	behaviorAnnotation   = "autoscaling.alpha.kubernetes.io/behavior"
	conditionsAnnotation = "autoscaling.alpha.kubernetes.io/conditions"
	currentAnnotation    = "autoscaling.alpha.kubernetes.io/current-metrics"
)

func autoscalerV1Columns() []Column {
	cols := autoscalerColumns()
	for i := range cols {
		value := cols[i].Value
		cols[i].Value = func(o Object) any {
			newer, err := newerAutoscaler(o.(*autoscalingv1.HorizontalPodAutoscaler))
			if err != nil {
				return unknown
			}
			return value(newer)
		}
	}
	return cols
}

func autoscalerV1Strategy() Strategy {
	return specStatus(
		func(h *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv1.HorizontalPodAutoscalerSpec {
			return &h.Spec
		},
		func(h *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv1.HorizontalPodAutoscalerStatus {
			return &h.Status
		},
		rules[*autoscalingv1.HorizontalPodAutoscaler]{
			defaults: func(h *autoscalingv1.HorizontalPodAutoscaler) {
				setPointer(&h.Spec.MinReplicas, 1)
				if h.Annotations[metricsAnnotation] == "" {
					setPointer(&h.Spec.TargetCPUUtilizationPercentage, defaultCPUUtilization)
				}
			},
			validate: validateAutoscalerV1,
			validateCreate: func(h *autoscalingv1.HorizontalPodAutoscaler) field.ErrorList {
				return validateScaledGroup(targetOf(h))
			},
			validateUpdate: func(h, old *autoscalingv1.HorizontalPodAutoscaler) field.ErrorList {
				return validateScaledGroupUpdate(targetOf(h), targetOf(old))
			},
			validateStatus: func(h, _ *autoscalingv1.HorizontalPodAutoscaler) field.ErrorList {
				at := field.NewPath("status")
				return rule.Join(rule.NonNegative(&h.Status.CurrentReplicas, at.Child("currentReplicas")), rule.NonNegative(&h.Status.DesiredReplicas, at.Child("desiredReplicas")))
			},
		})
}

// targetOf returns as much of the newer form of an autoscaler as says what is
// scaled.
func targetOf(h *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
	}}
}

// validateAutoscalerV1: an autoscaler must be sound as what it is stored as.
func validateAutoscalerV1(h *autoscalingv1.HorizontalPodAutoscaler) field.ErrorList {
	newer, err := newerAutoscaler(h)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations"), field.OmitValueType{}, err.Error())}
	}
	defaultAutoscaler(newer)
	return validateAutoscaler(newer)
}

// sharedAutoscalers shows autoscaling/v2 objects as autoscaling/v1.
func sharedAutoscalers() *Sharing {
	return &Sharing{
		GVR: autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"),
		Decode: func(stored Object) (Object, error) {
			h, ok := stored.(*autoscalingv2.HorizontalPodAutoscaler)
			if !ok {
				return nil, fmt.Errorf("show %T as an autoscaling/v1 HorizontalPodAutoscaler", stored)
			}
			return olderAutoscaler(h)
		},
		Encode: func(obj Object) (Object, error) {
			h, ok := obj.(*autoscalingv1.HorizontalPodAutoscaler)
			if !ok {
				return nil, fmt.Errorf("store %T as an autoscaling/v2 HorizontalPodAutoscaler", obj)
			}
			return newerAutoscaler(h)
		},
	}
}

func olderAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv1.HorizontalPodAutoscaler, error) {
	out := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: *h.ObjectMeta.DeepCopy()}
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
		MinReplicas:    h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas,
	}
	var others []autoscalingv2.MetricSpec
	for _, m := range h.Spec.Metrics {
		if utilization := cpuUtilization(&m); utilization != nil && out.Spec.TargetCPUUtilizationPercentage == nil {
			out.Spec.TargetCPUUtilizationPercentage = utilization
		} else {
			others = append(others, m)
		}
	}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas,
	}
	var current []autoscalingv2.MetricStatus
	for _, m := range h.Status.CurrentMetrics {
		if isCPUStatus(&m) && m.Resource.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
			if equality.Semantic.DeepEqual(m, cpuStatus(m.Resource.Current.AverageUtilization)) {
				continue // the field says it all
			}
		}
		current = append(current, m)
	}
	for _, a := range []struct {
		key   string
		value any
		set   bool
	}{
		{metricsAnnotation, others, len(others) > 0},
		{behaviorAnnotation, h.Spec.Behavior, h.Spec.Behavior != nil},
		{conditionsAnnotation, h.Status.Conditions, len(h.Status.Conditions) > 0},
		{currentAnnotation, current, len(current) > 0},
	} {
		if !a.set {
			continue
		}
		text, err := json.Marshal(a.value)
		if err != nil {
			return nil, fmt.Errorf("annotate the autoscaler %s with %s: %w", h.Name, a.key, err)
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[a.key] = string(text)
	}
	return out, nil
}

func cpuUtilization(m *autoscalingv2.MetricSpec) *int32 {
	if m.Type != autoscalingv2.ResourceMetricSourceType || m.Resource == nil || m.Resource.Name != corev1.ResourceCPU {
		return nil
	}
	return m.Resource.Target.AverageUtilization
}

func newerAutoscaler(h *autoscalingv1.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	out := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: *h.ObjectMeta.DeepCopy()}
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
		MinReplicas:    h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas,
	}
	if u := h.Spec.TargetCPUUtilizationPercentage; u != nil {
		out.Spec.Metrics = []autoscalingv2.MetricSpec{cpuMetric(*u)}
	}
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas,
	}
	var others []autoscalingv2.MetricSpec
	annotations := maps.Clone(h.Annotations)
	for key, into := range map[string]any{
		metricsAnnotation: &others, behaviorAnnotation: &out.Spec.Behavior,
		conditionsAnnotation: &out.Status.Conditions, currentAnnotation: &out.Status.CurrentMetrics,
	} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		if err := quantities.Unmarshal([]byte(text), into); err != nil {
			return nil, fmt.Errorf("read the annotation %s of the autoscaler %s: %w", key, h.Name, err)
		}
		delete(annotations, key)
	}
	out.Annotations = annotations
	out.Spec.Metrics = append(out.Spec.Metrics, others...)
	setCPUStatus(&out.Status, h.Status.CurrentCPUUtilizationPercentage)
	return out, nil
}

// setCPUStatus adds what autoscaling/v1 says of the use of CPU.
func setCPUStatus(status *autoscalingv2.HorizontalPodAutoscalerStatus, utilization *int32) {
	if utilization == nil {
		return
	}
	for i := range status.CurrentMetrics {
		if m := &status.CurrentMetrics[i]; isCPUStatus(m) {
			m.Resource.Current.AverageUtilization = utilization
			return
		}
	}
	status.CurrentMetrics = append(status.CurrentMetrics, cpuStatus(utilization))
}

func isCPUStatus(m *autoscalingv2.MetricStatus) bool {
	return m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU
}

func cpuStatus(utilization *int32) autoscalingv2.MetricStatus {
	return autoscalingv2.MetricStatus{
		Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricStatus{
			Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: utilization},
		},
	}
}

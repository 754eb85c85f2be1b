package horizontalpodautoscaler_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler"
)

// sleeper is an autoscaler of the Deployment "web" down to nothing, by what
// the Service "web" tells of something outside; without a stabilization window.
func sleeper(metrics ...autoscalingv2.MetricSpec) *autoscalingv2.HorizontalPodAutoscaler {
	h := autoscaler("web", metrics[0])
	h.Annotations = map[string]string{horizontalpodautoscaler.AnnotationExternal: "web"}
	h.Spec.MinReplicas, h.Spec.Metrics = ptr.To[int32](0), metrics
	percent := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}
	h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: ptr.To[int32](0), Policies: []autoscalingv2.HPAScalingPolicy{percent},
	}}
	return h
}

// TestToNothing has an exporter that tells of no work.
func TestToNothing(t *testing.T) {
	c := start(t, 100, exposing{"web-a": "jobs 0\n", "web-b": "jobs 0\n"}, exposes())
	c.Apply(sleeper(external(total("10"))))
	controllertest.Await(c, "no replicas", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == 0 })
	// Whoever sees that can see who has done it.
	h := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := c.Get(t.Context(), "default", "web", h); err != nil || !strings.Contains(conditions(h), "ScaledToZero=True") {
		t.Errorf("there are no replicas, and the conditions are %s (%v)", conditions(h), err)
	}
	const want = "AbleToScale=True/SucceededRescale ScalingActive=True/ValidMetricFound ScalingLimited=False/DesiredWithinRange ScaledToZero=True/ScaledToZero"
	controllertest.Await(c, "the conditions", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
		return conditions(all[0]) == want && all[0].Status.DesiredReplicas == 0
	})
}

// TestFromNothing starts with a Deployment of no replicas, whose autoscaler has
// scaled it to nothing, or not. Its exporter tells of 40 jobs.
func TestFromNothing(t *testing.T) {
	const slept, awake = corev1.ConditionTrue, corev1.ConditionFalse
	for name, tt := range map[string]struct {
		slept  corev1.ConditionStatus // empty: nothing is known
		change func(*autoscalingv2.HorizontalPodAutoscaler)
		want   int32
	}{
		"it is brought back for work": {slept, func(*autoscalingv2.HorizontalPodAutoscaler) {}, 4},
		"as far as its policies allow at once": {slept, func(h *autoscalingv2.HorizontalPodAutoscaler) {
			*h.Spec.Metrics[0].External.Target.Value = *total("5").Value
		}, 4},
		"not if somebody else has set it to nothing":     {awake, func(*autoscalingv2.HorizontalPodAutoscaler) {}, 0},
		"nor if nobody knows who has":                    {"", func(*autoscalingv2.HorizontalPodAutoscaler) {}, 0},
		"to its minimum, which it may have by now":       {slept, func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.MinReplicas = ptr.To[int32](5) }, 5},
		"but a minimum alone does not switch scaling on": {awake, func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.MinReplicas = ptr.To[int32](5) }, 0},
		"for any work at all": {slept, func(h *autoscalingv2.HorizontalPodAutoscaler) {
			*h.Spec.Metrics[0].External.Target.Value = *total("1k").Value
		}, 1},
		"by an average of no pods: as many as it asks for": {slept, func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.Metrics[0].External.Target = each("20") }, 2},
		"in spite of metrics that only pods have": {slept, func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Spec.Metrics = append(h.Spec.Metrics, cpu(50))
		}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, 0, exposing{"web-a": "jobs 40\n"}, exposes())
			web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
			controllertest.Change(c, web, "", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0) })
			h := sleeper(external(total("10")))
			tt.change(h)
			if tt.slept != "" {
				h.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScaledToZero, Status: tt.slept, LastTransitionTime: metav1.Now()}}
			}
			wake(t, c, h)
			controllertest.Await(c, "the replicas", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == tt.want })
			controllertest.Await(c, "the conditions", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
				scaled, active := false, true
				for _, cond := range all[0].Status.Conditions {
					scaled = scaled || cond.Type == autoscalingv2.ScaledToZero && cond.Status == slept
					active = active && cond.Reason != "ScalingDisabled"
				}
				return len(all[0].Status.Conditions) > 1 && active == (tt.want > 0) && !scaled
			})
			steps := slices.DeleteFunc(c.Events.All(), func(e string) bool { return !strings.Contains(e, "SuccessfulRescale") })
			if len(steps) != min(int(tt.want), 1) {
				t.Errorf("it was brought back in the steps %q", steps)
			}
		})
	}
}

// wake makes an autoscaler with a status: of a target that does not exist at
// first, so that it is not looked at without.
func wake(t *testing.T, c *controllertest.Cluster, h *autoscalingv2.HorizontalPodAutoscaler) {
	t.Helper()
	target, status := h.Spec.ScaleTargetRef.Name, h.Status
	h.Spec.ScaleTargetRef.Name = "later"
	c.Apply(h)
	controllertest.Await(c, "a look", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool { return len(all[0].Status.Conditions) == 1 })
	controllertest.Change(c, h, "status", func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Status.Conditions = status.Conditions })
	controllertest.Change(c, h, "", func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.ScaleTargetRef.Name = target })
}

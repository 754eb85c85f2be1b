package horizontalpodautoscaler_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/exposition"
)

func queue(selector *metav1.LabelSelector) autoscalingv2.MetricIdentifier {
	return autoscalingv2.MetricIdentifier{Name: "jobs", Selector: selector}
}

func total(value string) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: ptr.To(resource.MustParse(value))}
}

func each(value string) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse(value))}
}

func ofPods(id autoscalingv2.MetricIdentifier, target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: id, Target: target}}
}

func ofObject(kind, name string, target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
		DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: kind, Name: name}, Metric: queue(nil), Target: target,
	}}
}

func external(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: queue(nil), Target: target}}
}

// TestScalesByWhatIsExposed starts with 2 pods, each of which exposes jobs of
// two queues.
func TestScalesByWhatIsExposed(t *testing.T) {
	full := "# TYPE jobs gauge\njobs{queue=\"mail\"} 10\njobs{queue=\"print\"} 30\n"
	both := exposing{"web-a": full, "web-b": full}
	one := exposing{"web-a": full}
	mail := &metav1.LabelSelector{MatchLabels: map[string]string{"queue": "mail"}}
	for name, tt := range map[string]struct {
		pages   exposing
		metrics []autoscalingv2.MetricSpec
		want    int32
		event   string // the size and the metric
	}{
		"the average of the pods":               {both, []autoscalingv2.MetricSpec{ofPods(queue(nil), each("20"))}, 4, "New size: 4; reason: pods metric jobs above target"},
		"of the series that labels select":      {both, []autoscalingv2.MetricSpec{ofPods(queue(mail), each("5"))}, 4, "New size: 4; reason: pods metric jobs above target"},
		"a pod without the metric counts as 0":  {one, []autoscalingv2.MetricSpec{ofPods(queue(nil), each("10"))}, 4, "New size: 4; reason: pods metric jobs above target"},
		"a Service's pods together":             {both, []autoscalingv2.MetricSpec{ofObject("Service", "web", total("40"))}, 4, "New size: 4; reason: Service metric jobs above target"},
		"a Service's pods, a share for each":    {both, []autoscalingv2.MetricSpec{ofObject("Service", "web", each("20"))}, 4, "New size: 4; reason: Service metric jobs above target"},
		"what is known of a Service is enough":  {one, []autoscalingv2.MetricSpec{ofObject("Service", "web", each("10"))}, 4, "New size: 4; reason: Service metric jobs above target"},
		"one pod's metric":                      {both, []autoscalingv2.MetricSpec{ofObject("Pod", "web-b", total("20"))}, 4, "New size: 4; reason: Pod metric jobs above target"},
		"something outside, as one pod tells":   {both, []autoscalingv2.MetricSpec{external(total("20"))}, 4, "New size: 4; reason: external metric jobs(<none>) above target"},
		"a share of something outside":          {both, []autoscalingv2.MetricSpec{external(each("10"))}, 4, "New size: 4; reason: external metric jobs(<none>) above target"},
		"the one that asks for most":            {both, []autoscalingv2.MetricSpec{ofPods(queue(nil), each("30")), ofPods(queue(mail), each("5")), external(total("40"))}, 4, "New size: 4; reason: pods metric jobs above target"},
		"in spite of one that is not there":     {both, []autoscalingv2.MetricSpec{ofObject("Pod", "web-c", total("20")), ofPods(queue(nil), each("20"))}, 4, "New size: 4; reason: pods metric jobs above target"},
		"together with what they use of a node": {both, []autoscalingv2.MetricSpec{cpu(80), ofPods(queue(nil), each("20"))}, 4, "New size: 4; reason: pods metric jobs above target"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, 100, tt.pages, exposes())
			h := autoscaler("web", tt.metrics[0])
			h.Annotations = map[string]string{horizontalpodautoscaler.AnnotationExternal: "web"}
			h.Spec.Metrics = tt.metrics
			c.Apply(h)
			controllertest.Await(c, "other replicas", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == tt.want })
			controllertest.Await(c, "the status", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
				return all[0].Status.DesiredReplicas == tt.want
			})
			if all := strings.Join(c.Events.All(), "\n"); !strings.Contains(all, tt.event) {
				t.Errorf("events\n%s\nwant %q", all, tt.event)
			}
		})
	}
}

// TestLeavesTheScaleAlone starts with 2 pods, too, of which one or all expose
// nothing; what is known asks for fewer.
func TestLeavesTheScaleAlone(t *testing.T) {
	one := exposing{"web-a": "jobs 1\n"}
	counter := exposing{"web-a": "# TYPE jobs_total counter\njobs_total 1\n", "web-b": "# TYPE jobs_total counter\njobs_total 1\n"}
	const able = "AbleToScale=True/SucceededGetScale "
	for name, tt := range map[string]struct {
		pages       exposing
		annotations map[string]string // of the Service
		metrics     []autoscalingv2.MetricSpec
		want        string // the conditions
		message     string // of ScalingActive
	}{
		"a pod without the metric has what it should": {one, exposes(), []autoscalingv2.MetricSpec{ofPods(queue(nil), each("100"))},
			"AbleToScale=True/ReadyForNewScale ScalingActive=True/ValidMetricFound ScalingLimited=False/DesiredWithinRange", "the HPA was able to successfully calculate a replica count from pods metric jobs"},
		"a Service of which not all is known": {one, exposes(), []autoscalingv2.MetricSpec{ofObject("Service", "web", total("100"))},
			able + "ScalingActive=False/FailedGetObjectMetric", "the HPA was unable to compute the replica count: unable to get metric jobs on Service default/web: pod web-b: no page at"},
		"one of two metrics is not there": {one, exposes(), []autoscalingv2.MetricSpec{ofObject("Pod", "web-a", total("100")), ofObject("Pod", "web-c", total("1"))},
			able + "ScalingActive=False/FailedGetObjectMetric", `the HPA was unable to compute the replica count: unable to get metric jobs on Pod default/web-c: pods "web-c" not found`},
		"a counter that was seen once": {counter, exposes(), []autoscalingv2.MetricSpec{ofPods(queue(nil), each("100"))},
			able + "ScalingActive=False/FailedGetPodsMetric", "the HPA was unable to compute the replica count: unable to get metric jobs: pod web-a: it is a counter, whose rate is known from the second look on, after 15s"},
		"a Service that exposes nothing": {one, nil, []autoscalingv2.MetricSpec{ofObject("Service", "web", total("1"))},
			able + "ScalingActive=False/FailedGetObjectMetric", "the HPA was unable to compute the replica count: unable to get metric jobs on Service default/web: the Service exposes no metrics: it has no annotation prometheus.io/scrape"},
		"nothing outside that is told of": {one, nil, []autoscalingv2.MetricSpec{external(total("1"))},
			able + "ScalingActive=False/FailedGetExternalMetric", "the HPA was unable to compute the replica count: unable to get external metric default/jobs/<none>: service web: the Service exposes no metrics"},
		"another port": {one, map[string]string{exposition.AnnotationScrape: "true"}, []autoscalingv2.MetricSpec{ofObject("Service", "web", total("1"))},
			able + "ScalingActive=False/FailedGetObjectMetric", "the HPA was unable to compute the replica count: unable to get metric jobs on Service default/web: pod web-a: no page at {Port:80 "},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, 100, tt.pages, tt.annotations)
			h := autoscaler("web", tt.metrics[0])
			h.Annotations = map[string]string{horizontalpodautoscaler.AnnotationExternal: "web"}
			h.Spec.Metrics = tt.metrics
			c.Apply(h)
			got := controllertest.Await(c, "conditions", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
				return len(all) == 1 && conditions(all[0]) == tt.want
			})[0]
			if message := got.Status.Conditions[1].Message; !strings.HasPrefix(message, tt.message) {
				t.Errorf("message %q, want %q", message, tt.message)
			}
			controllertest.Await(c, "the replicas left alone", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == 2 })
		})
	}
}

package horizontalpodautoscaler_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/exposition"
)

// burning makes every pod use so many thousandths of a CPU; 0: nobody knows.
type burning struct{ milli atomic.Int64 }

func (b *burning) Of(_ context.Context, pods []*corev1.Pod) (map[string]*metricsv1beta1.PodMetrics, error) {
	all := make(map[string]*metricsv1beta1.PodMetrics)
	for _, pod := range pods {
		if n := b.milli.Load(); n > 0 {
			all[pod.Name] = &metricsv1beta1.PodMetrics{Timestamp: metav1.Now(), Window: metav1.Duration{Duration: time.Second}, Containers: []metricsv1beta1.ContainerMetrics{{
				Name: "c", Usage: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(n, resource.DecimalSI)},
			}}}
		}
	}
	return all, nil
}

// exposing is what pods expose, by their names. Its pages are for those who
// know the port.
type exposing map[string]string

func (e exposing) Read(_ context.Context, pod *corev1.Pod, at exposition.Endpoint) (*exposition.Page, time.Time, error) {
	text, ok := e[pod.Name]
	if !ok || at != (exposition.Endpoint{Port: 9102, Path: "/metrics"}) {
		return nil, time.Time{}, fmt.Errorf("no page at %+v", at)
	}
	page, err := exposition.Parse([]byte(text))
	return page, time.Now(), err
}

// exposes are the annotations of pods and Services with metrics.
func exposes() map[string]string {
	return map[string]string{exposition.AnnotationScrape: "true", exposition.AnnotationPort: "9102"}
}

// start runs the controller over a Deployment of 2 pods that each request a
// tenth of a CPU and have run for long, and a Service in front of them.
func start(t *testing.T, milli int64, pages exposing, service map[string]string) *controllertest.Cluster {
	return startWith(t, milli, pages, service, func(*controllertest.Cluster, horizontalpodautoscaler.Inputs, *horizontalpodautoscaler.Sources) {})
}

// startWith is start with other sources.
func startWith(t *testing.T, milli int64, pages exposing, service map[string]string, change func(*controllertest.Cluster, horizontalpodautoscaler.Inputs, *horizontalpodautoscaler.Sources)) *controllertest.Cluster {
	c := controllertest.New(t)
	b := &burning{}
	b.milli.Store(milli)
	sources := horizontalpodautoscaler.Sources{Figures: b, Pages: pages}
	pods, err := client.InformerFor[*corev1.Pod](c.Deps.Informers, nil)
	if err != nil {
		t.Fatal(err)
	}
	services, err := client.InformerFor[*corev1.Service](c.Deps.Informers, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 3)
	pods.AddHandler(client.Handler[*corev1.Pod]{OnUpdate: func(_, p *corev1.Pod) { seen <- p.Name }})
	services.AddHandler(client.Handler[*corev1.Service]{OnAdd: func(s *corev1.Service) {
		if s.Name == "web" {
			seen <- s.Name
		}
	}})
	c.Start(c.Controller(horizontalpodautoscaler.New(c.Deps, func(in horizontalpodautoscaler.Inputs) horizontalpodautoscaler.Sources {
		change(c, in, &sources)
		return sources
	})))
	template := controllertest.Template("web", "web:1")
	template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	c.Apply(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](2), Selector: controllertest.Selector("web"), Template: template,
	}})
	c.Apply(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: service}, Spec: corev1.ServiceSpec{
		Selector: template.Labels, Ports: []corev1.ServicePort{{Port: 80}},
	}})
	for i, name := range []string{"web-a", "web-b"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: template.Labels, Annotations: exposes()}, Spec: template.Spec}
		c.Apply(p)
		long := metav1.NewTime(time.Now().Add(-time.Hour))
		controllertest.Change(c, p, "status", func(p *corev1.Pod) {
			p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &long
			p.Status.PodIP = fmt.Sprint("10.0.0.", i+1)
			p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long}}
		})
	}
	for range 3 { // the controller sees them before it is asked about them
		<-seen
	}
	return c
}

func autoscaler(target string, metric autoscalingv2.MetricSpec) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: target},
		MaxReplicas:    10, Metrics: []autoscalingv2.MetricSpec{metric},
	}}
}

func cpu(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

// conditions is "Type=Status/Reason" of all conditions.
func conditions(h *autoscalingv2.HorizontalPodAutoscaler) string {
	var all []string
	for _, c := range h.Status.Conditions {
		all = append(all, string(c.Type)+"="+string(c.Status)+"/"+c.Reason)
	}
	return strings.Join(all, " ")
}

func TestScalesByUsage(t *testing.T) {
	c := start(t, 100, nil, nil)
	c.Apply(autoscaler("web", cpu(50)))
	controllertest.Await(c, "four replicas", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == 4 })
	h := controllertest.Await(c, "the status", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool { return all[0].Status.DesiredReplicas == 4 })[0]
	want := "AbleToScale=True/SucceededRescale ScalingActive=True/ValidMetricFound ScalingLimited=False/DesiredWithinRange ScaledToZero=False/NotScaledToZero"
	if got := conditions(h); got != want {
		t.Errorf("conditions %s, want %s", got, want)
	}
	if s := h.Status; s.CurrentReplicas != 2 || s.LastScaleTime == nil || *s.CurrentMetrics[0].Resource.Current.AverageUtilization != 100 || s.CurrentMetrics[0].Resource.Current.AverageValue.String() != "100m" {
		t.Errorf("status %+v", s)
	}
	for _, e := range c.Events.All() {
		if e == "Normal SuccessfulRescale web: New size: 4; reason: cpu resource utilization (percentage of request) above target" {
			return
		}
	}
	t.Errorf("events %q", c.Events.All())
}

func TestSaysWhyItDoesNotScale(t *testing.T) {
	value := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("1"))}
	requests := autoscalingv2.MetricIdentifier{Name: "requests"}
	const able = "AbleToScale=True/SucceededGetScale "
	for name, tt := range map[string]struct {
		milli   int64
		hpa     *autoscalingv2.HorizontalPodAutoscaler
		want    string
		message string // of the last condition
	}{
		"no target": {100, autoscaler("missing", cpu(50)), "AbleToScale=False/FailedGetScale",
			`the HPA controller was unable to get the target's current scale: deployments.apps "missing" not found`},
		"no figures": {0, autoscaler("web", cpu(50)), able + "ScalingActive=False/FailedGetResourceMetric",
			"the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"},
		"no request": {100, autoscaler("web", autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceMemory, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)},
		}}), able + "ScalingActive=False/FailedGetResourceMetric", "the HPA was unable to compute the replica count: failed to get memory utilization: missing request for memory in container c of Pod web-"},
		"no such container": {100, autoscaler("web", autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
			Name: corev1.ResourceCPU, Container: "x", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)},
		}}), able + "ScalingActive=False/FailedGetContainerResourceMetric", "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: container x not present in metrics for pod default/web-"},
		"pods without the page": {100, autoscaler("web", autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: requests, Target: value}}),
			able + "ScalingActive=False/FailedGetPodsMetric", "the HPA was unable to compute the replica count: unable to get metric requests: pod web-a: no page at"},
		"no such object": {100, autoscaler("web", autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Service", Name: "none"}, Metric: requests, Target: value,
		}}), able + "ScalingActive=False/FailedGetObjectMetric", `the HPA was unable to compute the replica count: unable to get metric requests on Service default/none: services "none" not found`},
		"nobody tells of other kinds": {100, autoscaler("web", autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "web"}, Metric: requests, Target: value,
		}}), able + "ScalingActive=False/FailedGetObjectMetric", "the HPA was unable to compute the replica count: unable to get metric requests on Ingress default/web: only the core kinds Service and Pod expose metrics"},
		"nobody serves external metrics": {100, autoscaler("web", autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: requests, Target: value}}),
			able + "ScalingActive=False/FailedGetExternalMetric", "the HPA was unable to compute the replica count: unable to get external metric default/requests/<none>: no external metrics API (external.metrics.k8s.io) is registered, and"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, tt.milli, nil, nil)
			c.Apply(tt.hpa)
			h := controllertest.Await(c, "conditions", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
				return len(all) == 1 && conditions(all[0]) == tt.want
			})[0]
			if got := h.Status.Conditions[len(h.Status.Conditions)-1].Message; !strings.HasPrefix(got, tt.message) {
				t.Errorf("message %q, want %q", got, tt.message)
			}
			controllertest.Await(c, "the replicas left alone", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == 2 })
		})
	}
}

// TestBoundsAndOff starts with 2 pods that use what they should: 100 % of their
// requests.
func TestBoundsAndOff(t *testing.T) {
	for name, tt := range map[string]struct {
		replicas int32 // of the Deployment
		change   func(*autoscalingv2.HorizontalPodAutoscalerSpec)
		want     int32
		status   string // the conditions
	}{
		"above the maximum, whatever the metrics say": {8, func(s *autoscalingv2.HorizontalPodAutoscalerSpec) { s.MaxReplicas = 5 }, 5, "AbleToScale=True/SucceededRescale ScaledToZero=False/NotScaledToZero"},
		"below the minimum, whatever the metrics say": {2, func(s *autoscalingv2.HorizontalPodAutoscalerSpec) { s.MinReplicas = ptr.To[int32](3) }, 3, "AbleToScale=True/SucceededRescale ScaledToZero=False/NotScaledToZero"},
		"set to nothing, it stays so":                 {0, func(*autoscalingv2.HorizontalPodAutoscalerSpec) {}, 0, "AbleToScale=True/SucceededGetScale ScalingActive=False/ScalingDisabled"},
		"without metrics, by CPU: 80 %": {2, func(s *autoscalingv2.HorizontalPodAutoscalerSpec) { s.Metrics = nil }, 3,
			"AbleToScale=True/SucceededRescale ScalingActive=True/ValidMetricFound ScalingLimited=False/DesiredWithinRange ScaledToZero=False/NotScaledToZero"},
		"by one container": {2, func(s *autoscalingv2.HorizontalPodAutoscalerSpec) {
			s.Metrics[0] = autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
				Name: corev1.ResourceCPU, Container: "c", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)},
			}}
		}, 4, "AbleToScale=True/SucceededRescale ScalingActive=True/ValidMetricFound ScalingLimited=False/DesiredWithinRange ScaledToZero=False/NotScaledToZero"},
		"by an amount": {2, func(s *autoscalingv2.HorizontalPodAutoscalerSpec) {
			s.Metrics[0].Resource.Target = autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("50m"))}
		}, 4, "AbleToScale=True/SucceededRescale ScalingActive=True/ValidMetricFound ScalingLimited=False/DesiredWithinRange ScaledToZero=False/NotScaledToZero"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, 100, nil, nil)
			web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
			controllertest.Change(c, web, "", func(d *appsv1.Deployment) { d.Spec.Replicas = &tt.replicas })
			h := autoscaler("web", cpu(100))
			tt.change(&h.Spec)
			c.Apply(h)
			controllertest.Await(c, "the conditions", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool { return conditions(all[0]) == tt.status })
			controllertest.Await(c, "the replicas", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == tt.want })
		})
	}
}

func TestTwoAutoscalersOfOneWorkload(t *testing.T) {
	c := start(t, 100, nil, nil)
	first, second := autoscaler("web", cpu(100)), autoscaler("web", cpu(50))
	second.Name = "web-too"
	c.Apply(first)
	controllertest.Await(c, "the first at work", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool { return all[0].Status.DesiredReplicas == 2 })
	c.Apply(second)
	const want = "AbleToScale=True/SucceededGetScale ScalingActive=False/AmbiguousSelector"
	controllertest.Await(c, "the second refused", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
		return len(all) == 2 && conditions(all[1]) == want
	})
	controllertest.Await(c, "the replicas left alone", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == 2 })
}

func TestTargetsWithoutAScale(t *testing.T) {
	c := start(t, 100, nil, nil)
	h := autoscaler("web", cpu(50))
	h.Spec.ScaleTargetRef.Kind = "DaemonSet"
	c.Apply(h)
	got := controllertest.Await(c, "the refusal", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool { return len(all[0].Status.Conditions) == 1 })[0]
	if cond := got.Status.Conditions[0]; cond.Reason != "FailedGetScale" || !strings.HasSuffix(cond.Message, "daemonsets.apps does not implement the scale subresource") {
		t.Errorf("condition %+v", cond)
	}
}

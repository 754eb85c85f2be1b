package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"math"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/backends"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/exposition"
	"navarch.dev/navarch/services/controller/podset"
)

// AnnotationExternal of an autoscaler names the Service of its namespace that
// exposes its external metrics.
const AnnotationExternal = "autoscaling.navarch.dev/external-metrics"

// ofPods returns how many pods a metric of the target's pods asks for, and
// what it is now on average.
func (r *round) ofPods(ctx context.Context, m *autoscalingv2.PodsMetricSource, scale *autoscalingv1.Scale, pods []*corev1.Pod) (int32, autoscalingv2.MetricValueStatus, error) {
	var value autoscalingv2.MetricValueStatus
	current, selector := scale.Spec.Replicas, scale.Status.Selector
	wrap := func(err error) (int32, autoscalingv2.MetricValueStatus, error) {
		return 0, value, fmt.Errorf("unable to get metric %s: %w", m.Metric.Name, err)
	}
	e, err := r.exposed(m.Metric)
	switch {
	case err != nil:
		return wrap(err)
	case m.Target.AverageValue == nil:
		return wrap(errNoTarget)
	case len(pods) == 0:
		return wrap(errNoPods)
	}
	samples, err := e.ofPods(ctx, pods, selector)
	if err != nil {
		return wrap(err)
	}
	q, err := ask(current, toleranceOf(r.hpa.Spec.Behavior), group(pods, samples, "", r.now), samples)
	if err != nil {
		return wrap(err)
	}
	value.AverageValue = resource.NewMilliQuantity(average(q.usage), resource.DecimalSI)
	n, err := q.perPod(m.Target.AverageValue.MilliValue())
	return n, value, err
}

// running returns the pods that can be asked.
func running(pods []*corev1.Pod) []*corev1.Pod {
	var all []*corev1.Pod
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning {
			all = append(all, pod)
		}
	}
	return all
}

// ofObject returns how many pods a metric of an object asks for, and what it is
// now.
func (r *round) ofObject(ctx context.Context, o *autoscalingv2.ObjectMetricSource, scale *autoscalingv1.Scale, pods []*corev1.Pod) (int32, autoscalingv2.MetricValueStatus, error) {
	fail := func(err error) (int32, autoscalingv2.MetricValueStatus, error) {
		at := o.DescribedObject
		return 0, autoscalingv2.MetricValueStatus{}, fmt.Errorf("unable to get metric %s on %s %s/%s: %w", o.Metric.Name, at.Kind, r.hpa.Namespace, at.Name, err)
	}
	e, err := r.exposed(o.Metric)
	if err != nil {
		return fail(err)
	}
	if r.sources.APIs.HasCustom() {
		told, err := r.sources.APIs.OfObject(ctx, r.hpa.Namespace, o.DescribedObject, o.Metric.Name, e.text())
		if err != nil {
			return fail(err)
		}
		n, value, err := r.whole(o.Target, told.Value.MilliValue(), scale, pods)
		if err != nil {
			return fail(err)
		}
		return n, value, nil
	}
	found, from, err := r.described(o.DescribedObject)
	if err != nil {
		return fail(err)
	}
	samples, rest := e.of(ctx, byName(found), from)
	if len(samples) == 0 {
		return fail(rest)
	}
	n, value, err := r.whole(o.Target, sumOf(samples), scale, pods)
	switch {
	case err != nil:
		return fail(err)
	case rest != nil && n < scale.Spec.Replicas:
		// What is known is the least that it can be, and no reason to shrink.
		return fail(rest)
	}
	return n, value, nil
}

// described returns the pods whose metrics together are an object's, and which
// page of each to read.
func (r *round) described(o autoscalingv2.CrossVersionObjectReference) ([]*corev1.Pod, source, error) {
	switch {
	case o.APIVersion != "" && o.APIVersion != "v1":
	case o.Kind == "Service":
		return r.behind(o.Name)
	case o.Kind == "Pod":
		pod, ok := r.pods.Get(r.hpa.Namespace, o.Name)
		if !ok {
			return nil, nil, fmt.Errorf("pods %q not found", o.Name)
		}
		return []*corev1.Pod{pod}, byAnnotations, nil
	}
	return nil, nil, errors.New("only the core kinds Service and Pod expose metrics, and no custom metrics API (custom.metrics.k8s.io) is registered that could tell those of others")
}

// behind returns the ready pods behind a Service, and which page of each its
// annotations name.
func (r *round) behind(service string) ([]*corev1.Pod, source, error) {
	s, ok := r.backends.Services.Get(r.hpa.Namespace, service)
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("services %q not found", service)
	case !backends.HasPods(s):
		return nil, nil, errors.New("the Service selects no pods")
	case s.Annotations[exposition.AnnotationScrape] != "true":
		return nil, nil, fmt.Errorf("the Service %w", exposition.ErrNotExposed)
	}
	var ready []*corev1.Pod
	for _, pod := range running(r.backends.Of(s)) {
		if podset.IsReady(pod) {
			ready = append(ready, pod)
		}
	}
	if len(ready) == 0 {
		return nil, nil, errors.New("no pod behind the Service is ready")
	}
	return ready, func(pod *corev1.Pod) (exposition.Endpoint, error) {
		var port int32
		for _, p := range backends.Ports(s, pod) {
			if p.Service.Protocol == corev1.ProtocolTCP || p.Service.Protocol == "" {
				port = p.Number
				break
			}
		}
		return exposition.EndpointOf(s.Annotations, port)
	}, nil
}

// external returns how many pods a metric of something outside asks for, and
// what it is now. A Service tells it; its pods, if there are several, tell the
// same, and the first that answers is believed.
func (r *round) external(ctx context.Context, m *autoscalingv2.ExternalMetricSource, scale *autoscalingv1.Scale, pods []*corev1.Pod) (int32, autoscalingv2.MetricValueStatus, error) {
	fail := func(err error) (int32, autoscalingv2.MetricValueStatus, error) {
		return 0, autoscalingv2.MetricValueStatus{}, fmt.Errorf("unable to get external metric %s/%s/%s: %w", r.hpa.Namespace, m.Metric.Name, metav1.FormatLabelSelector(m.Metric.Selector), err)
	}
	service, ok := r.hpa.Annotations[AnnotationExternal]
	if !ok && r.sources.APIs.HasExternal() {
		n, value, err := r.registeredExternal(ctx, m, scale, pods)
		if err != nil {
			return fail(err)
		}
		return n, value, nil
	}
	if !ok {
		return fail(fmt.Errorf("no external metrics API (external.metrics.k8s.io) is registered, and the HorizontalPodAutoscaler has no annotation %s that names a Service which exposes the metric", AnnotationExternal))
	}
	e, err := r.exposed(m.Metric)
	if err != nil {
		return fail(err)
	}
	tellers, from, err := r.behind(service)
	if err != nil {
		return fail(fmt.Errorf("service %s: %w", service, err))
	}
	tellers = byName(tellers)
	samples, rest := e.of(ctx, tellers, from)
	for _, pod := range tellers {
		if s, ok := samples[pod.Name]; ok {
			n, value, err := r.whole(m.Target, s.value, scale, pods)
			if err != nil {
				return fail(err)
			}
			return n, value, nil
		}
	}
	return fail(fmt.Errorf("service %s: %w", service, rest))
}

// whole returns how many pods a target asks for of which a metric is as it is
// for all of them together, and the metric as the status shows it.
func (r *round) whole(target autoscalingv2.MetricTarget, usage int64, scale *autoscalingv1.Scale, pods []*corev1.Pod) (int32, autoscalingv2.MetricValueStatus, error) {
	tolerated := toleranceOf(r.hpa.Spec.Behavior)
	switch {
	case target.AverageValue != nil:
		n, mean := perReplica(tolerated, scale.Status.Replicas, usage, target.AverageValue.MilliValue())
		return n, autoscalingv2.MetricValueStatus{AverageValue: resource.NewMilliQuantity(mean, resource.DecimalSI)}, nil
	case target.Value != nil:
		n, err := inTotal(tolerated, scale.Spec.Replicas, usage, target.Value.MilliValue(), pods)
		return n, autoscalingv2.MetricValueStatus{Value: resource.NewMilliQuantity(usage, resource.DecimalSI)}, err
	}
	return 0, autoscalingv2.MetricValueStatus{}, errNoTarget
}

// inTotal answers for a target of what the pods cause together: the ready ones
// do. From no pods at all, it is how often the target is reached.
func inTotal(tolerated tolerance, current int32, usage, target int64, pods []*corev1.Pod) (int32, error) {
	ratio := float64(usage) / float64(target)
	switch {
	case current == 0:
		return ceil(ratio), nil
	case tolerated.covers(ratio):
		return current, nil
	case len(pods) == 0:
		return 0, fmt.Errorf("unable to calculate ready pods: %w", errNoPods)
	}
	ready := 0
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning && podset.IsReady(pod) {
			ready++
		}
	}
	return ceil(ratio * float64(ready)), nil
}

// perReplica answers for a target of each pod's share of the whole, and returns
// that share.
func perReplica(tolerated tolerance, replicas int32, usage, target int64) (n int32, share int64) {
	n = replicas
	if replicas == 0 || !tolerated.covers(float64(usage)/(float64(target)*float64(replicas))) {
		n = ceil(float64(usage) / float64(target))
	}
	return n, int64(math.Ceil(float64(usage) / float64(max(replicas, 1))))
}

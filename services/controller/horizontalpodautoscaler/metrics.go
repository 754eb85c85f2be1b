package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// failure is why a metric tells nothing.
type failure struct {
	reason string // of the condition ScalingActive
	what   string // the metric
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// proposal returns the greatest number of pods that one of the metrics asks
// for, and that metric's name. If some metrics fail, the others may scale up
// but not down: a failing one might ask for more.
func (r *round) proposal(ctx context.Context, scale *autoscalingv1.Scale) (most int32, metric string, err error) {
	pods, err := r.targets(scale.Status.Selector)
	if err != nil {
		return 0, "", err
	}
	specs := r.hpa.Spec.Metrics
	statuses := make([]autoscalingv2.MetricStatus, len(specs))
	var first *failure
	failed := 0
	for i := range specs {
		n, name, err := r.metric(ctx, &specs[i], scale, pods, &statuses[i])
		if err != nil {
			failed++
			r.events.Event(r.hpa, corev1.EventTypeWarning, err.reason, err.Error())
			if first == nil {
				first = err
			}
			continue
		}
		if metric == "" || n > most {
			most, metric = n, name
		}
	}
	r.hpa.Status.CurrentMetrics = statuses
	if failed == len(specs) || (failed > 0 && most < scale.Spec.Replicas) {
		r.set(autoscalingv2.ScalingActive, corev1.ConditionFalse, first.reason, "the HPA was unable to compute the replica count: "+first.Error())
		return 0, "", fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: failed to get %s metric value: %w", failed, len(specs), first.what, first)
	}
	r.set(autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+metric)
	return most, metric, nil
}

// targets returns the target's pods.
func (r *round) targets(selector string) ([]*corev1.Pod, error) {
	fail := func(event, reason, message string) error {
		r.events.Event(r.hpa, corev1.EventTypeWarning, event, message)
		r.set(autoscalingv2.ScalingActive, corev1.ConditionFalse, reason, message)
		return errors.New(message)
	}
	if selector == "" {
		return nil, fail("SelectorRequired", "InvalidSelector", "the HPA target's scale is missing a selector")
	}
	parsed, err := labels.Parse(selector)
	if err != nil {
		return nil, fail("InvalidSelector", "InvalidSelector", fmt.Sprintf("couldn't convert selector into a corresponding internal selector object: %v", err))
	}
	r.selected.Put(r.hpa.Namespace, r.hpa.Name, parsed)
	pods := r.selected.Selected(r.hpa.Namespace, r.hpa.Name, parsed)
	if rivals := r.selecting(pods); len(rivals) > 1 {
		return nil, fail("AmbiguousSelector", "AmbiguousSelector", fmt.Sprintf("pods by selector %s are controlled by more than one HPA (e.g. %v)", selector, rivals))
	}
	return pods, nil
}

// selecting returns the autoscalers whose targets select one of the pods, in
// order.
func (r *round) selecting(pods []*corev1.Pod) []string {
	keys := make(map[string]struct{})
	for _, pod := range pods {
		for _, key := range r.selected.Selecting(pod) {
			keys[key] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// metric returns how many pods one metric asks for, and the metric's name.
func (r *round) metric(ctx context.Context, spec *autoscalingv2.MetricSpec, scale *autoscalingv1.Scale, pods []*corev1.Pod, status *autoscalingv2.MetricStatus) (int32, string, *failure) {
	status.Type = spec.Type
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		n, value, name, err := r.resource(ctx, spec.Resource.Name, "", spec.Resource.Target, scale.Spec.Replicas, pods)
		if err != nil {
			return 0, "", &failure{"FailedGetResourceMetric", string(spec.Resource.Name) + " resource", err}
		}
		status.Resource = &autoscalingv2.ResourceMetricStatus{Name: spec.Resource.Name, Current: value}
		return n, name, nil
	case autoscalingv2.ContainerResourceMetricSourceType:
		c := spec.ContainerResource
		n, value, name, err := r.resource(ctx, c.Name, c.Container, c.Target, scale.Spec.Replicas, pods)
		if err != nil {
			return 0, "", &failure{"FailedGetContainerResourceMetric", c.Container + " container", err}
		}
		status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: c.Name, Container: c.Container, Current: value}
		return n, name, nil
	case autoscalingv2.PodsMetricSourceType:
		n, value, err := r.ofPods(ctx, spec.Pods, scale, pods)
		if err != nil {
			return 0, "", &failure{"FailedGetPodsMetric", "pods", err}
		}
		status.Pods = &autoscalingv2.PodsMetricStatus{Metric: spec.Pods.Metric, Current: value}
		return n, "pods metric " + spec.Pods.Metric.Name, nil
	case autoscalingv2.ObjectMetricSourceType:
		o := spec.Object
		n, value, err := r.ofObject(ctx, o, scale, pods)
		if err != nil {
			return 0, "", &failure{"FailedGetObjectMetric", "object", err}
		}
		status.Object = &autoscalingv2.ObjectMetricStatus{DescribedObject: o.DescribedObject, Metric: o.Metric, Current: value}
		return n, fmt.Sprintf("%s metric %s", o.DescribedObject.Kind, o.Metric.Name), nil
	case autoscalingv2.ExternalMetricSourceType:
		m := spec.External.Metric
		n, value, err := r.external(ctx, spec.External, scale, pods)
		if err != nil {
			return 0, "", &failure{"FailedGetExternalMetric", m.Name + " external", err}
		}
		status.External = &autoscalingv2.ExternalMetricStatus{Metric: m, Current: value}
		return n, fmt.Sprintf("external metric %s(%s)", m.Name, metav1.FormatLabelSelector(m.Selector)), nil
	}
	return 0, "", &failure{"InvalidMetricSourceType", "unknown", fmt.Errorf("unknown metric source type %q", spec.Type)}
}

// resource returns how many pods a resource's target asks for, what is used of
// it now, and the metric's name.
func (r *round) resource(ctx context.Context, name corev1.ResourceName, container string, target autoscalingv2.MetricTarget, current int32, pods []*corev1.Pod) (int32, autoscalingv2.MetricValueStatus, string, error) {
	var value autoscalingv2.MetricValueStatus
	wrap := func(err error) (int32, autoscalingv2.MetricValueStatus, string, error) {
		what := "utilization"
		if target.AverageValue != nil {
			what = "usage"
		}
		return 0, value, "", fmt.Errorf("failed to get %s %s: %w", name, what, err)
	}
	samples, err := r.samples(ctx, pods, name, container)
	if err != nil {
		return wrap(err)
	}
	if len(pods) == 0 {
		return wrap(errNoPods)
	}
	q, err := ask(current, toleranceOf(r.hpa.Spec.Behavior), group(pods, samples, name, r.now), samples)
	if err != nil {
		return wrap(err)
	}
	mean := quantity(name, average(q.usage))
	value.AverageValue = &mean
	if target.AverageValue != nil {
		n, err := q.perPod(target.AverageValue.MilliValue())
		if err != nil {
			return wrap(err)
		}
		return n, value, fmt.Sprintf("%s resource", name), nil
	}
	if target.AverageUtilization == nil {
		return 0, value, "", errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	asked, err := requests(pods, name, container)
	if err != nil {
		return wrap(err)
	}
	percent, err := utilization(q.usage, asked)
	if err != nil {
		return wrap(err)
	}
	value.AverageUtilization = &percent
	n, err := q.ofRequest(asked, *target.AverageUtilization)
	if err != nil {
		return wrap(err)
	}
	if container != "" {
		return n, value, fmt.Sprintf("%s container resource utilization (percentage of request)", name), nil
	}
	return n, value, fmt.Sprintf("%s resource utilization (percentage of request)", name), nil
}

// perPod answers for a target of what a pod uses on average.
func (q *question) perPod(target int64) (int32, error) {
	q.ratio = func(usage map[string]int64) (float64, error) { return float64(average(usage)) / float64(target), nil }
	q.full = func(string) int64 { return target }
	return q.answer()
}

// ofRequest answers for a target of how much of their requests pods use.
func (q *question) ofRequest(requests map[string]int64, percent int32) (int32, error) {
	q.ratio = func(usage map[string]int64) (float64, error) {
		n, err := utilization(usage, requests)
		return float64(n) / float64(percent), err
	}
	q.full = func(pod string) int64 { return requests[pod] * int64(max(100, percent)) / 100 }
	return q.answer()
}

// quantity shows thousandths of a resource's unit.
func quantity(name corev1.ResourceName, milli int64) resource.Quantity {
	if name == corev1.ResourceMemory {
		return *resource.NewQuantity(milli/1000, resource.BinarySI)
	}
	return *resource.NewMilliQuantity(milli, resource.DecimalSI)
}

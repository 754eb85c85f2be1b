package horizontalpodautoscaler

import (
	"errors"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/controller/podset"
)

const (
	// defaultTolerance is how far usage may be from the target without
	// anything being scaled.
	defaultTolerance = 0.1
	// initialization is how long after a pod's start its CPU usage is taken
	// for that of starting, unless it is ready.
	initialization = 5 * time.Minute
	// readinessDelay is how soon after its start a pod that is to count as
	// having been ready becomes so.
	readinessDelay = 30 * time.Second
)

// tolerance is how far the ratio of usage and target may be from one.
type tolerance struct{ up, down float64 }

func toleranceOf(b *autoscalingv2.HorizontalPodAutoscalerBehavior) tolerance {
	t := tolerance{defaultTolerance, defaultTolerance}
	if b == nil {
		return t
	}
	if b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
		t.up = b.ScaleUp.Tolerance.AsApproximateFloat64()
	}
	if b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
		t.down = b.ScaleDown.Tolerance.AsApproximateFloat64()
	}
	return t
}

func (t tolerance) covers(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }

// groups are the pods of a workload by what is known of them.
type groups struct {
	ready int
	// unready pods have not begun to work, missing ones have no sample, ignored
	// ones have ended or are about to.
	unready, missing, ignored []string
}

func group(pods []*corev1.Pod, samples map[string]sample, resource corev1.ResourceName, now time.Time) groups {
	var g groups
	for _, pod := range pods {
		s, sampled := samples[pod.Name]
		switch {
		case pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed:
			g.ignored = append(g.ignored, pod.Name)
		case pod.Status.Phase == corev1.PodPending:
			g.unready = append(g.unready, pod.Name)
		case !sampled:
			g.missing = append(g.missing, pod.Name)
		case resource == corev1.ResourceCPU && isStarting(pod, s, now):
			g.unready = append(g.unready, pod.Name)
		default:
			g.ready++
		}
	}
	return g
}

// isStarting says whether what a pod uses of the CPU says nothing about its
// work: it is not ready yet, or was not during part of the sample. A pod that
// ceased to be ready after it had been counts: it may be overloaded.
func isStarting(pod *corev1.Pod, s sample, now time.Time) bool {
	c := podset.Condition(pod, corev1.PodReady)
	if c == nil || pod.Status.StartTime == nil {
		return true
	}
	notReady := c.Status == corev1.ConditionFalse
	if pod.Status.StartTime.Add(initialization).After(now) {
		return notReady || s.at.Before(c.LastTransitionTime.Add(s.window))
	}
	return notReady && pod.Status.StartTime.Add(readinessDelay).After(c.LastTransitionTime.Time)
}

// question is how many pods would bring what they use to a target.
type question struct {
	current   int32
	tolerance tolerance
	groups    groups
	usage     map[string]int64 // by pod, of those that are ready
	// ratio is that of usage and target. It is called with pods of which
	// something is assumed as well.
	ratio func(usage map[string]int64) (float64, error)
	// full is what a pod of which nothing is known is assumed to use when the
	// workload would be scaled down; when it would be scaled up, that is 0.
	full func(pod string) int64
}

// ask drops the samples of pods that do not count and returns the question.
func ask(current int32, t tolerance, g groups, samples map[string]sample) (*question, error) {
	q := &question{current: current, tolerance: t, groups: g, usage: make(map[string]int64)}
	for name, s := range samples {
		q.usage[name] = s.value
	}
	for _, names := range [][]string{g.ignored, g.unready} {
		for _, name := range names {
			delete(q.usage, name)
		}
	}
	if len(q.usage) == 0 {
		return nil, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	}
	return q, nil
}

// answer returns the number of pods. What is assumed of pods without samples
// dampens the change, and never turns it round.
func (q *question) answer() (int32, error) {
	ratio, err := q.ratio(q.usage)
	if err != nil {
		return 0, err
	}
	assumeUnready := len(q.groups.unready) > 0 && ratio > 1
	if !assumeUnready && len(q.groups.missing) == 0 {
		if q.tolerance.covers(ratio) {
			return q.current, nil
		}
		return ceil(ratio * float64(q.groups.ready)), nil
	}
	for _, name := range q.groups.missing {
		switch {
		case ratio < 1:
			q.usage[name] = q.full(name)
		case ratio > 1:
			q.usage[name] = 0
		}
	}
	if assumeUnready {
		for _, name := range q.groups.unready {
			q.usage[name] = 0
		}
	}
	assumed, err := q.ratio(q.usage)
	if err != nil {
		return 0, err
	}
	n := ceil(assumed * float64(len(q.usage)))
	switch {
	case q.tolerance.covers(assumed), ratio < 1 && assumed > 1, ratio > 1 && assumed < 1,
		assumed < 1 && n > q.current, assumed > 1 && n < q.current:
		return q.current, nil
	}
	return n, nil
}

func ceil(n float64) int32 { return int32(min(math.Ceil(n), math.MaxInt32)) }

// utilization is the percentage of what the pods request that they use
// together.
func utilization(usage, requests map[string]int64) (int32, error) {
	var used, requested int64
	for name, n := range usage {
		if r, ok := requests[name]; ok {
			used, requested = used+n, requested+r
		}
	}
	if requested == 0 {
		return 0, errors.New("no metrics returned matched known pods")
	}
	return int32(used * 100 / requested), nil
}

// average is what a pod uses on average.
func average(usage map[string]int64) int64 {
	var sum int64
	for _, n := range usage {
		sum += n
	}
	return sum / int64(max(len(usage), 1))
}

package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/exposition"
)

// Pages reads what pods expose for Prometheus.
type Pages interface {
	// Read returns a page of a pod, and when it had been read by the clock of the
	// pod's node.
	Read(ctx context.Context, pod *corev1.Pod, at exposition.Endpoint) (*exposition.Page, time.Time, error)
}

// parallel is how many pods are read at once.
const parallel = 16

// errFirstLook says that a counter was seen once.
var errFirstLook = fmt.Errorf("it is a counter, whose rate is known from the second look on, after %s", period)

// exposed is one metric that pods expose.
type exposed struct {
	*round
	name     string
	selector labels.Selector
}

func (r *round) exposed(id autoscalingv2.MetricIdentifier) (*exposed, error) {
	if id.Selector == nil {
		return &exposed{r, id.Name, labels.Everything()}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(id.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of metric %s: %w", id.Name, err)
	}
	return &exposed{r, id.Name, selector}, nil
}

// source says which page of a pod to read.
type source func(*corev1.Pod) (exposition.Endpoint, error)

// unknown is why nothing is known of some pods: the error of the first of
// them.
type unknown struct {
	pods  int
	first string
	err   error
}

func (u *unknown) Error() string { return fmt.Sprintf("pod %s: %v", u.first, u.err) }
func (u *unknown) Unwrap() error { return u.err }

// of returns what pods expose, by their names, and why nothing is known of the
// others, nil if there are none.
func (e *exposed) of(ctx context.Context, pods []*corev1.Pod, from source) (map[string]sample, *unknown) {
	samples, errs := make([]sample, len(pods)), make([]error, len(pods))
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i, pod := range pods {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			samples[i], errs[i] = e.read(ctx, pod, from)
		})
	}
	wg.Wait()
	all := make(map[string]sample)
	var rest *unknown
	for i, pod := range pods {
		switch {
		case errs[i] == nil:
			all[pod.Name] = samples[i]
		case rest == nil:
			rest = &unknown{1, pod.Name, errs[i]}
		default:
			rest.pods++
		}
	}
	return all, rest
}

// read returns what one pod exposes: of a gauge the sum of its series, of a
// counter how much they grow in a second.
func (e *exposed) read(ctx context.Context, pod *corev1.Pod, from source) (sample, error) {
	at, err := from(pod)
	if err != nil {
		return sample{}, err
	}
	page, when, err := e.sources.Pages.Read(ctx, pod, at)
	if err != nil {
		return sample{}, err
	}
	m, err := page.Metric(e.name, e.selector)
	if err != nil {
		return sample{}, err
	}
	if !m.Counter {
		return sample{value: milli(m.Sum()), at: when}, nil
	}
	counter := strings.Join([]string{string(pod.UID), fmt.Sprint(at), e.name, e.selector.String()}, "\x00")
	rate, ok := e.memory.count(e.key, counter, m.Series, when, e.now)
	if !ok {
		return sample{}, errFirstLook
	}
	return sample{value: milli(rate.perSecond), at: when, window: rate.window}, nil
}

// mostMilli is the greatest number of thousandths that is told: as a float, too,
// it is an int64.
const mostMilli = 1 << 62

// milli returns thousandths, as near as they can be told.
func milli(v float64) int64 { return int64(max(-mostMilli, min(math.Round(v*1000), mostMilli))) }

// byAnnotations reads the page that a pod names itself.
func byAnnotations(pod *corev1.Pod) (exposition.Endpoint, error) {
	return exposition.EndpointOf(pod.Annotations, firstPort(pod))
}

// firstPort is the first TCP port that a pod's containers declare; 0 if none.
func firstPort(pod *corev1.Pod) int32 {
	for _, c := range lasting(pod) {
		for _, p := range c.Ports {
			if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// byName orders pods.
func byName(pods []*corev1.Pod) []*corev1.Pod {
	return slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
}

// sumOf adds samples up, to mostMilli at most.
func sumOf(samples map[string]sample) int64 {
	var sum float64
	for _, s := range samples {
		sum += float64(s.value)
	}
	return bounded(sum)
}

// bounded returns thousandths that are not more than can be told.
func bounded(sum float64) int64 { return int64(max(-mostMilli, min(sum, mostMilli))) }

// errNoTarget says that a metric has no target of its kind.
var errNoTarget = errors.New("neither a value target nor an average value target was set")

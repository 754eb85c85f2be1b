package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/usage"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/metricsapi"
)

// Figures tells what pods use.
type Figures interface {
	// Of returns what the pods use, by their names. Those of which nobody
	// knows are left out. All are of one namespace.
	Of(ctx context.Context, pods []*corev1.Pod) (map[string]*metricsv1beta1.PodMetrics, error)
}

// figures come from a server that is registered for them or, without one, from
// the agents.
type figures struct {
	apis   *metricsapi.APIs
	agents *figuresOfAgents
}

// Of implements Figures.
func (f *figures) Of(ctx context.Context, pods []*corev1.Pod) (map[string]*metricsv1beta1.PodMetrics, error) {
	if len(pods) == 0 || !f.apis.HasUsage() {
		return f.agents.Of(ctx, pods), nil
	}
	told, err := f.apis.Usage(ctx, pods[0].Namespace)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*metricsv1beta1.PodMetrics)
	for _, pod := range pods {
		if m, ok := told[pod.Name]; ok {
			all[pod.Name] = m
		}
	}
	return all, nil
}

// figuresOfAgents come from the agents of the pods' nodes.
type figuresOfAgents struct {
	source *usage.Source
	nodes  *client.Informer[*corev1.Node]
}

func (a *figuresOfAgents) Of(ctx context.Context, pods []*corev1.Pod) map[string]*metricsv1beta1.PodMetrics {
	var concerned []*corev1.Node
	seen := make(map[string]bool)
	for _, pod := range pods {
		if node, ok := a.nodes.Get("", pod.Spec.NodeName); ok && !seen[node.Name] {
			seen[node.Name] = true
			concerned = append(concerned, node)
		}
	}
	all := make(map[string]*metricsv1beta1.PodMetrics)
	stats := a.source.Ask(ctx, concerned)
	for _, pod := range pods {
		if m, ok := usage.OfPod(pod, stats[pod.Spec.NodeName]); ok {
			all[pod.Name] = m
		}
	}
	return all
}

// sample is what one pod uses of a resource, in thousandths of its unit.
type sample struct {
	value  int64
	at     time.Time
	window time.Duration
}

// samples returns what the pods use of a resource, or one container of each
// pod if it is named.
func (r *round) samples(ctx context.Context, pods []*corev1.Pod, resource corev1.ResourceName, container string) (map[string]sample, error) {
	figures, err := r.sources.Figures.Of(ctx, pods)
	if err != nil {
		return nil, fmt.Errorf("unable to get metrics for resource %s: %w", resource, err)
	}
	if len(figures) == 0 {
		return nil, fmt.Errorf("unable to get metrics for resource %s: no metrics returned from resource metrics API", resource)
	}
	all := make(map[string]sample)
	for name, m := range figures {
		s := sample{at: m.Timestamp.Time, window: m.Window.Duration}
		found := container == ""
		for _, c := range m.Containers {
			if container == "" || c.Name == container {
				s.value += c.Usage.Name(resource, "").MilliValue()
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("unable to get metrics for resource %s: container %s not present in metrics for pod %s/%s", resource, container, r.hpa.Namespace, name)
		}
		all[name] = s
	}
	return all, nil
}

// requests returns what the pods request of a resource.
func requests(pods []*corev1.Pod, resource corev1.ResourceName, container string) (map[string]int64, error) {
	all := make(map[string]int64)
	for _, pod := range pods {
		n, err := request(pod, resource, container)
		if err != nil {
			return nil, err
		}
		all[pod.Name] = n
	}
	return all, nil
}

func request(pod *corev1.Pod, resource corev1.ResourceName, container string) (sum int64, err error) {
	if p := pod.Spec.Resources; p != nil && container == "" && len(p.Requests) > 0 {
		q, ok := p.Requests[resource]
		if !ok {
			return 0, fmt.Errorf("missing pod-level request for %s in Pod %s", resource, pod.Name)
		}
		return q.MilliValue(), nil
	}
	found := container == ""
	for _, c := range lasting(pod) {
		if container != "" && c.Name != container {
			continue
		}
		found = true
		q, ok := c.Resources.Requests[resource]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", resource, c.Name, pod.Name)
		}
		sum += q.MilliValue()
	}
	if !found {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, pod.Name)
	}
	return sum, nil
}

// lasting returns the containers that run as long as the pod: its own and its
// sidecars.
func lasting(pod *corev1.Pod) []corev1.Container {
	all := pod.Spec.Containers[:len(pod.Spec.Containers):len(pod.Spec.Containers)]
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, c)
		}
	}
	return all
}

// errNoPods says that the target's selector matches nothing.
var errNoPods = errors.New("no pods returned by selector while calculating replica count")

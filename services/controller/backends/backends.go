// Package backends says which pods stand behind a Service and on which ports.
// The reconcilers of EndpointSlices and of Endpoints are views of it.
package backends

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
	"navarch.dev/navarch/services/controller/selection"
)

// startingTime is how long after its creation a pod's becoming ready is part
// of the story of its start, and so of its trace.
const startingTime = 5 * time.Minute

// Backends watches Services and the pods they select.
type Backends struct {
	Services *client.Informer[*corev1.Service]
	Pods     *client.Informer[*corev1.Pod]
	selected *selection.Index[*corev1.Pod]

	mu sync.Mutex // guards causes
	// causes names, by Service, the starting pod that changed last.
	causes map[string]string
}

// New returns the view over a process's informers.
func New(informers *client.Informers) (*Backends, error) {
	services, err := client.InformerFor[*corev1.Service](informers, nil)
	if err != nil {
		return nil, err
	}
	pods, err := client.InformerFor[*corev1.Pod](informers, nil)
	if err != nil {
		return nil, err
	}
	selected, err := selection.Follow[*corev1.Service, *corev1.Pod](informers, selectorOf, nil)
	if err != nil {
		return nil, err
	}
	return &Backends{Services: services, Pods: pods, selected: selected, causes: make(map[string]string)}, nil
}

func selectorOf(s *corev1.Service) labels.Selector {
	if !HasPods(s) {
		return labels.Nothing()
	}
	return labels.SelectorFromSet(s.Spec.Selector)
}

// Watch makes Services and their pods inputs of a controller whose keys name
// Services.
func (b *Backends) Watch(c *runner.Controller) {
	runner.Primary(c, b.Services)
	runner.Watch(c, b.Pods, runner.Input[*corev1.Pod]{Keys: b.selectedBy, Changed: concerns})
}

// selectedBy returns the Services that select a pod.
func (b *Backends) selectedBy(pod *corev1.Pod) []string {
	keys := b.selected.Selecting(pod)
	b.noteCause(keys, pod)
	return keys
}

func (b *Backends) noteCause(services []string, pod *corev1.Pod) {
	if time.Since(pod.CreationTimestamp.Time) > startingTime || pod.Spec.NodeName == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range services {
		b.causes[s] = cache.MetaObjectToName(pod).String()
	}
}

// Trace returns ctx with the trace that a change of a Service's backends
// continues: that of the pod which has just come to stand behind it, so that a
// rollout's trace goes on to the Service's traffic, and otherwise that of the
// Service.
func (b *Backends) Trace(ctx context.Context, key string) context.Context {
	b.mu.Lock()
	pod, ok := b.causes[key]
	delete(b.causes, key)
	b.mu.Unlock()
	if ok {
		return b.Pods.TraceContext(ctx, pod)
	}
	return b.Services.TraceContext(ctx, key)
}

// concerns says whether a pod's change can change who stands behind a Service.
func concerns(old, pod *corev1.Pod) bool {
	return podset.IsReady(old) != podset.IsReady(pod) || podset.IsFinished(old) != podset.IsFinished(pod) ||
		(old.DeletionTimestamp == nil) != (pod.DeletionTimestamp == nil) ||
		old.Spec.NodeName != pod.Spec.NodeName || !sameIPs(old, pod) ||
		!labels.Equals(old.Labels, pod.Labels)
}

func sameIPs(a, b *corev1.Pod) bool {
	if len(a.Status.PodIPs) != len(b.Status.PodIPs) || a.Status.PodIP != b.Status.PodIP {
		return false
	}
	for i := range a.Status.PodIPs {
		if a.Status.PodIPs[i] != b.Status.PodIPs[i] {
			return false
		}
	}
	return true
}

// HasPods says whether a Service's backends are pods. Those of one without a
// selector are whatever its owner writes into its slices; an ExternalName has
// none.
func HasPods(s *corev1.Service) bool {
	return len(s.Spec.Selector) > 0 && s.Spec.Type != corev1.ServiceTypeExternalName
}

// Of returns the pods behind a Service that have an address and have not run
// to their end. Terminating ones are among them.
func (b *Backends) Of(s *corev1.Service) []*corev1.Pod {
	return slices.DeleteFunc(b.selected.Selected(s.Namespace, s.Name, selectorOf(s)), func(pod *corev1.Pod) bool {
		return podset.IsFinished(pod) || len(Addresses(pod)) == 0
	})
}

// Addresses returns a pod's IP addresses.
func Addresses(pod *corev1.Pod) []string {
	if len(pod.Status.PodIPs) == 0 && pod.Status.PodIP != "" {
		return []string{pod.Status.PodIP}
	}
	ips := make([]string, len(pod.Status.PodIPs))
	for i, ip := range pod.Status.PodIPs {
		ips[i] = ip.IP
	}
	return ips
}

// Port is one port of a Service as a pod serves it.
type Port struct {
	Service *corev1.ServicePort
	Number  int32
}

// Ports resolves a Service's target ports in a pod. A named one that no
// container has is left out.
func Ports(s *corev1.Service, pod *corev1.Pod) []Port {
	var ports []Port
	for i := range s.Spec.Ports {
		if n, err := targetPort(&s.Spec.Ports[i], pod); err == nil {
			ports = append(ports, Port{Service: &s.Spec.Ports[i], Number: n})
		}
	}
	return ports
}

func targetPort(p *corev1.ServicePort, pod *corev1.Pod) (int32, error) {
	if p.TargetPort.Type == intstr.Int {
		if p.TargetPort.IntVal == 0 {
			return p.Port, nil
		}
		return p.TargetPort.IntVal, nil
	}
	containers := pod.Spec.Containers
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers[:len(containers):len(containers)], c)
		}
	}
	for _, c := range containers {
		for _, cp := range c.Ports {
			if cp.Name == p.TargetPort.StrVal && cp.Protocol == p.Protocol {
				return cp.ContainerPort, nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s/%s has no %s port %q", pod.Namespace, pod.Name, p.Protocol, p.TargetPort.StrVal)
}

// Hostname returns the name under which a Service's DNS knows a pod: pods say
// by their subdomain which Service that is.
func Hostname(s *corev1.Service, pod *corev1.Pod) string {
	if pod.Spec.Subdomain == s.Name && pod.Namespace == s.Namespace {
		return pod.Spec.Hostname
	}
	return ""
}

// IsHeadless says whether a Service has no address of its own.
func IsHeadless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// Reference is how an endpoint names its pod.
func Reference(pod *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}

package podworker

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
)

// lastTraffic is what the nodes' proxies get to act on what the Store says, and
// requests that are under way to arrive.
const lastTraffic = 150 * time.Millisecond

// leaveServices lets a ready pod that was deleted leave its Services before its
// containers are told to end: w.left is closed when no new traffic is to be
// expected, and within the time set for it or half of the grace period. It
// stays nil if there is nothing to leave.
func (w *worker) leaveServices() {
	grace := time.Until(w.graceEnd)
	ready := findCondition(&w.pod.Status, corev1.PodReady)
	if w.m.cfg.LeaveTime == 0 || w.pod.DeletionTimestamp == nil || w.deleted || grace <= leastGrace || ready == nil || ready.Status != corev1.ConditionTrue {
		return
	}
	services := w.m.servicesFor(w.pod)
	if len(services) == 0 {
		return
	}
	left, pod := make(chan struct{}), w.pod
	w.left = left
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), min(w.m.cfg.LeaveTime, grace/2))
	w.ops.Go(func() {
		defer close(left)
		defer cancel()
		for _, service := range services {
			if err := w.m.awaitUnrouted(ctx, pod, service); err != nil {
				w.log.WarnContext(ctx, "the pod ends while it may still get traffic", "service", service, "error", err)
			}
		}
		select {
		case <-time.After(lastTraffic):
		case <-ctx.Done():
		}
	})
}

// servicesFor returns the names of the Services that send traffic to a pod.
func (m *Manager) servicesFor(pod *corev1.Pod) (names []string) {
	for _, service := range m.deps.Services.InNamespace(pod.Namespace) {
		if len(service.Spec.Selector) > 0 && labels.SelectorFromValidatedSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			names = append(names, service.Name)
		}
	}
	return names
}

// awaitUnrouted waits until no EndpointSlice of a Service names the pod as
// ready.
func (m *Manager) awaitUnrouted(ctx context.Context, pod *corev1.Pod, service string) error {
	slices, err := client.NewInformer[*discoveryv1.EndpointSlice](m.deps.Client, client.InformerOptions{
		Namespace: pod.Namespace, Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}),
	})
	if err != nil {
		return fmt.Errorf("follow the endpoints of %s: %w", service, err)
	}
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	slices.AddHandler(client.Handler[*discoveryv1.EndpointSlice]{
		OnUpdate: func(_, _ *discoveryv1.EndpointSlice) { wake() }, OnDelete: func(*discoveryv1.EndpointSlice) { wake() },
	})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); slices.Run(ctx) }()
	defer func() { cancel(); <-done }()
	seen := slices.Synced()
	for {
		select {
		case <-seen:
			seen = nil
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait until no endpoint of %s is the pod: %w", service, ctx.Err())
		}
		if seen == nil && !routes(slices.List(), pod) {
			return nil
		}
	}
}

// routes says whether one of the slices names the pod as ready, which is also
// what it means not to say.
func routes(all []*discoveryv1.EndpointSlice, pod *corev1.Pod) bool {
	for _, slice := range all {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && e.TargetRef.UID == pod.UID && ptr.Deref(e.Conditions.Ready, true) {
				return true
			}
		}
	}
	return false
}

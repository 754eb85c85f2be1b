// Package endpointslice keeps the EndpointSlices of every Service with a
// selector: who stands behind it, on which ports, and in which condition.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/backends"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// ManagedBy marks the slices that this package writes; all others are left
	// alone.
	ManagedBy = "endpointslice-controller.k8s.io"

	// byService is the index of slices by the Service they belong to.
	byService = "service"
	// settleTimeout is the longest wait for the informer to show our own
	// writes before looking again.
	settleTimeout = time.Second
)

type reconciler struct {
	client   *client.Client
	backends *backends.Backends
	slices   *client.Informer[*discoveryv1.EndpointSlice]
	nodes    *client.Informer[*corev1.Node]
	barrier  *runner.Barrier[*discoveryv1.EndpointSlice]
}

// New returns the controller of EndpointSlices. Its keys name Services.
func New(deps runner.Deps) (*runner.Controller, error) {
	b, err := backends.New(deps.Informers)
	if err != nil {
		return nil, err
	}
	slices, err := client.InformerFor[*discoveryv1.EndpointSlice](deps.Informers, cache.Indexers{byService: func(v any) ([]string, error) {
		slice, ok := v.(*discoveryv1.EndpointSlice)
		if !ok {
			return nil, fmt.Errorf("index a %T: not an EndpointSlice", v)
		}
		return serviceOf(slice), nil
	}})
	if err != nil {
		return nil, err
	}
	nodes, err := client.InformerFor[*corev1.Node](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, backends: b, slices: slices, nodes: nodes, barrier: runner.NewBarrier(slices)}
	c := runner.New("endpointslice", r, deps, runner.Options{Trace: b.Trace})
	b.Watch(c)
	runner.Watch(c, slices, runner.Input[*discoveryv1.EndpointSlice]{Keys: serviceOf})
	return c, nil
}

// serviceOf returns the key of the Service that one of our slices belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) []string {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" || slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy {
		return nil
	}
	return []string{cache.NewObjectName(slice.Namespace, name).String()}
}

// Reconcile makes a Service's slices what its pods are. A Service that is being
// deleted gets no new ones; those of one that is gone are the garbage collector's.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	if !r.barrier.Passed(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	service, ok := r.backends.Services.GetByKey(key)
	if !ok || len(service.Spec.Selector) == 0 {
		return runner.Done(), nil
	}
	have, err := r.slices.ByIndex(byService, key)
	if err != nil {
		return runner.Done(), err
	}
	p := plan(service, r.desired(service), have)
	if service.DeletionTimestamp != nil {
		p.create = nil // the garbage collector is deleting them
	}
	return runner.Done(), r.apply(ctx, key, p)
}

// desired groups the endpoints of a Service's pods by address family and
// ports. An ExternalName has none.
func (r *reconciler) desired(s *corev1.Service) map[groupKey]*group {
	groups := make(map[groupKey]*group)
	if !backends.HasPods(s) {
		return groups
	}
	for _, family := range families(s) {
		for _, pod := range r.backends.Of(s) {
			e, ok := endpoint(s, pod, family, r.zone(pod.Spec.NodeName))
			if !ok {
				continue
			}
			ports := endpointPorts(s, pod)
			key := groupKey{family: family, ports: portsKey(ports)}
			if groups[key] == nil {
				groups[key] = &group{family: family, ports: ports}
			}
			groups[key].endpoints = append(groups[key].endpoints, e)
		}
	}
	for _, family := range families(s) {
		ensureGroup(groups, family)
	}
	return groups
}

func (r *reconciler) zone(nodeName string) string {
	if node, ok := r.nodes.GetByKey(nodeName); ok {
		return node.Labels[corev1.LabelTopologyZone]
	}
	return ""
}

// apply writes what the plan asks for.
func (r *reconciler) apply(ctx context.Context, key string, p changes) error {
	var errs []error
	for _, slice := range p.create {
		err := r.client.Create(ctx, slice)
		switch {
		case err == nil:
			r.barrier.Wrote(key, slice)
		case !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			errs = append(errs, fmt.Errorf("create an endpoint slice: %w", err))
		}
	}
	for _, slice := range p.update {
		if err := r.client.Update(ctx, slice); err != nil {
			errs = append(errs, fmt.Errorf("update endpoint slice %s: %w", slice.Name, err))
		}
	}
	for _, slice := range p.remove {
		err := r.client.Delete(ctx, slice, client.DeleteOptions{UID: slice.UID})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete endpoint slice %s: %w", slice.Name, err))
		}
	}
	return errors.Join(errs...)
}

// newSlice returns an empty slice of a Service.
func newSlice(s *corev1.Service, g *group) *discoveryv1.EndpointSlice {
	kind := corev1.SchemeGroupVersion.WithKind("Service")
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, GenerateName: s.Name + "-", Labels: sliceLabels(s),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, kind)},
		},
		AddressType: g.family, Ports: g.ports,
	}
}

// sliceLabels are the Service's labels and those that say what a slice is.
func sliceLabels(s *corev1.Service) map[string]string {
	l := maps.Clone(s.Labels)
	if l == nil {
		l = make(map[string]string)
	}
	delete(l, corev1.IsHeadlessService)
	if backends.IsHeadless(s) {
		l[corev1.IsHeadlessService] = ""
	}
	l[discoveryv1.LabelServiceName] = s.Name
	l[discoveryv1.LabelManagedBy] = ManagedBy
	return l
}

func same(a, b *discoveryv1.EndpointSlice) bool {
	return maps.Equal(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Endpoints, b.Endpoints) &&
		equality.Semantic.DeepEqual(a.Ports, b.Ports)
}

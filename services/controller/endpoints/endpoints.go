// Package endpoints keeps a classic Endpoints object for every Service with a
// selector, for clients that do not read EndpointSlices.
package endpoints

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/backends"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// managedByLabel marks the objects that this package writes.
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"
	// maxAddresses is how many addresses an object holds; the rest is only in
	// EndpointSlices.
	maxAddresses = 1000
	// settleTimeout is the longest wait for the informer to show our own write.
	settleTimeout = time.Second
)

type reconciler struct {
	client    *client.Client
	backends  *backends.Backends
	endpoints *client.Informer[*corev1.Endpoints]
	// A Service and its pods come at once: the reconcile that does not see what
	// the one before wrote would write it again, and be refused.
	barrier *runner.Barrier[*corev1.Endpoints]
}

// New returns the controller of Endpoints. Its keys name Services.
func New(deps runner.Deps) (*runner.Controller, error) {
	b, err := backends.New(deps.Informers)
	if err != nil {
		return nil, err
	}
	endpoints, err := client.InformerFor[*corev1.Endpoints](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, backends: b, endpoints: endpoints, barrier: runner.NewBarrier(endpoints)}
	c := runner.New("endpoints", r, deps, runner.Options{Trace: b.Trace})
	b.Watch(c)
	runner.Primary(c, endpoints)
	return c, nil
}

// Reconcile makes a Service's Endpoints what its pods are.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	if !r.barrier.Passed(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	service, ok := r.backends.Services.GetByKey(key)
	have, exists := r.endpoints.GetByKey(key)
	if !ok || service.DeletionTimestamp != nil {
		return runner.Done(), r.removeOwn(ctx, have, exists)
	}
	if !backends.HasPods(service) {
		return runner.Done(), nil
	}
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if exists {
		want = have.DeepCopy()
	}
	var truncated bool
	want.Subsets, truncated = subsets(service, r.backends.Of(service))
	want.Labels = objectLabels(service)
	want.Annotations = capacityAnnotation(want.Annotations, truncated)
	var err error
	switch {
	case !exists:
		err = wrap("create", r.client.Create(ctx, want))
	case !equality.Semantic.DeepEqual(have, want):
		err = wrap("update", r.client.Update(ctx, want))
	default:
		return runner.Done(), nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return runner.Done(), nil
	}
	if err == nil {
		r.barrier.Wrote(key, want)
	}
	return runner.Done(), err
}

func wrap(verb string, err error) error {
	if err != nil {
		return fmt.Errorf("%s the endpoints: %w", verb, err)
	}
	return nil
}

// removeOwn deletes the object of a Service that is gone. One that somebody
// else wrote stays: a Service may be about to be made for it.
func (r *reconciler) removeOwn(ctx context.Context, have *corev1.Endpoints, exists bool) error {
	if !exists || have.Labels[managedByLabel] != managedBy {
		return nil
	}
	err := r.client.Delete(ctx, have, client.DeleteOptions{UID: have.UID})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return wrap("delete", err)
}

func objectLabels(s *corev1.Service) map[string]string {
	l := maps.Clone(s.Labels)
	if l == nil {
		l = make(map[string]string)
	}
	delete(l, corev1.IsHeadlessService)
	if backends.IsHeadless(s) {
		l[corev1.IsHeadlessService] = ""
	}
	l[managedByLabel] = managedBy
	return l
}

func capacityAnnotation(annotations map[string]string, truncated bool) map[string]string {
	annotations = maps.Clone(annotations)
	delete(annotations, corev1.EndpointsOverCapacity)
	if truncated {
		if annotations == nil {
			annotations = make(map[string]string)
		}
		annotations[corev1.EndpointsOverCapacity] = "truncated"
	}
	return annotations
}

// Package endpointslicemirroring copies Endpoints that users write for Services
// without a selector into EndpointSlices, which is what proxies and DNS follow.
package endpointslicemirroring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// managedBy marks the slices that this package writes; all others are left
	// alone.
	managedBy = "endpointslicemirroring-controller.k8s.io"
	// leaderAnnotation marks Endpoints that only were a lock.
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
	// byEndpoints is the index of our slices by the Endpoints they mirror.
	byEndpoints = "mirrored-endpoints"
)

type reconciler struct {
	client    *client.Client
	services  *client.Informer[*corev1.Service]
	endpoints *client.Informer[*corev1.Endpoints]
	slices    *client.Informer[*discoveryv1.EndpointSlice]
}

// New returns the controller. Its keys name Services, and so Endpoints.
func New(deps runner.Deps) (*runner.Controller, error) {
	services, err := client.InformerFor[*corev1.Service](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	endpoints, err := client.InformerFor[*corev1.Endpoints](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	mirrors, err := client.InformerFor[*discoveryv1.EndpointSlice](deps.Informers, cache.Indexers{byEndpoints: func(v any) ([]string, error) {
		slice, ok := v.(*discoveryv1.EndpointSlice)
		if !ok {
			return nil, fmt.Errorf("index a %T: not an EndpointSlice", v)
		}
		return mirrored(slice), nil
	}})
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, services: services, endpoints: endpoints, slices: mirrors}
	c := runner.New("endpointslicemirroring", r, deps, runner.Options{Trace: endpoints.TraceContext})
	runner.Watch(c, services, runner.Input[*corev1.Service]{Keys: runner.Self[*corev1.Service], Changed: func(old, s *corev1.Service) bool {
		return (len(old.Spec.Selector) == 0) != (len(s.Spec.Selector) == 0)
	}})
	runner.Primary(c, endpoints)
	runner.Watch(c, mirrors, runner.Input[*discoveryv1.EndpointSlice]{Keys: mirrored})
	return c, nil
}

// mirrored returns the key of the Endpoints that one of our slices mirrors.
func mirrored(slice *discoveryv1.EndpointSlice) []string {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" || slice.Labels[discoveryv1.LabelManagedBy] != managedBy {
		return nil
	}
	return []string{cache.NewObjectName(slice.Namespace, name).String()}
}

// Reconcile makes the slices what the Endpoints are.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	have, err := r.slices.ByIndex(byEndpoints, key)
	if err != nil {
		return runner.Done(), err
	}
	want := make(map[string]*discoveryv1.EndpointSlice)
	if e, ok := r.endpoints.GetByKey(key); ok && r.wanted(key, e) {
		want = mirrors(e)
	}
	var errs []error
	for _, slice := range have {
		if fresh, ok := want[slice.Name]; ok {
			delete(want, slice.Name)
			errs = append(errs, r.update(ctx, slice, fresh))
			continue
		}
		if err := r.client.Delete(ctx, slice, client.DeleteOptions{UID: slice.UID}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete endpoint slice %s: %w", slice.Name, err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		err := r.client.Create(ctx, want[name])
		if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			errs = append(errs, fmt.Errorf("create endpoint slice %s: %w", name, err))
		}
	}
	return runner.Done(), errors.Join(errs...)
}

// wanted says whether Endpoints are to be mirrored: they are some user's, and
// there is a Service for them that has no pods of its own.
func (r *reconciler) wanted(key string, e *corev1.Endpoints) bool {
	service, ok := r.services.GetByKey(key)
	_, isLock := e.Annotations[leaderAnnotation]
	return ok && len(service.Spec.Selector) == 0 && service.DeletionTimestamp == nil && e.DeletionTimestamp == nil &&
		e.Labels[discoveryv1.LabelSkipMirror] != "true" && !isLock
}

func (r *reconciler) update(ctx context.Context, have, want *discoveryv1.EndpointSlice) error {
	if maps.Equal(have.Labels, want.Labels) && equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) &&
		equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences) {
		return nil
	}
	changed := have.DeepCopy()
	changed.Labels, changed.Endpoints, changed.OwnerReferences = want.Labels, want.Endpoints, want.OwnerReferences
	if err := r.client.Update(ctx, changed); err != nil {
		return fmt.Errorf("update endpoint slice %s: %w", have.Name, err)
	}
	return nil
}

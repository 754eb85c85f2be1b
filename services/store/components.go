package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/client/leader"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
)

// componentTime bounds the question how the components are.
const componentTime = 2 * time.Second

// component is the ComponentStatus that a scope names.
func (s *Store) component(ctx context.Context, sc scope) (*cache.Version, error) {
	statuses, err := s.componentStatuses(ctx)
	if err != nil {
		return nil, err
	}
	for _, status := range statuses {
		if status.Name == sc.name {
			return s.unstored(sc.kind, status)
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: sc.kind.Singular}, sc.name)
}

// components are the ComponentStatuses that a selector matches, by name.
func (s *Store) components(ctx context.Context, kind *kinds.Kind, selector codec.Selector) ([]*cache.Version, error) {
	statuses, err := s.componentStatuses(ctx)
	if err != nil {
		return nil, err
	}
	var out []*cache.Version
	for _, status := range statuses {
		v, err := s.unstored(kind, status)
		if err != nil {
			return nil, err
		}
		if selector.Matches(v) {
			out = append(out, v)
		}
	}
	return out, nil
}

// unstored returns an object that is not kept as the version that is shown.
func (s *Store) unstored(kind *kinds.Kind, obj kinds.Object) (*cache.Version, error) {
	draft, err := cache.NewDraft(kind, s.registry.Key(kind, "", obj.GetName()), obj, cache.Envelope{})
	if err != nil {
		return nil, err
	}
	return draft.Unstored(0), nil
}

// componentStatuses says how the parts of the control plane are, by name: the
// Scheduler, the Controller and each server of the backend.
func (s *Store) componentStatuses(ctx context.Context) ([]*corev1.ComponentStatus, error) {
	bounded, cancel := context.WithTimeout(ctx, componentTime)
	defer cancel()
	problems := make(map[string]error)
	var wg sync.WaitGroup
	var servers []error
	wg.Go(func() { servers = s.probeBackend(bounded) })
	scheduler := s.leads(bounded, identity.Scheduler, leader.SchedulerLease)
	controller := s.leads(bounded, identity.Controller, leader.ControllerLease)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	problems["scheduler"], problems["controller-manager"] = scheduler, controller
	for i, err := range servers {
		problems[fmt.Sprintf("etcd-%d", i)] = err
	}
	out := make([]*corev1.ComponentStatus, 0, len(problems))
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		out = append(out, componentStatus(name, problems[name]))
	}
	return out, nil
}

func componentStatus(name string, problem error) *corev1.ComponentStatus {
	healthy := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if problem != nil {
		healthy.Status, healthy.Message, healthy.Error = corev1.ConditionFalse, "", problem.Error()
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{healthy}}
}

// probeBackend returns what is wrong with each of the backend's servers.
func (s *Store) probeBackend(ctx context.Context) []error {
	if prober, ok := s.refusals.Backend.(backend.Prober); ok {
		return prober.Probe(ctx)
	}
	_, err := s.backend.Revision(ctx)
	return []error{err}
}

// leads says what is wrong with a part of the control plane, nil if one of its
// processes holds their Lease, whichever Store it is connected to, or follows
// objects of this one: where there is but one process, nobody needs a Lease.
func (s *Store) leads(ctx context.Context, name, lease string) error {
	if s.followers.has(name) {
		return nil
	}
	leases := coordinationv1.SchemeGroupVersion.WithResource("leases")
	if _, err := s.Reader().Version(ctx, leases); err != nil { // which waits for what this Store has written
		return fmt.Errorf("look at its lease: %w", err)
	}
	obj, err := s.Reader().Get(ctx, leases, metav1.NamespaceSystem, lease)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("look at its lease: %w", err)
	}
	held, _ := obj.(*coordinationv1.Lease)
	if held == nil || held.Spec.HolderIdentity == nil || *held.Spec.HolderIdentity == "" || held.Spec.RenewTime == nil || held.Spec.LeaseDurationSeconds == nil {
		return fmt.Errorf("it is not connected to this store, and nobody holds the lease %s/%s", metav1.NamespaceSystem, lease)
	}
	renewed := held.Spec.RenewTime.Time
	if time.Since(renewed) > time.Duration(*held.Spec.LeaseDurationSeconds)*time.Second {
		return fmt.Errorf("it is not connected to this store, and %s renewed the lease %s/%s last at %s",
			*held.Spec.HolderIdentity, metav1.NamespaceSystem, lease, renewed.UTC().Format(time.RFC3339))
	}
	return nil
}

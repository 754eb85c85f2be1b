package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

// bootstrap makes the objects that every cluster has, until it succeeds or ctx
// ends. It returns only ctx's error or one that trying again cannot help.
func (s *Store) bootstrap(ctx context.Context) error {
	const shortest, longest = 50 * time.Millisecond, 2 * time.Second
	delay := shortest
	for {
		err := s.createAll(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			return err
		}
		s.tel.Log.WarnContext(ctx, "the cluster's first objects could not be created yet", "error", err, "retry", delay)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay/2 + rand.N(delay/2)):
		}
		delay = min(2*delay, longest)
	}
}

// createAll creates each of the first objects that does not exist.
func (s *Store) createAll(ctx context.Context) error {
	services, err := s.firstServices()
	if err != nil {
		return err
	}
	if err := s.allocator.Repair(ctx, s.tel.Log); err != nil {
		return err
	}
	if err := s.configuredCIDR(ctx); err != nil {
		return err
	}
	for _, obj := range slices.Concat(firstObjects(), services, s.seed) {
		if err := s.createFirst(ctx, obj); err != nil {
			return err
		}
	}
	for _, obj := range s.seed {
		if err := s.mend(ctx, obj); err != nil {
			return err
		}
	}
	if err := s.publishGateways(ctx); err != nil {
		return err
	}
	s.firstFlows(ctx)
	return nil
}

// fieldManager is the Store's own, for the objects it makes itself.
const fieldManager = "navarch-store"

func (s *Store) createFirst(ctx context.Context, obj kinds.Object) error {
	kind, err := s.kinds.ForObject(obj)
	if err != nil {
		return fmt.Errorf("create the cluster's first objects: %w", err)
	}
	if _, err := s.Reader().Get(ctx, kind.GVR(), obj.GetNamespace(), obj.GetName()); !apierrors.IsNotFound(err) {
		return err
	}
	w := registry.Write{Kind: kind, Namespace: obj.GetNamespace(), User: identity.Service(identity.Store), Manager: fieldManager, Verb: "create"}
	_, err = s.registry.Create(ctx, w, obj.DeepCopyObject().(kinds.Object))
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	// Another Store that starts may have been faster, and have the address that
	// the object asks for.
	if _, missing := s.Reader().Get(ctx, kind.GVR(), obj.GetNamespace(), obj.GetName()); missing == nil {
		return nil
	}
	return fmt.Errorf("create %s %s: %w", kind.Kind, obj.GetName(), err)
}

// mend gives a seed object that was there before what it has lost since, or what
// this version of the Store has more of.
func (s *Store) mend(ctx context.Context, seed kinds.Object) error {
	kind, err := s.kinds.ForObject(seed)
	if err != nil {
		return fmt.Errorf("mend the cluster's first objects: %w", err)
	}
	stored, err := s.Reader().Get(ctx, kind.GVR(), seed.GetNamespace(), seed.GetName())
	if apierrors.IsNotFound(err) {
		return nil // it has just been made, and is not in memory yet
	}
	if err != nil {
		return err
	}
	if s.control.Mend == nil || s.control.Mend(stored, seed) == nil {
		return nil
	}
	w := registry.Write{
		Kind: kind, Namespace: seed.GetNamespace(), Name: seed.GetName(),
		User: identity.Service(identity.Store), Manager: fieldManager,
	}
	_, err = s.registry.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		if mended := s.control.Mend(cur.Object(), seed); mended != nil {
			return mended, nil
		}
		return cur.Object().DeepCopyObject().(kinds.Object), nil
	})
	if err != nil {
		return fmt.Errorf("mend %s %s: %w", kind.Kind, seed.GetName(), err)
	}
	return nil
}

// firstObjects are those of every cluster, in an order in which they can be
// created.
func firstObjects() []kinds.Object {
	return []kinds.Object{
		namespace(metav1.NamespaceDefault),
		namespace(metav1.NamespaceSystem),
		namespace(metav1.NamespacePublic),
		namespace(corev1.NamespaceNodeLease),
		priorityClass("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
		priorityClass("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
		localpath.Class(),
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}}
}

func priorityClass(name string, value int32, description string) *schedulingv1.PriorityClass {
	return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description}
}

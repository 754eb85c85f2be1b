package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

// flowObject is a FlowSchema or a PriorityLevelConfiguration.
type flowObject interface {
	flowdefaults.Object
	kinds.Object
}

// tendDefaults makes the defaults that are missing, gives those back their specs
// that follow them, and removes what was a default of another version.
func tendDefaults[T flowObject](ctx context.Context, s *Store, present, defaults []T) (wrote bool, err error) {
	byName := make(map[string]T, len(present))
	for _, obj := range present {
		byName[obj.GetName()] = obj
	}
	var writes []func() error
	for _, d := range defaults {
		stored, there := byName[d.GetName()]
		delete(byName, d.GetName())
		switch {
		case !there:
			writes = append(writes, func() error { return s.createFirst(ctx, d) })
		case flowdefaults.Revise(stored, d) != nil:
			writes = append(writes, func() error { return reviseFlow(ctx, s, d) })
		}
	}
	for _, obj := range byName {
		if flowdefaults.Abandoned(obj) {
			writes = append(writes, func() error { return s.removeFlow(ctx, obj) })
		}
	}
	return len(writes) > 0, together(writes)
}

// together runs functions at the same time: the backend writes what comes at a
// time as one.
func together(run []func() error) error {
	errs := make([]error, len(run))
	var wg sync.WaitGroup
	for i, f := range run {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Store) ownWrite(obj kinds.Object) (registry.Write, error) {
	kind, err := s.kinds.ForObject(obj)
	return registry.Write{
		Kind: kind, Name: obj.GetName(), User: identity.Service(identity.Store), Manager: fieldManager, Verb: "update",
	}, err
}

func reviseFlow[T flowObject](ctx context.Context, s *Store, d T) error {
	w, err := s.ownWrite(d)
	if err != nil {
		return err
	}
	_, err = s.registry.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		stored, ok := cur.Object().(T)
		if !ok {
			return nil, fmt.Errorf("%s is a %T", cur.Key, cur.Object())
		}
		if revised := flowdefaults.Revise(stored, d); revised != nil {
			return revised, nil
		}
		return stored.DeepCopyObject().(kinds.Object), nil
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("revise %s %s: %w", w.Kind.Kind, w.Name, err)
	}
	return nil
}

func (s *Store) removeFlow(ctx context.Context, obj kinds.Object) error {
	w, err := s.ownWrite(obj)
	if err != nil {
		return err
	}
	w.Verb = "delete"
	_, _, err = s.registry.Delete(ctx, w, &storev1.DeleteOptions{Uid: string(obj.GetUID()), ResourceVersion: obj.GetResourceVersion()})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove %s %s: %w", w.Kind.Kind, w.Name, err)
	}
	return nil
}

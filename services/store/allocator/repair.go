package allocator

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/store/backend"
)

// Repair makes what is taken agree with what the Services have: it gives back
// what no Service has, and takes what a Service has without having taken it.
// serviceKey returns the backend's key of a Service.
func (a *Allocator) Repair(ctx context.Context, log *slog.Logger, serviceKey func(namespace, name string) string) error {
	// What is taken is read first: each of these keys was written together
	// with its Service, so a Service that is missing from the later read is
	// really gone.
	taken, err := a.backend.List(ctx, Prefix, backend.ListOptions{})
	if err != nil {
		return fmt.Errorf("read what is taken: %w", err)
	}
	objs, err := a.reader.List(ctx, servicesResource(), "")
	if err != nil {
		return fmt.Errorf("read the services: %w", err)
	}
	holders := make(map[string]*corev1.Service)
	for _, obj := range objs {
		svc := obj.(*corev1.Service)
		for key := range keysOf(svc) {
			if other, ok := holders[key]; ok {
				log.ErrorContext(ctx, "two services have the same address", "key", key, "service", owner(svc), "other", owner(other))
				continue
			}
			holders[key] = svc
		}
	}
	for _, kv := range taken.Items {
		if holders[kv.Key] != nil {
			delete(holders, kv.Key)
			continue
		}
		log.WarnContext(ctx, "an address that no service has is given back", "key", kv.Key, "was", string(kv.Value))
		if _, err := a.backend.Commit(ctx, backend.Op{Type: backend.Delete, Key: kv.Key, Expect: kv.Revision}); err != nil {
			return fmt.Errorf("give back %s: %w", kv.Key, err)
		}
	}
	return a.take(ctx, log, holders, serviceKey)
}

// take takes keys for the Services that have them, unless those have changed
// meanwhile.
func (a *Allocator) take(ctx context.Context, log *slog.Logger, holders map[string]*corev1.Service, serviceKey func(namespace, name string) string) error {
	for key, svc := range holders {
		at := serviceKey(svc.Namespace, svc.Name)
		current, err := a.backend.Get(ctx, at, 0)
		if err != nil {
			return fmt.Errorf("read the service %s: %w", owner(svc), err)
		}
		if current == nil || fmt.Sprint(current.Revision) != svc.ResourceVersion {
			continue
		}
		result, err := a.backend.Commit(ctx,
			backend.Op{Type: backend.Put, Key: key, Value: []byte(owner(svc))},
			backend.Op{Type: backend.Check, Key: at, Expect: current.Revision})
		if err != nil {
			return fmt.Errorf("take %s: %w", key, err)
		}
		if result.Committed {
			log.WarnContext(ctx, "an address that a service has was not taken", "key", key, "service", owner(svc))
		}
	}
	return nil
}

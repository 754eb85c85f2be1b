package registry

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// Ledger is what the ServiceAllocator keeps its books by: it reads objects, and
// makes the operations that write some of its own together with others'.
type Ledger struct {
	Reader
	manager string
}

// Ledger returns one that writes as a field manager.
func (r *Registry) Ledger(manager string) Ledger { return Ledger{r.Reader(), manager} }

// Fresh waits until a List shows all objects of a resource that were written
// before the call.
func (l Ledger) Fresh(ctx context.Context, resource schema.GroupVersionResource) error {
	_, c, err := l.ready(ctx, resource)
	if err != nil {
		return err
	}
	if err := c.Fresh(ctx); err != nil {
		return fmt.Errorf("read %s: %w", resource.Resource, BackendError(err))
	}
	return nil
}

// Stored returns the objects of a cluster-scoped resource as the backend has
// them, ordered by name.
func (l Ledger) Stored(ctx context.Context, resource schema.GroupVersionResource) ([]kinds.Object, error) {
	kind, _, err := l.ready(ctx, resource)
	if err != nil {
		return nil, err
	}
	page, err := l.registry.Backend.List(ctx, l.registry.KeyPrefix(kind, ""), backend.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", resource.Resource, BackendError(err))
	}
	out := make([]kinds.Object, len(page.Items))
	for i, kv := range page.Items {
		v, err := cache.Decode(kind, kv)
		if err != nil {
			return nil, err
		}
		out[i] = v.Object()
	}
	return out, nil
}

// Key returns the backend's key of an object.
func (l Ledger) Key(resource schema.GroupVersionResource, namespace, name string) string {
	kind, ok := l.registry.Kinds.ForResource(resource)
	if !ok {
		return ""
	}
	return l.registry.Key(kind, namespace, name)
}

// Creation returns the operation that stores a new object of the Store's own
// where there is none of its name.
func (l Ledger) Creation(ctx context.Context, obj kinds.Object) (backend.Op, error) {
	r := l.registry
	kind, err := r.Kinds.ForObject(obj)
	if err != nil {
		return backend.Op{}, err
	}
	prepareNew(kind, obj, time.Now())
	runPrepareForCreate(kind, obj)
	runDefault(kind, obj)
	w := Write{Kind: kind, User: identity.Service(identity.Store), Manager: l.manager, Verb: "create"}
	_, put, err := r.draftNew(ctx, w, obj)
	if err != nil {
		return backend.Op{}, err
	}
	return put, r.remember(ctx, kind, r.Cache(kind))
}

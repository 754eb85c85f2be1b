// Package registry is the Store's write pipeline and its view of the stored
// resources: it turns a decoded request into metadata rules, the kind's
// strategy, admission and validation, and commits the outcome to the backend
// with optimistic concurrency.
//
// A write reads the present object from the watch cache, which may lag behind.
// So it never fails, and never leaves the object as it is, on the cache's word
// alone: then it reads the object from the backend and decides again.
package registry

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/workers"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/webhook"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// Prefix begins the key of every object.
const Prefix = "/registry/"

// Options are what a Registry is made of.
type Options struct {
	Kinds   *kinds.Registry
	Backend backend.Backend
	Log     *slog.Logger
	Tracer  trace.Tracer
	// EventTTL is how long Events are kept.
	EventTTL time.Duration
	// Admission says which rules of package admission apply.
	Admission admission.Choice
	// Services hands out cluster IPs and node ports; nil hands out none.
	Services ServiceAllocator
	// Removed is told of every object that a write has removed; nil is not.
	Removed func(ctx context.Context, obj kinds.Object)
	// Dialer connects to webhooks that are Services.
	Dialer webhook.ServiceDialer
	// Authorizer answers what the expressions of webhooks and policies ask about
	// users.
	Authorizer access.Authorizer
}

// memoBytes bounds what the caches keep, beside the objects' messages, for
// readers that may come again: decoded objects and encodings.
const memoBytes = 64 << 20

// Registry holds the resources. It is safe for concurrent use.
type Registry struct {
	Options
	admission admission.Chain
	// made are those of the rules that the cluster's users have made. They see
	// also what is not stored as it is sent.
	made admission.Chain
	// quotas charges what is written; nil charges nothing.
	quotas   *quotas
	caches   caches
	clock    *cache.Clock
	budget   *cache.Budget
	tracker  *tracker
	removals *removals
	// workers write what one call has many of.
	workers *workers.Pool
}

// New returns a registry with a cache for every stored kind.
func New(o Options) *Registry {
	r := &Registry{
		Options: o, caches: caches{byKind: make(map[*kinds.Kind]*followed)}, clock: cache.NewClock(o.Backend), budget: cache.NewBudget(memoBytes),
		tracker: newTracker(o.Kinds), removals: newRemovals(), workers: workers.New(),
	}
	for _, k := range o.Kinds.Stock() {
		if k.Stored() && k.StoredAs == nil {
			r.caches.add(k, r.newCache(k))
		}
	}
	if o.Admission.Applies(admission.ResourceQuota) {
		r.quotas = newQuotas(r)
	}
	reader := settledReader{Reader{r}}
	r.made = madeRules(o, reader, r.tracker)
	r.admission = append(admission.NewChain(reader, o.Admission), r.made...)
	return r
}

// stored returns the kind under which a kind's objects are stored.
func (r *Registry) stored(kind *kinds.Kind) *kinds.Kind {
	switch {
	case kind.StoredAs == nil:
		return kind
	case kind.StoredAs.Kind != nil:
		return kind.StoredAs.Kind
	}
	k, ok := r.Kinds.ForResource(kind.StoredAs.GVR)
	if !ok {
		return kind
	}
	return k
}

// resourcePrefix begins the keys of a kind's objects.
func resourcePrefix(kind *kinds.Kind) string {
	group := kind.Group
	if group == "" {
		group = "core"
	}
	return Prefix + group + "/" + kind.Resource + "/"
}

// KeyPrefix begins the keys of a kind's objects in a namespace; "" is all.
func (r *Registry) KeyPrefix(kind *kinds.Kind, namespace string) string {
	prefix := resourcePrefix(r.stored(kind))
	if kind.Namespaced && namespace != "" {
		prefix += namespace + "/"
	}
	return prefix
}

// Key returns an object's key.
func (r *Registry) Key(kind *kinds.Kind, namespace, name string) string {
	return r.KeyPrefix(kind, namespace) + name
}

// Write describes who writes what, and how.
type Write struct {
	Kind        *kinds.Kind
	Namespace   string
	Name        string
	Subresource string
	User        identity.Identity
	DryRun      bool
	// Manager is the field manager.
	Manager string
	// FromUser says that a gateway carried the write: it is no service's own.
	FromUser bool
	// Verb is what the writer asked for: "create", "update", "patch", "apply",
	// "delete" or "bind".
	Verb string
	// Warnings takes what the writer is to be told beside the answer; nil
	// drops it.
	Warnings *admission.Warnings
	// Annotations takes what is to be noted in the audit log; nil drops it.
	Annotations *admission.Annotations
	// Validation is how strictly the writer's fields are judged.
	Validation storev1.FieldValidation

	// applied says that managedFields are up to date already.
	applied bool
	// judged says that webhooks and policies have seen the write in another
	// form.
	judged bool
}

// Reader reads from the caches. It implements access.Reader.
type Reader struct{ registry *Registry }

// Guard adds a last rule to admission, which sees what the others made of a
// write. It must be called before the Registry serves.
func (r *Registry) Guard(g access.Guard) { r.admission = append(r.admission, admission.Guarded(g)) }

// Reader returns what admission and authorization read through.
func (r *Registry) Reader() Reader { return Reader{r} }

// Get implements access.Reader. What the cache lacks is looked for in the
// backend, since the cache may lag behind a write that just ended.
func (rd Reader) Get(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (kinds.Object, error) {
	r := rd.registry
	kind, c, err := rd.ready(ctx, resource)
	if err != nil {
		return nil, err
	}
	key := r.Key(kind, namespace, name)
	if v := c.Get(key); v != nil {
		return objectAs(v, kind)
	}
	v, err := r.read(ctx, kind, key)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, apierrors.NewNotFound(kind.GroupResource(), name)
	}
	return objectAs(v, kind)
}

func objectAs(v *cache.Version, kind *kinds.Kind) (kinds.Object, error) {
	view, err := v.As(kind)
	if err != nil {
		return nil, err
	}
	return view.Object(), nil
}

// List implements access.Reader.
func (rd Reader) List(ctx context.Context, resource schema.GroupVersionResource, namespace string) ([]kinds.Object, error) {
	kind, c, err := rd.ready(ctx, resource)
	if err != nil {
		return nil, err
	}
	var out []kinds.Object
	var convert error
	err = c.Snapshot().Ascend(ctx, rd.registry.KeyPrefix(kind, namespace), "", func(v *cache.Version) bool {
		var obj kinds.Object
		obj, convert = objectAs(v, kind)
		out = append(out, obj)
		return convert == nil
	})
	if err == nil {
		err = convert
	}
	return out, err
}

// ListOnly implements access.Reader.
func (rd Reader) ListOnly(ctx context.Context, resource schema.GroupVersionResource, namespace, value string) ([]kinds.Object, error) {
	kind, c, err := rd.ready(ctx, resource)
	if err != nil {
		return nil, err
	}
	versions := c.Only(value, rd.registry.KeyPrefix(kind, namespace))
	out := make([]kinds.Object, len(versions))
	for i, v := range versions {
		out[i] = v.Object()
	}
	return out, nil
}

// settledReader is what admission reads through: whoever has just made a
// LimitRange or labelled a namespace finds it applied to the next object.
type settledReader struct{ Reader }

// Get implements access.Reader.
func (rd settledReader) Get(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (kinds.Object, error) {
	if err := rd.settle(ctx, resource); err != nil {
		return nil, err
	}
	return rd.Reader.Get(ctx, resource, namespace, name)
}

// List implements access.Reader.
func (rd settledReader) List(ctx context.Context, resource schema.GroupVersionResource, namespace string) ([]kinds.Object, error) {
	if err := rd.settle(ctx, resource); err != nil {
		return nil, err
	}
	return rd.Reader.List(ctx, resource, namespace)
}

// ListOnly implements access.Reader.
func (rd settledReader) ListOnly(ctx context.Context, resource schema.GroupVersionResource, namespace, value string) ([]kinds.Object, error) {
	if err := rd.settle(ctx, resource); err != nil {
		return nil, err
	}
	return rd.Reader.ListOnly(ctx, resource, namespace, value)
}

// settle waits until the cache holds what this process has written.
func (rd settledReader) settle(ctx context.Context, resource schema.GroupVersionResource) error {
	_, c, err := rd.ready(ctx, resource)
	if err != nil {
		return err
	}
	if err := c.Settled(ctx); err != nil {
		return fmt.Errorf("read %s: %w", resource.Resource, err)
	}
	return nil
}

// Version implements access.Reader. It counts what this process has written:
// whoever has just been granted something can do it.
func (rd Reader) Version(ctx context.Context, resource schema.GroupVersionResource) (int64, error) {
	_, c, err := rd.ready(ctx, resource)
	if err != nil {
		return 0, err
	}
	if err := c.Settled(ctx); err != nil {
		return 0, fmt.Errorf("read %s: %w", resource.Resource, err)
	}
	return c.LastChange(), nil
}

// ready returns a kind and its cache once that holds anything.
func (rd Reader) ready(ctx context.Context, resource schema.GroupVersionResource) (*kinds.Kind, *cache.Cache, error) {
	kind, ok := rd.registry.Kinds.ForResource(resource)
	if !ok || !kind.Stored() {
		return nil, nil, fmt.Errorf("read %v: it is not a stored resource", resource)
	}
	c := rd.registry.Cache(kind)
	if err := c.Reach(ctx, 0); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", resource.Resource, err)
	}
	return kind, c, nil
}

// read reads an object from the backend, nil if there is none.
func (r *Registry) read(ctx context.Context, kind *kinds.Kind, key string) (*cache.Version, error) {
	kv, err := r.Backend.Get(ctx, key, 0)
	if err != nil || kv == nil {
		return nil, BackendError(err)
	}
	return cache.Decode(r.stored(kind), *kv)
}

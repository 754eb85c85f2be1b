// Package inventory knows every object of the cluster by its metadata: what it
// is, who owns it, and whether it is being deleted. Garbage collection and the
// deletion of namespaces work on it.
//
// It keeps the least it can: of each object the name, uid, version, owner
// references, finalizers and deletion time, and nothing of its spec, status,
// labels or annotations.
package inventory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/interning"
	"navarch.dev/navarch/internal/customkinds"
	"navarch.dev/navarch/internal/kinds"
)

// byOwner is the index of objects by the uids of their owners.
const byOwner = "owner"

// Object is an object's metadata.
type Object = metav1.PartialObjectMetadata

// Found is an object and its kind.
type Found struct {
	Kind *kinds.Kind
	*Object
}

// Inventory is the set of all metadata informers of a process. Those of custom
// kinds come and go with their definitions.
type Inventory struct {
	client   *client.Client
	registry *kinds.Registry
	custom   *customkinds.Follower
	handlers []Handler
	// parts are what the metadata of many objects have in common.
	parts interning.Pool

	mu      sync.RWMutex // guards the fields below
	entries map[schema.GroupVersionResource]*entry
	// run follows an entry; nil before the inventory is started.
	run func(*entry)
}

// entry is a kind and the informer of its objects.
type entry struct {
	kind     *kinds.Kind
	informer *client.Informer[*Object]
	stop     chan struct{}
}

// New returns an inventory of every stored kind but events, which are many,
// short-lived and owned by nobody. Whoever has the follower of custom kinds runs
// it.
func New(c *client.Client, custom *customkinds.Follower) *Inventory {
	inv := &Inventory{client: c, registry: custom.Registry(), custom: custom, entries: make(map[schema.GroupVersionResource]*entry)}
	for _, kind := range inv.registry.Stock() {
		if kind.Stored() && kind.StoredAs == nil && kind.Kind != "Event" {
			inv.entries[kind.GVR()] = inv.entry(kind)
		}
	}
	inv.custom.OnChange(inv.update)
	return inv
}

func (inv *Inventory) entry(kind *kinds.Kind) *entry {
	keep := func(obj *Object) {
		trim(obj)
		inv.parts.Share(obj)
	}
	return &entry{kind: kind, stop: make(chan struct{}), informer: client.NewMetadataInformer(inv.client, kind,
		client.InformerOptions{Indexers: cache.Indexers{byOwner: ownersOf}}, keep)}
}

// update makes the informers of custom kinds those of the kinds that there are:
// one for each resource, of the version that is preferred.
func (inv *Inventory) update() {
	wanted := make(map[schema.GroupVersionResource]*kinds.Kind)
	seen := make(map[schema.GroupResource]bool)
	for _, kind := range inv.registry.All() {
		if kind.Custom != nil && !seen[kind.GroupResource()] {
			seen[kind.GroupResource()] = true
			wanted[kind.GVR()] = kind
		}
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for gvr, have := range inv.entries {
		if have.kind.Custom != nil && wanted[gvr] == nil {
			close(have.stop)
			delete(inv.entries, gvr)
		}
	}
	for gvr, kind := range wanted {
		if inv.entries[gvr] != nil {
			continue
		}
		made := inv.entry(kind)
		inv.handle(made)
		inv.entries[gvr] = made
		if inv.run != nil {
			inv.run(made)
		}
	}
}

func ownersOf(v any) ([]string, error) {
	obj, ok := v.(*Object)
	if !ok {
		return nil, fmt.Errorf("index a %T: not metadata", v)
	}
	var uids []string
	for _, ref := range obj.OwnerReferences {
		uids = append(uids, string(ref.UID))
	}
	return uids, nil
}

func trim(obj *Object) {
	obj.ObjectMeta = metav1.ObjectMeta{
		Name: obj.Name, Namespace: obj.Namespace, UID: obj.UID, ResourceVersion: obj.ResourceVersion,
		OwnerReferences: obj.OwnerReferences, Finalizers: obj.Finalizers, DeletionTimestamp: obj.DeletionTimestamp,
	}
}

// Kinds returns the kinds of all objects that are stored, events too, each as
// one of its versions.
func (inv *Inventory) Kinds() []*kinds.Kind {
	var out []*kinds.Kind
	seen := make(map[schema.GroupResource]bool)
	for _, kind := range inv.registry.All() {
		if !kind.Stored() || kind.StoredAs != nil || seen[kind.GroupResource()] {
			continue
		}
		seen[kind.GroupResource()] = true
		out = append(out, kind)
	}
	return out
}

// Kind returns the kind of a resource.
func (inv *Inventory) Kind(gvr schema.GroupVersionResource) (*kinds.Kind, bool) {
	return inv.registry.ForResource(gvr)
}

// Refresh makes sure that kinds which were defined before the call are known.
func (inv *Inventory) Refresh(ctx context.Context) error { return inv.custom.Refresh(ctx) }

// all returns the entries that there are.
func (inv *Inventory) all() []*entry {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	return slices.Collect(maps.Values(inv.entries))
}

// informer returns the informer of a kind's objects, nil if there is none.
func (inv *Inventory) informer(kind *kinds.Kind) *client.Informer[*Object] {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	if e := inv.entries[kind.GVR()]; e != nil {
		return e.informer
	}
	return nil
}

// Handler is told of every change of every object.
type Handler struct {
	OnAdd    func(Found)
	OnUpdate func(old *Object, obj Found)
	OnDelete func(Found)
}

// AddHandler adds a handler. Call it before Start.
func (inv *Inventory) AddHandler(h Handler) {
	inv.handlers = append(inv.handlers, h)
	for _, e := range inv.all() {
		e.add(h)
	}
}

// handle adds all handlers to an entry.
func (inv *Inventory) handle(e *entry) {
	for _, h := range inv.handlers {
		e.add(h)
	}
}

func (e *entry) add(h Handler) {
	e.informer.AddHandler(client.Handler[*Object]{
		OnAdd:    func(obj *Object) { h.OnAdd(Found{e.kind, obj}) },
		OnUpdate: func(old, obj *Object) { h.OnUpdate(old, Found{e.kind, obj}) },
		OnDelete: func(obj *Object) { h.OnDelete(Found{e.kind, obj}) },
	})
}

// Start follows all kinds until ctx ends. It returns once those that there are
// are complete, or with ctx's error.
func (inv *Inventory) Start(ctx context.Context, wg *sync.WaitGroup) error {
	run := func(e *entry) {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				select {
				case <-e.stop:
					cancel()
				case <-ctx.Done():
				}
			}()
			e.informer.Run(ctx)
		})
	}
	wg.Go(func() {
		<-ctx.Done()
		inv.mu.Lock()
		defer inv.mu.Unlock()
		inv.run = nil
	})
	inv.mu.Lock()
	for _, e := range inv.entries {
		run(e)
	}
	inv.run = run
	inv.mu.Unlock()
	select {
	case <-inv.custom.Synced():
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, e := range inv.all() {
		select {
		case <-e.informer.Synced():
		case <-e.stop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Get returns an object by its kind and name.
func (inv *Inventory) Get(kind *kinds.Kind, namespace, name string) (*Object, bool) {
	informer := inv.informer(kind)
	if informer == nil {
		return nil, false
	}
	return informer.Get(namespace, name)
}

// Follows says whether the objects of a kind are in the inventory. Events are not,
// nor are those of kinds that are stored as others.
func (inv *Inventory) Follows(kind *kinds.Kind) bool { return inv.informer(kind) != nil }

// HasReached says whether the objects of a kind are known up to a
// resourceVersion.
func (inv *Inventory) HasReached(kind *kinds.Kind, resourceVersion string) bool {
	informer := inv.informer(kind)
	return informer != nil && informer.HasReached(resourceVersion)
}

// InNamespace returns a namespace's objects of a kind.
func (inv *Inventory) InNamespace(kind *kinds.Kind, namespace string) []*Object {
	informer := inv.informer(kind)
	if informer == nil {
		return nil
	}
	return informer.InNamespace(namespace)
}

// Dependents returns the objects that have an owner reference to the uid.
func (inv *Inventory) Dependents(uid types.UID) ([]Found, error) {
	var all []Found
	for _, e := range inv.all() {
		objs, err := e.informer.ByIndex(byOwner, string(uid))
		if err != nil {
			return nil, err
		}
		for _, obj := range objs {
			all = append(all, Found{e.kind, obj})
		}
	}
	return all, nil
}

// OwnerKind returns the kind that an owner reference names. A reference may
// use another version than the one served here.
func (inv *Inventory) OwnerKind(ref metav1.OwnerReference) (*kinds.Kind, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, false
	}
	if kind, ok := inv.registry.ForGVK(gv.WithKind(ref.Kind)); ok && kind.Custom == nil {
		return kind, true
	}
	for _, e := range inv.all() {
		if e.kind.Group == gv.Group && e.kind.Kind == ref.Kind {
			return e.kind, true
		}
	}
	return nil, false
}

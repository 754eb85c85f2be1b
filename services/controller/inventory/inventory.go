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
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/interning"
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

// Inventory is the set of all metadata informers of a process.
type Inventory struct {
	kinds     []*kinds.Kind
	informers map[*kinds.Kind]*client.Informer[*Object]
	registry  *kinds.Registry
}

// New returns an inventory of every stored kind but events, which are many,
// short-lived and owned by nobody.
func New(c *client.Client) *Inventory {
	inv := &Inventory{registry: kinds.Default(), informers: make(map[*kinds.Kind]*client.Informer[*Object])}
	var parts interning.Pool
	keep := func(obj *Object) {
		trim(obj)
		parts.Share(obj)
	}
	for _, kind := range inv.registry.All() {
		if kind.CreateOnly || kind.StoredAs != nil || kind.Kind == "Event" {
			continue
		}
		inv.kinds = append(inv.kinds, kind)
		inv.informers[kind] = client.NewMetadataInformer(c, kind, client.InformerOptions{Indexers: cache.Indexers{byOwner: ownersOf}}, keep)
	}
	return inv
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

// Kinds returns the kinds of the inventory.
func (inv *Inventory) Kinds() []*kinds.Kind { return inv.kinds }

// Handler is told of every change of every object.
type Handler struct {
	OnAdd    func(Found)
	OnUpdate func(old *Object, obj Found)
	OnDelete func(Found)
}

// AddHandler adds a handler. Call it before Start.
func (inv *Inventory) AddHandler(h Handler) {
	for kind, informer := range inv.informers {
		informer.AddHandler(client.Handler[*Object]{
			OnAdd:    func(obj *Object) { h.OnAdd(Found{kind, obj}) },
			OnUpdate: func(old, obj *Object) { h.OnUpdate(old, Found{kind, obj}) },
			OnDelete: func(obj *Object) { h.OnDelete(Found{kind, obj}) },
		})
	}
}

// Start follows all kinds until ctx ends. It returns once all are complete, or
// with ctx's error.
func (inv *Inventory) Start(ctx context.Context, wg *sync.WaitGroup) error {
	for _, informer := range inv.informers {
		wg.Go(func() { informer.Run(ctx) })
	}
	for _, informer := range inv.informers {
		select {
		case <-informer.Synced():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Get returns an object by its kind and name.
func (inv *Inventory) Get(kind *kinds.Kind, namespace, name string) (*Object, bool) {
	informer, ok := inv.informers[kind]
	if !ok {
		return nil, false
	}
	return informer.Get(namespace, name)
}

// HasReached says whether the objects of a kind are known up to a
// resourceVersion.
func (inv *Inventory) HasReached(kind *kinds.Kind, resourceVersion string) bool {
	informer, ok := inv.informers[kind]
	return ok && informer.HasReached(resourceVersion)
}

// InNamespace returns a namespace's objects of a kind.
func (inv *Inventory) InNamespace(kind *kinds.Kind, namespace string) []*Object {
	informer, ok := inv.informers[kind]
	if !ok {
		return nil
	}
	return informer.InNamespace(namespace)
}

// Dependents returns the objects that have an owner reference to the uid.
func (inv *Inventory) Dependents(uid types.UID) ([]Found, error) {
	var all []Found
	for _, kind := range inv.kinds {
		objs, err := inv.informers[kind].ByIndex(byOwner, string(uid))
		if err != nil {
			return nil, err
		}
		for _, obj := range objs {
			all = append(all, Found{kind, obj})
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
	if kind, ok := inv.registry.ForGVK(gv.WithKind(ref.Kind)); ok {
		return kind, true
	}
	for _, kind := range inv.kinds {
		if kind.Group == gv.Group && kind.Kind == ref.Kind {
			return kind, true
		}
	}
	return nil, false
}

package kinds

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Registry holds kinds and finds them by each of their names. It is safe for
// concurrent use.
type Registry struct {
	// stock are the kinds that every cluster has.
	stock []*Kind

	mu sync.Mutex // one at a time changes the kinds
	// now are the kinds that there are.
	now atomic.Pointer[index]
}

// index finds kinds. It does not change.
type index struct {
	generation int64
	kinds      []*Kind
	byGVR      map[schema.GroupVersionResource]*Kind
	byGVK      map[schema.GroupVersionKind]*Kind
	versions   map[schema.GroupVersion]bool
	byType     map[reflect.Type]*Kind
	shared     map[*Kind][]*Kind
}

// Default returns the registry of every kind that all clusters have. It is
// shared and must not be changed.
var Default = sync.OnceValue(func() *Registry { return newRegistry(builtin()) })

// NewRegistry returns a registry of the kinds that all clusters have, to which
// custom ones can be added.
func NewRegistry() *Registry { return newRegistry(Default().stock) }

func newRegistry(stock []*Kind) *Registry {
	r := &Registry{stock: stock}
	r.now.Store(newIndex(stock, 0))
	return r
}

func newIndex(kinds []*Kind, generation int64) *index {
	x := &index{
		generation: generation,
		kinds:      kinds,
		byGVR:      make(map[schema.GroupVersionResource]*Kind, len(kinds)),
		byGVK:      make(map[schema.GroupVersionKind]*Kind, len(kinds)),
		versions:   make(map[schema.GroupVersion]bool),
		byType:     make(map[reflect.Type]*Kind, 2*len(kinds)),
		shared:     sharing(kinds),
	}
	for _, k := range kinds {
		x.byGVR[k.GVR()] = k
		x.byGVK[k.GVK()] = k
		x.versions[k.GVK().GroupVersion()] = true
		if k.Custom != nil {
			continue
		}
		x.byType[reflect.TypeOf(k.New())] = k
		if !k.CreateOnly {
			x.byType[reflect.TypeOf(k.NewList())] = k
		}
	}
	return x
}

// SetCustom replaces the custom kinds. Those that are not among the new ones
// are retired. A kind with the names of one that every cluster has is left
// out.
func (r *Registry) SetCustom(custom []*Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.now.Load()
	all := slices.Clone(r.stock)
	kept := make(map[chan struct{}]bool)
	for _, k := range custom {
		taken := slices.ContainsFunc(r.stock, func(s *Kind) bool { return s.GVR() == k.GVR() || s.GVK() == k.GVK() })
		if !taken {
			all = append(all, k)
			kept[k.Custom.Retired] = true
		}
	}
	r.now.Store(newIndex(all, before.generation+1))
	for _, k := range before.kinds {
		if k.Custom != nil && !kept[k.Custom.Retired] {
			kept[k.Custom.Retired] = true // its other versions share it
			close(k.Custom.Retired)
		}
	}
}

// Generation returns a number that is greater after every change of the kinds.
func (r *Registry) Generation() int64 { return r.now.Load().generation }

// All returns every kind, in discovery order. The slice must not be changed.
func (r *Registry) All() []*Kind { return r.now.Load().kinds }

// Stock returns the kinds that every cluster has. The slice must not be
// changed.
func (r *Registry) Stock() []*Kind { return r.stock }

// ForResource returns the kind of a resource.
func (r *Registry) ForResource(gvr schema.GroupVersionResource) (*Kind, bool) {
	k, ok := r.now.Load().byGVR[gvr]
	return k, ok
}

// Serves says whether there is any kind of a group and version.
func (r *Registry) Serves(gv schema.GroupVersion) bool { return r.now.Load().versions[gv] }

// Equivalents returns the other kinds that show the same objects as one.
func (r *Registry) Equivalents(kind *Kind) []*Kind { return r.now.Load().shared[kind] }

// ForGVK returns the kind of a group, version and kind.
func (r *Registry) ForGVK(gvk schema.GroupVersionKind) (*Kind, bool) {
	k, ok := r.now.Load().byGVK[gvk]
	return k, ok
}

// ForObject returns the kind of a Go object or list by its type or, of an
// object of a custom kind, by what the object says it is.
func (r *Registry) ForObject(obj runtime.Object) (*Kind, error) {
	x := r.now.Load()
	if k, ok := x.byType[reflect.TypeOf(obj)]; ok {
		return k, nil
	}
	if _, custom := obj.(runtime.Unstructured); custom {
		gvk := obj.GetObjectKind().GroupVersionKind()
		if k, ok := x.byGVK[gvk]; ok {
			return k, nil
		}
		return nil, fmt.Errorf("%v is not a registered kind", gvk)
	}
	return nil, fmt.Errorf("%T is not a registered kind", obj)
}

// sharing finds the kinds that are stored as the same kind.
func sharing(kinds []*Kind) map[*Kind][]*Kind {
	stored := make(map[schema.GroupVersionResource][]*Kind)
	for _, k := range kinds {
		gvr := k.storedGVR()
		stored[gvr] = append(stored[gvr], k)
	}
	shared := make(map[*Kind][]*Kind)
	for _, group := range stored {
		for i, k := range group {
			if len(group) > 1 {
				shared[k] = slices.Concat(group[:i], group[i+1:])
			}
		}
	}
	return shared
}

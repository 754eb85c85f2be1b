package kinds

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Registry holds kinds and finds them by each of their names.
type Registry struct {
	kinds  []*Kind
	byGVR  map[schema.GroupVersionResource]*Kind
	byGVK  map[schema.GroupVersionKind]*Kind
	byType map[reflect.Type]*Kind
	shared map[*Kind][]*Kind
}

// Default returns the registry of every kind this version of Navarch serves.
// It is immutable and shared.
var Default = sync.OnceValue(func() *Registry { return newRegistry(builtin()) })

func newRegistry(kinds []*Kind) *Registry {
	r := &Registry{
		kinds:  kinds,
		byGVR:  make(map[schema.GroupVersionResource]*Kind, len(kinds)),
		byGVK:  make(map[schema.GroupVersionKind]*Kind, len(kinds)),
		byType: make(map[reflect.Type]*Kind, 2*len(kinds)),
		shared: sharing(kinds),
	}
	for _, k := range kinds {
		r.byGVR[k.GVR()] = k
		r.byGVK[k.GVK()] = k
		r.byType[reflect.TypeOf(k.New())] = k
		if !k.CreateOnly {
			r.byType[reflect.TypeOf(k.NewList())] = k
		}
	}
	return r
}

// All returns every kind, in discovery order. The slice must not be changed.
func (r *Registry) All() []*Kind { return r.kinds }

// ForResource returns the kind of a resource.
func (r *Registry) ForResource(gvr schema.GroupVersionResource) (*Kind, bool) {
	k, ok := r.byGVR[gvr]
	return k, ok
}

// Equivalents returns the other kinds that show the same objects as one.
func (r *Registry) Equivalents(kind *Kind) []*Kind { return r.shared[kind] }

// ForGVK returns the kind of a group, version and kind.
func (r *Registry) ForGVK(gvk schema.GroupVersionKind) (*Kind, bool) {
	k, ok := r.byGVK[gvk]
	return k, ok
}

// ForObject returns the kind of a Go object or list by its type.
func (r *Registry) ForObject(obj runtime.Object) (*Kind, error) {
	if k, ok := r.byType[reflect.TypeOf(obj)]; ok {
		return k, nil
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

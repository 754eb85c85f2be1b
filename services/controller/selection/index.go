// Package selection knows which objects a label selector selects, and which
// selectors select an object, without a look at all of either.
//
// Reconcilers of what selects pods (Services, budgets, owners in search of
// orphans) ask both for every change of a pod: who selects it, and then, for
// each of these, whom it selects. Answers that walk a whole namespace cost
// pods times selectors for a rollout; here each costs what it returns.
//
//	index.go  the index, kept by the changes of the objects
//	follow.go the selectors of the objects of another kind, put into it
//	table.go  the selectors of one namespace and what they select
package selection

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Index relates the objects of an informer to selectors. A selector is known
// by the name of who has it, and selects objects of that one's namespace.
type Index[T kinds.Object] struct {
	objects *client.Informer[T]
	// counts says which objects can be selected; nil: all.
	counts func(T) bool

	mu     sync.RWMutex // guards tables; the informer's own lock is taken under it
	tables map[string]*table
}

// New returns an index without selectors over an informer's objects, or those
// among them that count. It must be called before the informer runs, and before
// handlers are added that use the index: a handler finds what it is told of.
func New[T kinds.Object](objects *client.Informer[T], counts func(T) bool) *Index[T] {
	x := &Index[T]{objects: objects, counts: counts, tables: make(map[string]*table)}
	objects.AddHandler(client.Handler[T]{OnAdd: x.add, OnUpdate: x.update, OnDelete: x.remove})
	return x
}

// Put gives the owner of a name a selector, in place of the one it has. It
// looks at all objects of the namespace unless the two are the same.
func (x *Index[T]) Put(namespace, name string, selector labels.Selector) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, selectable := selector.Requirements(); !selectable {
		x.drop(namespace, name)
		return
	}
	t := x.tables[namespace]
	if t == nil {
		t = newTable()
		x.tables[namespace] = t
	}
	if e, ok := t.byName[name]; ok && e.text == selector.String() {
		return
	}
	e := t.put(name, selector)
	for _, obj := range x.scan(namespace, selector) {
		e.members[obj.GetName()] = struct{}{}
	}
}

// Drop forgets the selector of a name.
func (x *Index[T]) Drop(namespace, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(namespace, name)
}

// drop needs x.mu.
func (x *Index[T]) drop(namespace, name string) {
	t := x.tables[namespace]
	if t == nil {
		return
	}
	if t.drop(name); len(t.byName) == 0 {
		delete(x.tables, namespace)
	}
}

// Selecting returns the keys, "namespace/name", of whose selectors select an
// object. It goes by the object as it is given, whatever its state in the
// informer, so that it can be asked for an object as it was.
func (x *Index[T]) Selecting(obj T) []string {
	if !x.canSelect(obj) {
		return nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.tables[obj.GetNamespace()]
	if t == nil {
		return nil
	}
	var keys []string
	t.selecting(obj.GetLabels(), func(e *entry) {
		keys = append(keys, cache.NewObjectName(obj.GetNamespace(), e.name).String())
	})
	return keys
}

// Selected returns the objects that the selector of a name selects, in no
// order. The caller tells the selector, for it may have seen its owner's last
// change a moment before the index has heard of it; all objects of the
// namespace are looked at then.
func (x *Index[T]) Selected(namespace, name string, selector labels.Selector) []T {
	members, ok := x.members(namespace, name, selector)
	if !ok {
		return x.scan(namespace, selector)
	}
	objs := make([]T, 0, len(members))
	for _, member := range members {
		// What has changed in the informer and not here yet is not what it was.
		if obj, ok := x.objects.Get(namespace, member); ok && x.canSelect(obj) && selector.Matches(labels.Set(obj.GetLabels())) {
			objs = append(objs, obj)
		}
	}
	return objs
}

// members returns the names of what a selector selects, or !ok if the owner of
// the name is not known to have it.
func (x *Index[T]) members(namespace, name string, selector labels.Selector) (names []string, ok bool) {
	text := selector.String()
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.tables[namespace]
	if t == nil || t.byName[name] == nil || t.byName[name].text != text {
		return nil, false
	}
	return slices.Collect(maps.Keys(t.byName[name].members)), true
}

// scan looks at all objects of a namespace.
func (x *Index[T]) scan(namespace string, selector labels.Selector) []T {
	if _, selectable := selector.Requirements(); !selectable {
		return nil
	}
	var objs []T
	for _, obj := range x.objects.InNamespace(namespace) {
		if x.canSelect(obj) && selector.Matches(labels.Set(obj.GetLabels())) {
			objs = append(objs, obj)
		}
	}
	return objs
}

func (x *Index[T]) canSelect(obj T) bool { return x.counts == nil || x.counts(obj) }

func (x *Index[T]) add(obj T) {
	x.each(obj, func(e *entry) { e.members[obj.GetName()] = struct{}{} })
}

func (x *Index[T]) update(old, obj T) {
	if x.canSelect(old) == x.canSelect(obj) && maps.Equal(old.GetLabels(), obj.GetLabels()) {
		return
	}
	x.remove(old)
	x.add(obj)
}

func (x *Index[T]) remove(obj T) {
	x.each(obj, func(e *entry) { delete(e.members, obj.GetName()) })
}

// each changes the entries that select an object.
func (x *Index[T]) each(obj T, change func(*entry)) {
	if !x.canSelect(obj) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.tables[obj.GetNamespace()]; t != nil {
		t.selecting(obj.GetLabels(), change)
	}
}

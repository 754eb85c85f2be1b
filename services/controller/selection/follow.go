package selection

import (
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// shared is how the parts of a process find the index of two kinds.
type shared[O, T kinds.Object] struct{ *Index[T] }

// Follow returns the index of objects of type T by the selectors of those of
// type O. All who follow the same two kinds have one index, made for the first,
// so they must mean the same by a selector and by what counts. An owner that
// selects nothing has labels.Nothing.
func Follow[O, T kinds.Object](informers *client.Informers, selects func(O) labels.Selector, counts func(T) bool) (*Index[T], error) {
	index, err := client.Shared(informers, func() (shared[O, T], error) {
		objects, err := client.InformerFor[T](informers, nil)
		if err != nil {
			return shared[O, T]{}, err
		}
		owners, err := client.InformerFor[O](informers, nil)
		if err != nil {
			return shared[O, T]{}, err
		}
		x := New(objects, counts)
		owners.AddHandler(ownersOf(x, selects))
		return shared[O, T]{x}, nil
	})
	return index.Index, err
}

// ownersOf puts the selectors of owners into an index.
func ownersOf[O, T kinds.Object](x *Index[T], selects func(O) labels.Selector) client.Handler[O] {
	put := func(owner O) { x.Put(owner.GetNamespace(), owner.GetName(), selects(owner)) }
	return client.Handler[O]{
		OnAdd: put,
		OnUpdate: func(old, owner O) {
			if g := owner.GetGeneration(); g == 0 || g != old.GetGeneration() { // else only the status changed
				put(owner)
			}
		},
		OnDelete: func(owner O) { x.Drop(owner.GetNamespace(), owner.GetName()) },
	}
}

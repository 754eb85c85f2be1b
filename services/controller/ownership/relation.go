package ownership

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/selection"
)

// Relation knows which objects of type T may belong to which owners of one
// kind.
type Relation[T kinds.Object] struct {
	owners  *kinds.Kind
	objects *client.Informer[T]
	orphans *selection.Index[T]
}

// Relate returns the relation of objects of type T to owners of type O that have
// selectors. Nothing belongs to an owner whose selector cannot be read, or is
// empty.
func Relate[T, O kinds.Object](informers *client.Informers, owners *client.Informer[O], selector func(O) (labels.Selector, error)) (*Relation[T], error) {
	objects, err := client.InformerFor[T](informers, Indexers())
	if err != nil {
		return nil, err
	}
	selects := func(owner O) labels.Selector {
		s, err := selector(owner)
		if err != nil || s.Empty() {
			return labels.Nothing()
		}
		return s
	}
	isOrphan := func(obj T) bool { return metav1.GetControllerOfNoCopy(obj) == nil }
	orphans, err := selection.Follow(informers, selects, isOrphan)
	if err != nil {
		return nil, fmt.Errorf("follow the orphans among %s: %w", objects.Kind().Resource, err)
	}
	return &Relation[T]{owners: owners.Kind(), objects: objects, orphans: orphans}, nil
}

// Keys returns the owners that an object concerns: the one in the controller
// reference or, for an orphan, every owner whose selector matches it.
func (r *Relation[T]) Keys(obj T) []string {
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil {
		return r.orphans.Selecting(obj)
	}
	if ref.Kind != r.owners.Kind || ref.APIVersion != r.owners.APIVersion() {
		return nil
	}
	return []string{cache.NewObjectName(obj.GetNamespace(), ref.Name).String()}
}

// Candidates returns the objects that may belong to an owner: its own, and the
// orphans that its selector selects.
func (r *Relation[T]) Candidates(owner metav1.Object, selector labels.Selector) ([]T, error) {
	owned, err := Owned(r.objects, owner.GetUID())
	if err != nil {
		return nil, err
	}
	return slices.Concat(owned, r.orphans.Selected(owner.GetNamespace(), owner.GetName(), selector)), nil
}

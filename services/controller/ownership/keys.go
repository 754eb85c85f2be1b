package ownership

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Keys returns the input mapping from objects to the owners of type O that
// they concern: the one in the controller reference or, for an orphan, every
// owner whose selector matches it.
func Keys[T, O kinds.Object](owners *client.Informer[O], selector func(O) (labels.Selector, error)) func(T) []string {
	kind := owners.Kind()
	return func(obj T) []string {
		if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
			if ref.Kind != kind.Kind || ref.APIVersion != kind.APIVersion() {
				return nil
			}
			return []string{cache.NewObjectName(obj.GetNamespace(), ref.Name).String()}
		}
		var keys []string
		for _, owner := range owners.InNamespace(obj.GetNamespace()) {
			s, err := selector(owner)
			if err == nil && !s.Empty() && s.Matches(labels.Set(obj.GetLabels())) {
				keys = append(keys, cache.MetaObjectToName(owner).String())
			}
		}
		return keys
	}
}

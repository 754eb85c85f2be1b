package registry

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
)

// versions converts objects between the kinds that show the same ones, such as
// the two versions of HorizontalPodAutoscalers: what somebody manages is recorded
// in the version that they wrote.
type versions struct {
	*runtime.Scheme // converts between kinds that are not shared: to themselves
	kinds           *kinds.Registry
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (v versions) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gv, one := target.(schema.GroupVersion)
	from := in.GetObjectKind().GroupVersionKind()
	if !one {
		return v.Scheme.ConvertToVersion(in, target)
	}
	if from.GroupVersion() == gv {
		if from.Kind != "" && !isUnstructured(in) {
			return in, nil // nobody changes what is compared: it need not be copied
		}
		return v.Scheme.ConvertToVersion(in, target)
	}
	source, known := v.kinds.ForGVK(from)
	wanted, served := v.kinds.ForGVK(gv.WithKind(from.Kind))
	if !known || !served {
		return v.Scheme.ConvertToVersion(in, target)
	}
	obj, err := typedObject(in, source)
	if err != nil {
		return nil, err
	}
	var out kinds.Object
	switch {
	case wanted.StoredAs != nil && wanted.StoredAs.GVR == source.GVR():
		out, err = wanted.StoredAs.Decode(obj)
	case source.StoredAs != nil && source.StoredAs.GVR == wanted.GVR():
		out, err = source.StoredAs.Encode(obj)
	default:
		return v.Scheme.ConvertToVersion(in, target)
	}
	if err != nil {
		return nil, fmt.Errorf("convert %s to %s: %w", from, gv, err)
	}
	out.GetObjectKind().SetGroupVersionKind(wanted.GVK())
	return out, nil
}

func isUnstructured(obj runtime.Object) bool {
	_, ok := obj.(runtime.Unstructured)
	return ok
}

// typedObject returns an object as its kind's Go type.
func typedObject(in runtime.Object, kind *kinds.Kind) (kinds.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		obj, ok := in.(kinds.Object)
		if !ok {
			return nil, fmt.Errorf("convert %s: a %T is no object", kind.Kind, in)
		}
		return obj, nil
	}
	obj := kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil, fmt.Errorf("read a %s: %w", kind.Kind, err)
	}
	return obj, nil
}

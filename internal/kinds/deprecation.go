package kinds

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Deprecation returns what whoever uses the kind is to be told, empty if it is
// not deprecated.
func (k *Kind) Deprecation() string {
	if k.Custom != nil {
		return k.Custom.Warning
	}
	return k.deprecated
}

// deprecationOf is what the API says of its own kinds, in the words of
// Kubernetes. What is deprecated by a later release is so here already: the
// types are those of one release.
func deprecationOf(obj Object, gvk schema.GroupVersionKind) string {
	deprecated, ok := obj.(interface {
		APILifecycleDeprecated() (major, minor int)
	})
	if !ok {
		return ""
	}
	major, minor := deprecated.APILifecycleDeprecated()
	if major == 0 && minor == 0 {
		return ""
	}
	message := fmt.Sprintf("%s %s is deprecated in v%d.%d+", gvk.GroupVersion(), gvk.Kind, major, minor)
	if removed, ok := obj.(interface {
		APILifecycleRemoved() (major, minor int)
	}); ok {
		if major, minor := removed.APILifecycleRemoved(); major != 0 || minor != 0 {
			message += fmt.Sprintf(", unavailable in v%d.%d+", major, minor)
		}
	}
	if replaced, ok := obj.(interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}); ok {
		if by := replaced.APILifecycleReplacement(); !by.Empty() {
			message += fmt.Sprintf("; use %s %s", by.GroupVersion(), by.Kind)
		}
	}
	return message
}

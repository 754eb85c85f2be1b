// Package kinds is the registry of every API kind that Navarch serves: its
// names, its Go type, its Protobuf message and how it behaves. The Store, the
// gateway and the client package all read it; adding a kind is adding an entry.
//
// A Kind is one resource, for example apps/v1 "deployments". Kinds are found
// by resource (KindFor), by Go type (KindOf) or by group, version and kind
// (KindForGVK).
package kinds

import (
	"fmt"

	"google.golang.org/protobuf/types/known/anypb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds/disabled"
)

// Object is any API object: one of the structs of k8s.io/api.
type Object interface {
	runtime.Object
	metav1.Object
}

// List is the list type of a kind, for example *corev1.PodList.
type List interface {
	runtime.Object
	metav1.ListInterface
}

// Kind describes one resource.
type Kind struct {
	// Group, Version, Resource ("deployments") and Kind ("Deployment") name it.
	Group, Version, Resource, Kind string
	// ListKind is the kind of its lists. Empty: Kind with "List" behind it.
	ListKind string
	// Singular is the lower-case singular name, "deployment".
	Singular string
	// ShortNames are kubectl's abbreviations.
	ShortNames []string
	// Categories are groups such as "all".
	Categories []string
	// Namespaced is false for cluster-scoped kinds.
	Namespaced bool
	// Subresources are the served ones: "status", "scale", "log", …
	Subresources []string
	// CreateOnly marks kinds that are evaluated, not stored (access and token
	// reviews): they have the verb create and nothing else.
	CreateOnly bool
	// ReadOnly marks kinds that are worked out when they are asked for, not
	// stored: they have the verbs get and list and nothing else.
	ReadOnly bool
	// CreateOnUpdate says that an update of an object that is not there makes it.
	CreateOnUpdate bool
	// NamedOnce says that the name and the generateName of its objects are judged by
	// NameRule when they are created only; later they need no more than fit into a path.
	NamedOnce bool
	// NameRule returns what is wrong with a name, or with a generateName where
	// prefix is set. Kinds that name none have DNS subdomains as names.
	NameRule func(name string, prefix bool) []string
	// Columns are what kubectl get prints. Kinds that name none show their
	// objects' name and age.
	Columns []Column
	// Fields returns the fields, beyond metadata.name and metadata.namespace,
	// that field selectors may name. Nil means none.
	Fields FieldsFunc
	// FieldNames are the keys that Fields returns, in order.
	FieldNames []string
	// FieldRefusal is how a field that is not among them is refused: a format with
	// the field. Empty is what most kinds say.
	FieldRefusal string
	// WatchField is the selectable field, if there is one, by whose exact value
	// most watchers pick: pods by the node they are on. A change wakes only the
	// watchers of the values that it concerns.
	WatchField string
	// Unselectable says that no field selector may name the WatchField: by it the
	// Store alone finds objects.
	Unselectable bool
	// Strategy is the kind's own behaviour on writes.
	Strategy Strategy
	// StoredAs names the kind under which objects are stored, where two kinds
	// show the same objects (events.k8s.io and core Events). Nil: itself.
	StoredAs *Sharing
	// Custom is what only kinds have that a CustomResourceDefinition makes; nil
	// for all others.
	Custom *Custom

	newObject func() Object
	newList   func() List
	typeURL   string
	// disabled are the fields that DropDisabled takes away; nil for most.
	disabled *disabled.Fields
	// deprecated is said to whoever uses the kind; empty for most.
	deprecated string
}

// Stored says whether objects of the kind are kept, under whichever kind.
func (k *Kind) Stored() bool { return !k.CreateOnly && !k.ReadOnly }

// Sharing converts between a kind and the one it is stored as.
type Sharing struct {
	GVR schema.GroupVersionResource
	// Kind is the kind that it is stored as where no registry has that.
	Kind   *Kind
	Decode func(stored Object) (Object, error)
	Encode func(Object) (stored Object, err error)
}

// FieldsFunc returns an object's selectable fields.
type FieldsFunc func(Object) map[string]string

// GVR returns the kind's group, version and resource.
func (k *Kind) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: k.Resource}
}

func (k *Kind) storedGVR() schema.GroupVersionResource {
	if k.StoredAs != nil {
		return k.StoredAs.GVR
	}
	return k.GVR()
}

// Convert returns an object of the kind as an object of another one that shows
// the same objects. The result may share parts with obj.
func (k *Kind) Convert(obj Object, to *Kind) (Object, error) {
	var err error
	if k == to {
		return obj, nil
	}
	if k.StoredAs != nil {
		if obj, err = k.StoredAs.Encode(obj); err != nil {
			return nil, fmt.Errorf("convert a %s to what is stored: %w", k.APIVersion(), err)
		}
	}
	if to.StoredAs == nil {
		return obj, nil
	}
	if obj, err = to.StoredAs.Decode(obj); err != nil {
		return nil, fmt.Errorf("convert what is stored to a %s: %w", to.APIVersion(), err)
	}
	return obj, nil
}

// GVK returns the kind's group, version and kind.
func (k *Kind) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

// GroupResource returns the kind's group and resource.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Resource}
}

// New returns an empty object of the kind, its TypeMeta unset.
func (k *Kind) New() Object { return k.newObject() }

// NewList returns an empty list of the kind, its TypeMeta unset.
func (k *Kind) NewList() List { return k.newList() }

// Wrap returns an object's encoded message as the Any that Decode reads.
func (k *Kind) Wrap(message []byte) *anypb.Any { return &anypb.Any{TypeUrl: k.typeURL, Value: message} }

// HasSubresource says whether the kind serves a subresource.
func (k *Kind) HasSubresource(name string) bool {
	for _, s := range k.Subresources {
		if s == name {
			return true
		}
	}
	return false
}

// List returns the kind of the kind's lists.
func (k *Kind) List() string {
	if k.ListKind != "" {
		return k.ListKind
	}
	return k.Kind + "List"
}

// APIVersion returns "v1", "apps/v1" and the like.
func (k *Kind) APIVersion() string { return k.GVK().GroupVersion().String() }

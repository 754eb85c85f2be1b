// Package envelope is the Protobuf form in which the Kubernetes REST API
// carries objects: four magic bytes, then a runtime.Unknown message that names
// the kind and holds the object's own message.
package envelope

import (
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
)

// Types maps Protobuf messages to the API kinds that they are.
type Types struct {
	kindOf    map[string]schema.GroupVersionKind
	messageOf map[schema.GroupVersionKind]string
}

// NewTypes returns the messages of every kind in reg and of the bodies of
// subresources.
func NewTypes(reg *kinds.Registry) *Types {
	t := &Types{kindOf: make(map[string]schema.GroupVersionKind), messageOf: make(map[schema.GroupVersionKind]string)}
	for _, k := range reg.Stock() {
		t.add(k.New(), k.GVK())
	}
	core := schema.GroupVersion{Version: "v1"}
	t.add(&corev1.Binding{}, core.WithKind("Binding"))
	t.add(&metav1.Status{}, core.WithKind("Status"))
	t.add(&autoscalingv1.Scale{}, autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
	t.add(&policyv1.Eviction{}, policyv1.SchemeGroupVersion.WithKind("Eviction"))
	t.add(&authenticationv1.TokenRequest{}, authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"))
	t.add(&metav1.PartialObjectMetadata{}, schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "PartialObjectMetadata"})
	return t
}

func (t *Types) add(obj runtime.Object, gvk schema.GroupVersionKind) {
	name := kinds.MessageName(obj)
	t.kindOf[name] = gvk
	t.messageOf[gvk] = name
}

// typeURLPrefix precedes the message name in an Any.
const typeURLPrefix = "type.googleapis.com/"

// KindOf returns the kind of an Any's type URL.
func (t *Types) KindOf(typeURL string) (schema.GroupVersionKind, bool) {
	gvk, ok := t.kindOf[strings.TrimPrefix(typeURL, typeURLPrefix)]
	return gvk, ok
}

// TypeURL returns the type URL of a kind's message.
func (t *Types) TypeURL(gvk schema.GroupVersionKind) (string, bool) {
	name, ok := t.messageOf[gvk]
	return typeURLPrefix + name, ok
}

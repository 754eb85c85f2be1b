package calls

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// sent returns the object or the patch in a request in JSON, nil if it has none:
// the i-th of a request that has many.
func sent(req any, i int) []byte {
	switch m := req.(type) {
	case *storev1.CreateRequest:
		return inJSON(m.GetObject())
	case *storev1.UpdateRequest:
		return inJSON(m.GetObject())
	case *storev1.PatchRequest:
		if m.GetType() != storev1.PatchType_PATCH_TYPE_APPLY {
			return m.GetPatch()
		}
		text, err := yaml.YAMLToJSON(m.GetPatch())
		if err != nil {
			return nil // so the answer says too
		}
		return text
	case *storev1.BindRequest:
		return binding(m.GetBindings()[i])
	}
	return nil
}

// answered returns the object in an answer in JSON, nil if it has none.
func answered(resp any) []byte {
	m, ok := resp.(interface{ GetObject() *storev1.Object })
	if !ok {
		return nil
	}
	return inJSON(m.GetObject())
}

func binding(b *storev1.Binding) []byte {
	text, err := json.Marshal(&corev1.Binding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Binding"},
		ObjectMeta: metav1.ObjectMeta{Namespace: b.GetNamespace(), Name: b.GetName(), UID: types.UID(b.GetUid())},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.GetNodeName()},
	})
	if err != nil {
		return nil
	}
	return text
}

// inJSON returns an object in JSON, nil if it is none.
func inJSON(o *storev1.Object) []byte {
	if len(o.GetJson()) > 0 || o.GetObject() == nil {
		return o.GetJson()
	}
	obj := newOf(o.GetObject())
	if kinds.Decode(o.GetObject(), obj) != nil {
		return nil // so the answer says too
	}
	text, err := json.Marshal(obj)
	if err != nil {
		return nil
	}
	return text
}

// newOf returns an empty object of a message's type with its kind. What is no
// published message is of a custom kind.
func newOf(message *anypb.Any) runtime.Object {
	name := message.GetTypeUrl()
	name = name[strings.LastIndexByte(name, '/')+1:]
	if known, ok := messages()[name]; ok {
		obj := reflect.New(known.of).Interface().(runtime.Object)
		obj.GetObjectKind().SetGroupVersionKind(known.gvk)
		return obj
	}
	return &unstructured.Unstructured{}
}

// message is the Go type of a published message, and the kind that it is.
type message struct {
	of  reflect.Type
	gvk schema.GroupVersionKind
}

// messages are all that objects can be, by name.
var messages = sync.OnceValue(func() map[string]message {
	all := make(map[string]message)
	for gvk, of := range scheme.Scheme.AllKnownTypes() {
		obj, ok := reflect.New(of).Interface().(runtime.Object)
		if ok && of.PkgPath() != metaPackage { // those are of every group
			all[kinds.MessageName(obj)] = message{of, gvk}
		}
	}
	for _, kind := range kinds.Default().All() {
		obj := kind.New()
		all[kinds.MessageName(obj)] = message{reflect.TypeOf(obj).Elem(), kind.GVK()}
	}
	return all
})

var metaPackage = reflect.TypeFor[metav1.ObjectMeta]().PkgPath()

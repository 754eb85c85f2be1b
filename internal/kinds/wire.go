package kinds

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// typeURLPrefix precedes the message name in every Any.
const typeURLPrefix = "type.googleapis.com/"

// message is what every struct of k8s.io/api generates.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// MessageName returns the full name of the published Protobuf message of a
// k8s.io/api struct, for example "k8s.io.api.core.v1.Pod".
func MessageName(obj runtime.Object) string {
	t := reflect.TypeOf(obj).Elem()
	if name, ok := messageNames.Load(t); ok {
		return name.(string)
	}
	name := strings.NewReplacer("/", ".", "-", "_").Replace(t.PkgPath()) + "." + t.Name()
	messageNames.Store(t, name)
	return name
}

// messageNames remembers what MessageName has returned by reflect.Type: it is
// asked for with every message that is encoded or decoded.
var messageNames sync.Map

// Encode wraps an object as its published message. TypeMeta is not part of
// the message; the Any's type URL tells the kind. Objects of custom kinds are
// wrapped as documents, which hold all of them.
func Encode(obj runtime.Object) (*anypb.Any, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return encodeDocument(u)
	}
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("encode %T: it has no Protobuf message", obj)
	}
	b, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", obj, err)
	}
	return &anypb.Any{TypeUrl: typeURLPrefix + MessageName(obj), Value: b}, nil
}

// Decode fills obj from an Any of its own message type, or from a document if
// it is of a custom kind.
func Decode(any *anypb.Any, obj runtime.Object) error {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return decodeDocument(any, u)
	}
	m, ok := obj.(message)
	if !ok {
		return fmt.Errorf("decode %T: it has no Protobuf message", obj)
	}
	if err := CheckMessage(any, obj); err != nil {
		return err
	}
	if err := m.Unmarshal(any.GetValue()); err != nil {
		return fmt.Errorf("decode %T: %w", obj, err)
	}
	return nil
}

// CheckMessage says whether an Any holds a message of obj's type.
func CheckMessage(any *anypb.Any, obj runtime.Object) error {
	if name := strings.TrimPrefix(any.GetTypeUrl(), typeURLPrefix); name != MessageName(obj) {
		return fmt.Errorf("decode %T: the message is a %q", obj, name)
	}
	return nil
}

package kinds

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// documentName is the name of the message that objects of custom kinds travel
// in.
var documentName = string((&storev1.Document{}).ProtoReflect().Descriptor().FullName())

func encodeDocument(u *unstructured.Unstructured) (*anypb.Any, error) {
	version := u.GetResourceVersion()
	if version != "" {
		u = withoutVersion(u)
	}
	text, err := json.Marshal(u.Object) // keys in order: equal objects are equal bytes
	if err != nil {
		return nil, fmt.Errorf("encode a %s: %w", u.GetKind(), err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&storev1.Document{Json: string(text), ResourceVersion: version})
	if err != nil {
		return nil, fmt.Errorf("encode a %s: %w", u.GetKind(), err)
	}
	return &anypb.Any{TypeUrl: typeURLPrefix + documentName, Value: b}, nil
}

// withoutVersion returns an object without its resourceVersion, which shares
// all else.
func withoutVersion(u *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: make(map[string]any, len(u.Object))}
	for name, value := range u.Object {
		out.Object[name] = value
	}
	if meta, ok := u.Object["metadata"].(map[string]any); ok {
		shown := make(map[string]any, len(meta))
		for name, value := range meta {
			if name != "resourceVersion" {
				shown[name] = value
			}
		}
		out.Object["metadata"] = shown
	}
	return out
}

func decodeDocument(any *anypb.Any, u *unstructured.Unstructured) error {
	if name := strings.TrimPrefix(any.GetTypeUrl(), typeURLPrefix); name != documentName {
		return fmt.Errorf("decode a document: the message is a %q", name)
	}
	var d storev1.Document
	if err := proto.Unmarshal(any.GetValue(), &d); err != nil {
		return fmt.Errorf("decode a document: %w", err)
	}
	u.Object = nil
	if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(d.GetJson()), &u.Object); err != nil {
		return fmt.Errorf("decode a document: %w", err)
	}
	if u.Object == nil {
		return fmt.Errorf("decode a document: it is no object")
	}
	if v := d.GetResourceVersion(); v != "" {
		u.SetResourceVersion(v)
	}
	return nil
}

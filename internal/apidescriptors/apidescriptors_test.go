package apidescriptors

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"navarch.dev/navarch/internal/kinds"
)

func TestEveryKindHasADescriptor(t *testing.T) {
	r := Resolver()
	for _, k := range kinds.Default().All() {
		name := protoreflect.FullName(kinds.MessageName(k.New()))
		if _, err := r.FindDescriptorByName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPodIsReadByItsDescriptor(t *testing.T) {
	any, err := kinds.Encode(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Resolver().FindDescriptorByName("k8s.io.api.core.v1.Pod")
	if err != nil {
		t.Fatal(err)
	}
	pod := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := proto.Unmarshal(any.GetValue(), pod); err != nil {
		t.Fatal(err)
	}
	metadata := pod.Get(pod.Descriptor().Fields().ByName("metadata")).Message()
	if got := metadata.Get(metadata.Descriptor().Fields().ByName("name")).String(); got != "p" {
		t.Errorf("name = %q, want p", got)
	}
}

package kinds_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
)

func TestItemCut(t *testing.T) {
	pods, err := kinds.Default().ForObject(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	pod.SetGroupVersionKind(pods.GVK())
	pod.Name = "web"
	whole, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	pod.SetGroupVersionKind(schema.GroupVersionKind{})
	want, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	custom := kinds.NewCustom(schema.GroupVersionKind{Group: "x.io", Version: "v1", Kind: "Box"}, "boxes")
	custom.Custom = &kinds.Custom{}
	for name, tc := range map[string]struct {
		kind         *kinds.Kind
		object, want string
	}{
		"built in":            {pods, string(whole), string(want)},
		"without a type":      {pods, string(want), string(want)},
		"metadata alone":      {pods, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{}}`, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{}}`},
		"custom":              {custom, `{"apiVersion":"x.io/v1","kind":"Box"}`, `{"apiVersion":"x.io/v1","kind":"Box"}`},
		"custom, other order": {custom, `{"kind":"Box","apiVersion":"x.io/v1","a":1}`, `{"kind":"Box","apiVersion":"x.io/v1","a":1}`},
	} {
		head, rest := tc.kind.ItemCut().Cut([]byte(","), []byte(tc.object))
		if got := string(head) + string(rest); got != ","+tc.want {
			t.Errorf("%s: %s, want ,%s", name, got, tc.want)
		}
	}
}

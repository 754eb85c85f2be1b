package codec_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/codec"
)

// Selectors may name what a kind declares selectable, but for what the Store alone
// finds objects by.
func TestSelectableFields(t *testing.T) {
	for _, tt := range []struct {
		group, resource, fields string
		want                    bool
	}{
		{"", "pods", "spec.nodeName=n1", true},
		{"", "pods", "metadata.namespace=default", true},
		{"", "pods", "spec.hostname=x", false},
		{"", "nodes", "metadata.namespace=default", false},
		{"resource.k8s.io", "resourceclaims", "metadata.name=c", true},
		{"resource.k8s.io", "resourceclaims", "claimedFor=x", false},
	} {
		kind, ok := kinds.Default().ForResource(schema.GroupVersionResource{Group: tt.group, Version: "v1", Resource: tt.resource})
		if !ok {
			t.Fatalf("there are no %s", tt.resource)
		}
		if _, err := codec.ParseSelector(kind, "", tt.fields); (err == nil) != tt.want {
			t.Errorf("%s, %s: %v", tt.resource, tt.fields, err)
		}
	}
}

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
		want                    string // the error
	}{
		{"", "pods", "spec.nodeName=n1", ""},
		{"", "pods", "metadata.namespace=default", ""},
		{"", "pods", "spec.hostname=x", "field label not supported: spec.hostname"},
		{"", "nodes", "metadata.namespace=default", "field label not supported: metadata.namespace"},
		{"resource.k8s.io", "resourceclaims", "metadata.name=c", ""},
		{"resource.k8s.io", "resourceclaims", "claimedFor=x", `"claimedFor" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"resource.k8s.io", "resourceslices", "spec.x=x", "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.x"},
		{"batch", "jobs", "spec.x=x", `field label "spec.x" not supported for Job`},
		{"apps", "replicasets", "status.replicas=1", `"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"", "configmaps", "data=x", `"data" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"storage.k8s.io", "storageclasses", "metadata.namespace=default", ""},
	} {
		kind, ok := kinds.Default().ForResource(schema.GroupVersionResource{Group: tt.group, Version: "v1", Resource: tt.resource})
		if !ok {
			t.Fatalf("there are no %s", tt.resource)
		}
		got := ""
		if _, err := codec.ParseSelector(kind, "", tt.fields); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s, %s: %q, want %q", tt.resource, tt.fields, got, tt.want)
		}
	}
}

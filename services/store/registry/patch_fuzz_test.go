package registry_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/registry"
)

// FuzzApplyPatch: a patch changes a document or is refused, and never panics.
func FuzzApplyPatch(f *testing.F) {
	f.Add(int32(1), []byte(`[{"op":"add","path":"/spec/replicas","value":3},{"op":"move","from":"/a","path":"/b"}]`))
	f.Add(int32(2), []byte(`{"spec":{"replicas":null}}`))
	f.Add(int32(3), []byte(`{"spec":{"template":{"spec":{"containers":[{"$patch":"delete","name":"c"}],"$setElementOrder/containers":[]}}}}`))
	document := []byte(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"c"}]}}}}`)
	f.Fuzz(func(_ *testing.T, kind int32, patch []byte) {
		_, _ = registry.ApplyPatch(document, registry.PatchOptions{Type: storev1.PatchType(kind), Patch: patch}, &appsv1.Deployment{})
	})
}

package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/apistatus"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

func TestPatches(t *testing.T) {
	tests := []struct {
		name  string
		kind  types.PatchType
		patch string
		// check returns whether the patched deployment is right; it is not
		// called where fails is true.
		check func(*appsv1.Deployment) bool
		fails func(error) bool
	}{
		{
			name: "strategic merge by container name", kind: types.StrategicMergePatchType,
			patch: `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"new"}]}}}}`,
			check: func(d *appsv1.Deployment) bool {
				return len(d.Spec.Template.Spec.Containers) == 1 && d.Spec.Template.Spec.Containers[0].Image == "new"
			},
		},
		{
			name: "merge", kind: types.MergePatchType, patch: `{"metadata":{"labels":{"a":"b"}}}`,
			check: func(d *appsv1.Deployment) bool { return d.Labels["a"] == "b" },
		},
		{
			name: "JSON patch", kind: types.JSONPatchType, patch: `[{"op":"replace","path":"/spec/replicas","value":7}]`,
			check: func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == 7 },
		},
		{
			name: "JSON patch whose test fails", kind: types.JSONPatchType, patch: `[{"op":"test","path":"/spec/replicas","value":9}]`,
			fails: apierrors.IsInvalid,
		},
		{name: "broken", kind: types.MergePatchType, patch: `{`, fails: apierrors.IsBadRequest},
		{
			name: "of an old version", kind: types.MergePatchType, patch: `{"metadata":{"resourceVersion":"1","labels":{"x":"y"}}}`,
			fails: apierrors.IsConflict,
		},
		{name: "invalid result", kind: types.MergePatchType, patch: `{"spec":{"replicas":-1}}`, fails: apierrors.IsInvalid},
	}
	c := storetest.New(t).Client(storetest.Admin())
	create(t, c, deployment("web"))
	for _, test := range tests {
		d := deployment("web")
		err := c.Patch(t.Context(), d, test.kind, []byte(test.patch), "")
		switch {
		case test.fails != nil && !test.fails(err):
			t.Errorf("%s: %v", test.name, err)
		case test.fails == nil && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.fails == nil && !test.check(d):
			t.Errorf("%s: %+v", test.name, d)
		}
	}
}

func TestServerSideApply(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	apply := func(manager, body string, force bool) (*storev1.PatchResponse, error) {
		resp, err := c.Store().Patch(ctx, &storev1.PatchRequest{
			Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default", Name: "cm",
			Type: storev1.PatchType_PATCH_TYPE_APPLY, Patch: []byte(body), Force: force,
			Options: &storev1.WriteOptions{FieldManager: manager},
		})
		return resp, apistatus.FromGRPC(err)
	}
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cm\n"
	resp, err := apply("one", head+"data: {a: \"1\", b: \"1\"}\n", false)
	if err != nil || !resp.GetCreated() {
		t.Fatalf("first apply: created %t, %v", resp.GetCreated(), err)
	}
	first := configMap("cm", nil)
	if err := reread(t, c, first); err != nil || first.Data["a"] != "1" || len(first.ManagedFields) != 1 {
		t.Fatalf("first apply: %v, %+v", err, first)
	}
	if _, err := apply("one", head+"data: {a: \"1\", b: \"1\"}\n", false); err != nil {
		t.Fatal(err)
	}
	again := configMap("cm", nil)
	if err := reread(t, c, again); err != nil || again.ResourceVersion != first.ResourceVersion {
		t.Errorf("applying the same again was written: %v", err)
	}
	if _, err := apply("two", head+"data: {a: \"2\"}\n", false); !apierrors.IsConflict(err) {
		t.Errorf("another manager's field: %v", err)
	}
	if _, err := apply("two", head+"data: {a: \"2\"}\n", true); err != nil {
		t.Errorf("forced: %v", err)
	}
	if _, err := apply("one", head+"data: {}\n", false); err != nil {
		t.Fatal(err)
	}
	last := configMap("cm", nil)
	if err := reread(t, c, last); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "2"}, last.Data); diff != "" {
		t.Errorf("what the first manager gave up is gone (-want +got):\n%s", diff)
	}
	if _, err := apply("", head, false); !apierrors.IsInvalid(err) {
		t.Errorf("without a manager: %v", err)
	}
}

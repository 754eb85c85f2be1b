package storageversionmigration_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/customresourcedefinition"
	"navarch.dev/navarch/services/controller/storageversionmigration"
)

const widgets = `
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

func migration(group, resource string) *migrationv1.StorageVersionMigration {
	return &migrationv1.StorageVersionMigration{
		ObjectMeta: metav1.ObjectMeta{Name: "m"},
		Spec:       migrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: group, Resource: resource}},
	}
}

func succeeded(all []*migrationv1.StorageVersionMigration) bool {
	return len(all) == 1 && meta.IsStatusConditionTrue(all[0].Status.Conditions, string(migrationv1.MigrationSucceeded))
}

// TestRewritesWhatIsInAnOldVersion changes the storage version of a custom kind: a
// migration writes the objects that are stored in the old one, and only those.
func TestRewritesWhatIsInAnOldVersion(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(customresourcedefinition.New(c.Deps, c.Inventory)), c.Controller(storageversionmigration.New(c.Deps)))
	d := &kinds.Definition{}
	if err := yaml.UnmarshalStrict([]byte(widgets), d); err != nil {
		t.Fatal(err)
	}
	c.Apply(d)
	established := func(all []*kinds.Definition) bool {
		return len(all) == 1 && len(all[0].Status.Conditions) > 1 && all[0].Status.Conditions[1].Status == "True"
	}
	controllertest.Await(c, "the definition established", established)
	first := create(t, c, "first")
	controllertest.Change(c, d, "", func(d *kinds.Definition) { d.Spec.Versions[0].Storage, d.Spec.Versions[1].Storage = false, true })
	controllertest.Await(c, "the new version in use", func(all []*kinds.Definition) bool { return len(all[0].Status.StoredVersions) == 2 })
	c.Apply(migration("example.com", "widgets"))
	m := controllertest.Await(c, "the migration's success", succeeded)[0]
	if m.Status.ResourceVersion == "" || meta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationRunning)) {
		t.Errorf("its status is %+v", m.Status)
	}
	if now := get(t, c, "first"); now == first {
		t.Errorf("the object is still as of %s", now)
	}
}

// TestLeavesWhatIsInThePresentVersion migrates objects that need nothing.
func TestLeavesWhatIsInThePresentVersion(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(storageversionmigration.New(c.Deps)))
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	c.Apply(cm)
	c.Apply(migration("", "configmaps"))
	controllertest.Await(c, "the migration's success", succeeded)
	after := &corev1.ConfigMap{}
	if err := c.Client.Get(t.Context(), "default", "a", after); err != nil || after.ResourceVersion != cm.ResourceVersion {
		t.Errorf("it was written anew: %v, %s, before %s", err, after.ResourceVersion, cm.ResourceVersion)
	}
}

func resource() *storev1.Resource {
	return &storev1.Resource{Group: "example.com", Version: "v1", Resource: "widgets"}
}

// create makes a widget and returns its version.
func create(t *testing.T, c *controllertest.Cluster, name string) string {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"})
	u.SetNamespace("default")
	u.SetName(name)
	body, err := kinds.Encode(u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Store().Create(t.Context(), &storev1.CreateRequest{Resource: resource(), Namespace: "default", Object: &storev1.Object{Object: body}}); err != nil {
		t.Fatal(err)
	}
	return get(t, c, name)
}

func get(t *testing.T, c *controllertest.Cluster, name string) string {
	t.Helper()
	resp, err := c.Store().Get(t.Context(), &storev1.GetRequest{Resource: resource(), Namespace: "default", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := kinds.Decode(resp.GetObject().GetObject(), u); err != nil {
		t.Fatal(err)
	}
	return u.GetResourceVersion()
}

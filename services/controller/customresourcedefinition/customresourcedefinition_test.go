package customresourcedefinition_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/testcluster"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/customresourcedefinition"
	"navarch.dev/navarch/services/controller/garbagecollector"
	"navarch.dev/navarch/services/controller/namespace"
	"navarch.dev/navarch/services/controller/resourcequota"
)

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(
		c.Controller(customresourcedefinition.New(c.Deps, c.Inventory)),
		c.Controller(garbagecollector.New(c.Deps, c.Inventory)),
		c.Controller(namespace.New(c.Deps, c.Inventory)),
		c.Controller(resourcequota.New(c.Deps, c.Inventory)),
	)
	return c
}

func definition(t *testing.T, text string) *kinds.Definition {
	t.Helper()
	d := &kinds.Definition{}
	if err := yaml.UnmarshalStrict([]byte(text), d); err != nil {
		t.Fatal(err)
	}
	return d
}

const widgets = `
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func condition(d *kinds.Definition, typ apiextensionsv1.CustomResourceDefinitionConditionType) apiextensionsv1.CustomResourceDefinitionCondition {
	for _, c := range d.Status.Conditions {
		if c.Type == typ {
			return c
		}
	}
	return apiextensionsv1.CustomResourceDefinitionCondition{}
}

// established waits until a definition is established, or for good not.
func established(c *controllertest.Cluster, name string) *kinds.Definition {
	var found *kinds.Definition
	controllertest.Await(c, name+" established", func(all []*kinds.Definition) bool {
		for _, d := range all {
			if d.Name == name && condition(d, apiextensionsv1.Established).Status == apiextensionsv1.ConditionTrue {
				found = d
				return true
			}
		}
		return false
	})
	return found
}

func TestEstablished(t *testing.T) {
	c := start(t)
	c.Apply(definition(t, widgets))
	d := established(c, "widgets.example.com")
	want := apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList", ShortNames: []string{"wd"}}
	if got := d.Status.AcceptedNames; got.Plural != want.Plural || got.Singular != want.Singular || got.Kind != want.Kind || got.ListKind != want.ListKind || len(got.ShortNames) != 1 {
		t.Errorf("the names are %+v", got)
	}
	if got := condition(d, apiextensionsv1.NamesAccepted); got.Status != apiextensionsv1.ConditionTrue || got.Reason != "NoConflicts" {
		t.Errorf("NamesAccepted is %+v", got)
	}
	if len(d.Status.StoredVersions) != 1 || d.Status.StoredVersions[0] != "v1" {
		t.Errorf("the stored versions are %v", d.Status.StoredVersions)
	}
}

// TestNameConflict has a definition whose kind is taken; it is established once
// the one that has it is gone.
func TestNameConflict(t *testing.T) {
	c := start(t)
	first, second := definition(t, widgets), definition(t, widgets)
	second.Name, second.Spec.Names.Plural, second.Spec.Names.Singular = "gadgets.example.com", "gadgets", "gadget"
	c.Apply(first)
	established(c, first.Name)
	c.Apply(second)
	controllertest.Await(c, "a conflict", func(all []*kinds.Definition) bool {
		for _, d := range all {
			if d.Name == second.Name {
				accepted, established := condition(d, apiextensionsv1.NamesAccepted), condition(d, apiextensionsv1.Established)
				return accepted.Status == apiextensionsv1.ConditionFalse && accepted.Reason == "ListKindConflict" &&
					established.Status == apiextensionsv1.ConditionFalse && established.Reason == "NotAccepted"
			}
		}
		return false
	})
	c.Remove(first, "")
	established(c, second.Name)
}

func widget(name string, owners ...metav1.OwnerReference) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"})
	u.SetNamespace("default")
	u.SetName(name)
	u.SetOwnerReferences(owners)
	return u
}

// create makes objects of custom kinds.
func create(t *testing.T, c *controllertest.Cluster, objs ...*unstructured.Unstructured) {
	t.Helper()
	for _, u := range objs {
		body, err := kinds.Encode(u)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Store().Create(t.Context(), &storev1.CreateRequest{
			Resource: resourceOf(u), Namespace: u.GetNamespace(), Object: &storev1.Object{Object: body},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := kinds.Decode(resp.GetObject().GetObject(), u); err != nil {
			t.Fatal(err)
		}
	}
}

func widgetResource() *storev1.Resource {
	return &storev1.Resource{Group: "example.com", Version: "v1", Resource: "widgets"}
}

// left returns the names of the widgets there are.
func left(t *testing.T, c *controllertest.Cluster, kind *kinds.Kind) []string {
	t.Helper()
	objs, err := c.ListMetadata(t.Context(), kind, "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objs {
		names = append(names, o.Name)
	}
	return names
}

// TestDeletion deletes a definition: its objects go first, and one that is held
// holds it.
func TestDeletion(t *testing.T) {
	c := start(t)
	c.Apply(definition(t, widgets))
	d := established(c, "widgets.example.com")
	held := widget("held")
	held.SetFinalizers([]string{"example.com/hold"})
	create(t, c, held, widget("free"))
	c.Remove(d, "")
	controllertest.Await(c, "deletion in progress", func(all []*kinds.Definition) bool {
		return len(all) == 1 && condition(all[0], apiextensionsv1.Terminating).Reason == "InstanceDeletionInProgress"
	})
	patch := []byte(`{"metadata":{"finalizers":null}}`)
	_, err := c.Store().Patch(t.Context(), &storev1.PatchRequest{
		Resource: widgetResource(), Namespace: "default", Name: "held", Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: patch,
	})
	if err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "the definition gone", func(all []*kinds.Definition) bool { return len(all) == 0 })
}

// TestOwnersOfCustomKinds has a ConfigMap that a widget owns, and a widget that
// a ConfigMap owns.
func TestOwnersOfCustomKinds(t *testing.T) {
	c := start(t)
	c.Apply(definition(t, widgets))
	kind := kinds.FromDefinition(established(c, "widgets.example.com"))[0]
	owner := widget("owner")
	create(t, c, owner)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owned", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "example.com/v1", Kind: "Widget", Name: "owner", UID: owner.GetUID()},
	}}}
	top := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "top"}}
	c.Apply(cm, top)
	create(t, c, widget("owned", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "top", UID: top.UID}))
	if err := c.DeleteCollection(t.Context(), kind, "default", client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "what the widget owned gone", func(all []*corev1.ConfigMap) bool { return len(all) == 1 && all[0].Name == "top" })
	blocks := true
	create(t, c, widget("again", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "top", UID: top.UID, BlockOwnerDeletion: &blocks}))
	c.Remove(top, metav1.DeletePropagationForeground)
	controllertest.Await(c, "the owner gone", func(all []*corev1.ConfigMap) bool { return len(all) == 0 })
	// The collector may not have seen the widget yet when it let the owner go.
	testcluster.Eventually(t, "the widgets gone", func() error {
		if names := left(t, c, kind); len(names) != 0 {
			return fmt.Errorf("left are %v", names)
		}
		return nil
	})
}

// TestNamespaceDeletion deletes a namespace with a widget in it.
func TestNamespaceDeletion(t *testing.T) {
	c := start(t)
	c.Apply(definition(t, widgets))
	kind := kinds.FromDefinition(established(c, "widgets.example.com"))[0]
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	c.Apply(ns)
	w := widget("w")
	w.SetNamespace("shop")
	create(t, c, w)
	c.Remove(ns, "")
	controllertest.Await(c, "the namespace gone", func(all []*corev1.Namespace) bool {
		for _, n := range all {
			if n.Name == "shop" {
				return false
			}
		}
		return true
	})
	if names := left(t, c, kind); len(names) != 0 {
		t.Errorf("left are %v", names)
	}
}

// TestQuota has a quota of one widget.
func TestQuota(t *testing.T) {
	c := start(t)
	c.Apply(definition(t, widgets))
	kind := kinds.FromDefinition(established(c, "widgets.example.com"))[0]
	const name = "count/widgets.example.com"
	c.Apply(&corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "one"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{name: resource.MustParse("1")}},
	})
	used := func(what, want string) {
		controllertest.Await(c, what, func(all []*corev1.ResourceQuota) bool {
			got, counted := all[0].Status.Used[name]
			return counted && got.String() == want
		})
	}
	used("a count", "0")
	create(t, c, widget("first"))
	used("the first charged", "1")
	body, err := kinds.Encode(widget("second"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Store().Create(t.Context(), &storev1.CreateRequest{Resource: widgetResource(), Namespace: "default", Object: &storev1.Object{Object: body}})
	if err == nil || !strings.Contains(err.Error(), "exceeded quota: one") {
		t.Errorf("a second one: %v", err)
	}
	if err := c.DeleteNamed(t.Context(), kind, "default", "first", client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	used("nothing left", "0")
}

package gateway_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/storetest"
)

// crontabs is a definition with most of what one can have. Its versions differ
// in spec.image, which v1alpha1 does not know.
const crontabs = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    selectableFields: [{jsonPath: .spec.image}]
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - {rule: '!has(self.replicas) || self.replicas != 7', message: seven is unlucky, fieldPath: .replicas}
            - {rule: '!has(oldSelf.image) || has(self.image)', message: an image stays}
            properties:
              cronSpec: {type: string, pattern: '^(\d+|\*)( (\d+|\*)){4}$', default: '* * * * *'}
              image: {type: string, description: what runs}
              replicas: {type: integer, minimum: 1, maximum: 10}
              port: {x-kubernetes-int-or-string: true}
              extra: {type: object, x-kubernetes-preserve-unknown-fields: true}
              steps:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, run: {type: string}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}}
  - name: v1alpha1
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {cronSpec: {type: string}}
`

// define stores a definition and establishes it, as the controller would.
func (c *cluster) define(text string) *kinds.Definition {
	c.t.Helper()
	d := &kinds.Definition{}
	if err := yaml.UnmarshalStrict([]byte(text), d); err != nil {
		c.t.Fatal(err)
	}
	store := client.New(c.store.Conn(storetest.Admin()), "test")
	if err := store.Create(c.t.Context(), d); err != nil {
		c.t.Fatal(err)
	}
	d.Status.AcceptedNames = d.Spec.Names
	kinds.SetCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue})
	if err := store.UpdateStatus(c.t.Context(), d); err != nil {
		c.t.Fatal(err)
	}
	return d
}

func crontab(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

var crontabResource = schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: "crontabs"}

// custom starts a cluster with the definition and returns a client of its
// objects.
func custom(t *testing.T) (*cluster, dynamic.ResourceInterface) {
	t.Helper()
	c := start(t, noNodes{})
	c.define(crontabs)
	return c, c.dynamic().Resource(crontabResource).Namespace("default")
}

func (c *cluster) dynamic() *dynamic.DynamicClient {
	c.t.Helper()
	d, err := dynamic.NewForConfig(c.config("admin"))
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

func nested(t *testing.T, u *unstructured.Unstructured, path ...string) any {
	t.Helper()
	v, _, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCustomObjects takes an object through its life with the dynamic client.
func TestCustomObjects(t *testing.T) {
	t.Parallel()
	_, tabs := custom(t)
	ctx := t.Context()
	created, err := tabs.Create(ctx, crontab("a", map[string]any{"image": "x", "replicas": int64(2), "unknown": true, "extra": map[string]any{"kept": int64(1)}}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := nested(t, created, "spec", "cronSpec"); got != "* * * * *" {
		t.Errorf("the default is %v", got)
	}
	if got := nested(t, created, "spec", "unknown"); got != nil {
		t.Errorf("the unknown field is %v", got)
	}
	if got := nested(t, created, "spec", "extra", "kept"); got != int64(1) {
		t.Errorf("the field to be preserved is %v", got)
	}
	if created.GetGeneration() != 1 || created.GetUID() == "" {
		t.Errorf("generation %d, uid %q", created.GetGeneration(), created.GetUID())
	}
	w, err := tabs.Watch(ctx, metav1.ListOptions{ResourceVersion: created.GetResourceVersion(), FieldSelector: "spec.image=x"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	patched, err := tabs.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{})
	if err != nil || nested(t, patched, "spec", "replicas") != int64(3) || patched.GetGeneration() != 2 {
		t.Fatalf("merge patch: %v, %v", patched, err)
	}
	if e := <-w.ResultChan(); e.Type != watch.Modified || e.Object.(*unstructured.Unstructured).GetResourceVersion() != patched.GetResourceVersion() {
		t.Errorf("the watch says %v", e)
	}
	if _, err := tabs.Patch(ctx, "a", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/image","value":"y"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); e.Type != watch.Deleted {
		t.Errorf("what no longer matches is %v", e)
	}
	if _, err := tabs.Patch(ctx, "a", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("a strategic merge patch: %v", err)
	}
	patched.SetResourceVersion("")
	if _, err := tabs.Update(ctx, patched, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an update without a version: %v", err)
	}
	if list, err := tabs.List(ctx, metav1.ListOptions{FieldSelector: "spec.image=y"}); err != nil || len(list.Items) != 1 || list.GetKind() != "CronTabList" {
		t.Errorf("a list by a field: %v, %v", list, err)
	}
	if _, err := tabs.List(ctx, metav1.ListOptions{FieldSelector: "spec.replicas=3"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a list by a field that cannot be selected: %v", err)
	}
	if err := tabs.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tabs.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its deletion: %v", err)
	}
}

// A null is left out of what is created, and stays in what is applied.
func TestCustomNulls(t *testing.T) {
	t.Parallel()
	_, tabs := custom(t)
	created, err := tabs.Create(t.Context(), crontab("a", map[string]any{"image": nil, "cronSpec": nil}), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil || nested(t, created, "spec", "cronSpec") != "* * * * *" {
		t.Errorf("created: %v, %v", created, err)
	}
	for body, want := range map[string]string{
		`{"apiVersion":"stable.example.com/v1","kind":"CronTab","spec":{"cronSpec":null}}`: "",
		`{"apiVersion":"stable.example.com/v1","kind":"CronTab","spec":{"image":null}}`:    `spec.image in body must be of type string: "null"`,
	} {
		_, err := tabs.Patch(t.Context(), "a", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "me", DryRun: []string{metav1.DryRunAll}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}

// TestCustomValidation writes objects that their schema does not allow.
func TestCustomValidation(t *testing.T) {
	t.Parallel()
	_, tabs := custom(t)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		spec   map[string]any
		strict bool
		want   string
	}{
		"a type":         {spec: map[string]any{"replicas": "many"}, want: `spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"`},
		"a bound":        {spec: map[string]any{"replicas": int64(11)}, want: "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10"},
		"a pattern":      {spec: map[string]any{"cronSpec": "daily"}, want: "spec.cronSpec: Invalid value: \"daily\""},
		"a number":       {spec: map[string]any{"port": true}, want: "spec.port: Invalid value: \"boolean\""},
		"a rule":         {spec: map[string]any{"replicas": int64(7)}, want: "spec.replicas: Invalid value: seven is unlucky"},
		"a key twice":    {spec: map[string]any{"steps": []any{map[string]any{"name": "a"}, map[string]any{"name": "a"}}}, want: `spec.steps[1]: Duplicate value: {"name":"a"}`},
		"a required one": {spec: map[string]any{"steps": []any{map[string]any{"run": "a"}}}, want: "spec.steps[0].name: Required value"},
		"unknown, asked": {spec: map[string]any{"x": "y"}, strict: true, want: `strict decoding error: unknown field "spec.x"`},
		"none":           {spec: nil, want: "spec: Required value"},
	} {
		t.Run(name, func(t *testing.T) {
			obj := crontab("bad", tt.spec)
			if tt.spec == nil {
				delete(obj.Object, "spec")
			}
			options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
			if tt.strict {
				options.FieldValidation = metav1.FieldValidationStrict
			}
			_, err := tabs.Create(ctx, obj, options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, not %s", err, tt.want)
			}
		})
	}
}

// TestCustomTransition breaks a rule about what was before.
func TestCustomTransition(t *testing.T) {
	t.Parallel()
	_, tabs := custom(t)
	ctx := t.Context()
	if _, err := tabs.Create(ctx, crontab("a", map[string]any{"image": "x"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := tabs.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"image":null}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec: Invalid value: an image stays") {
		t.Errorf("the error is %v", err)
	}
}

// TestCustomConversion converts by a webhook, which fails at first.
func TestCustomConversion(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	var works atomic.Bool
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || !works.Load() {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		response := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(raw.Raw); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			u.SetAPIVersion(review.Request.DesiredAPIVersion)
			u.SetLabels(map[string]string{"converted": "yes"})
			response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Object: u})
		}
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&review)
	}))
	t.Cleanup(hook.Close)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	c.define(strings.Replace(crontabs, "  versions:", "  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: '"+
		hook.URL+"/convert', caBundle: "+base64.StdEncoding.EncodeToString(bundle)+"}}}\n  versions:", 1))
	tabs := c.dynamic().Resource(crontabResource).Namespace("default")
	if _, err := tabs.Create(t.Context(), crontab("a", map[string]any{}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	old := c.dynamic().Resource(schema.GroupVersionResource{Group: "stable.example.com", Version: "v1alpha1", Resource: "crontabs"}).Namespace("default")
	if _, err := old.Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "conversion webhook for") {
		t.Errorf("while the webhook fails: %v", err)
	}
	works.Store(true)
	got, err := old.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || got.GetAPIVersion() != "stable.example.com/v1alpha1" || got.GetLabels()["converted"] != "yes" || got.GetUID() == "" {
		t.Errorf("converted: %v, %v", got, err)
	}
}

// TestCustomSubresources writes status and scale.
func TestCustomSubresources(t *testing.T) {
	t.Parallel()
	c, tabs := custom(t)
	ctx := t.Context()
	obj := crontab("a", map[string]any{"replicas": int64(2)})
	obj.Object["status"] = map[string]any{"replicas": int64(7)}
	created, err := tabs.Create(ctx, obj, metav1.CreateOptions{})
	if err != nil || created.Object["status"] != nil {
		t.Fatalf("a creator's status: %v, %v", created, err)
	}
	created.Object["status"] = map[string]any{"replicas": int64(1), "selector": "app=a"}
	created.Object["spec"].(map[string]any)["replicas"] = int64(9)
	status, err := tabs.UpdateStatus(ctx, created, metav1.UpdateOptions{})
	if err != nil || nested(t, status, "status", "replicas") != int64(1) || nested(t, status, "spec", "replicas") != int64(2) || status.GetGeneration() != 1 {
		t.Fatalf("the status's update: %v, %v", status, err)
	}
	scale, err := tabs.Get(ctx, "a", metav1.GetOptions{}, "scale")
	if err != nil || nested(t, scale, "spec", "replicas") != int64(2) || nested(t, scale, "status", "replicas") != int64(1) || nested(t, scale, "status", "selector") != "app=a" {
		t.Fatalf("the scale: %v, %v", scale, err)
	}
	if _, err := tabs.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	scaled, err := tabs.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || nested(t, scaled, "spec", "replicas") != int64(4) || scaled.GetGeneration() != 2 {
		t.Errorf("scaled: %v, %v", scaled, err)
	}
	if _, err := tabs.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":40}}`), metav1.PatchOptions{}, "scale"); !apierrors.IsInvalid(err) {
		t.Errorf("scaled too far: %v", err)
	}
	answer := c.do(c.http("admin"), http.MethodGet, "/apis/stable.example.com/v1/namespaces/default/crontabs", nil, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	var table metav1.Table
	if err := json.Unmarshal([]byte(answer.body), &table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("the table: %s, %v", answer.body, err)
	}
	if cells := table.Rows[0].Cells; len(cells) != 3 || cells[0] != "a" || cells[1] != "* * * * *" || cells[2] != float64(4) {
		t.Errorf("the row is %v", cells)
	}
}

// TestCustomApply applies as two managers, who own items of one list.
func TestCustomApply(t *testing.T) {
	t.Parallel()
	_, tabs := custom(t)
	ctx := t.Context()
	step := func(name, run string) map[string]any {
		return map[string]any{"steps": []any{map[string]any{"name": name, "run": run}}}
	}
	if _, err := tabs.Apply(ctx, "a", crontab("a", step("one", "x")), metav1.ApplyOptions{FieldManager: "first"}); err != nil {
		t.Fatal(err)
	}
	both, err := tabs.Apply(ctx, "a", crontab("a", step("two", "y")), metav1.ApplyOptions{FieldManager: "second"})
	if err != nil || len(nested(t, both, "spec", "steps").([]any)) != 2 {
		t.Fatalf("two managers' steps: %v, %v", both, err)
	}
	if _, err := tabs.Apply(ctx, "a", crontab("a", step("one", "z")), metav1.ApplyOptions{FieldManager: "second"}); !apierrors.IsConflict(err) {
		t.Errorf("another's field: %v", err)
	}
	one, err := tabs.Apply(ctx, "a", crontab("a", map[string]any{}), metav1.ApplyOptions{FieldManager: "second"})
	if err != nil || len(nested(t, one, "spec", "steps").([]any)) != 1 {
		t.Errorf("after one gave its step up: %v, %v", one, err)
	}
}

// TestCustomVersions reads an object in another version than it was written in.
func TestCustomVersions(t *testing.T) {
	t.Parallel()
	c, tabs := custom(t)
	ctx := t.Context()
	if _, err := tabs.Create(ctx, crontab("a", map[string]any{"image": "x", "cronSpec": "1 2 3 4 5"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	old := c.dynamic().Resource(schema.GroupVersionResource{Group: "stable.example.com", Version: "v1alpha1", Resource: "crontabs"}).Namespace("default")
	got, err := old.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || got.GetAPIVersion() != "stable.example.com/v1alpha1" || nested(t, got, "spec", "image") != nil || nested(t, got, "spec", "cronSpec") != "1 2 3 4 5" {
		t.Fatalf("in the other version: %v, %v", got, err)
	}
	if _, err := old.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"l":"m"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := tabs.List(ctx, metav1.ListOptions{LabelSelector: "l=m"})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetAPIVersion() != "stable.example.com/v1" {
		t.Errorf("written in the other version: %v, %v", list, err)
	}
	answer := c.do(c.http("admin"), http.MethodGet, "/apis/stable.example.com/v1alpha1/crontabs", nil)
	if got := answer.header.Get("Warning"); !strings.Contains(got, "stable.example.com/v1alpha1 CronTab is deprecated") {
		t.Errorf("the warning is %q", got)
	}
}

// TestCustomDiscovery finds a custom kind in each form of discovery, and in none
// once its definition is gone.
func TestCustomDiscovery(t *testing.T) {
	t.Parallel()
	c, tabs := custom(t)
	d := discovery.NewDiscoveryClientForConfigOrDie(c.config("admin"))
	find := func() *metav1.APIResource {
		_, lists, err := d.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range lists {
			for i := range list.APIResources {
				if list.GroupVersion == "stable.example.com/v1" && list.APIResources[i].Name == "crontabs" {
					return &list.APIResources[i]
				}
			}
		}
		return nil
	}
	if _, err := tabs.List(t.Context(), metav1.ListOptions{}); err != nil { // and the gateway knows it
		t.Fatal(err)
	}
	found := find()
	if found == nil || !found.Namespaced || found.Kind != "CronTab" || found.SingularName != "crontab" || !slices.Contains(found.ShortNames, "ct") {
		t.Fatalf("discovery shows %+v", found)
	}
	plain, err := d.ServerResourcesForGroupVersion("stable.example.com/v1")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	hash := sha256.Sum256([]byte("stable.example.com/v1/CronTab"))
	for _, r := range plain.APIResources {
		if want := base64.StdEncoding.EncodeToString(hash[:8]); r.Name == "crontabs" && r.StorageVersionHash != want {
			t.Errorf("its storage version hash is %q, want %q", r.StorageVersionHash, want)
		}
		names[r.Name] = true
	}
	if want := []string{"crontabs", "crontabs/scale", "crontabs/status"}; !slices.Equal(slices.Sorted(maps.Keys(names)), want) {
		t.Errorf("the resources are %v", names)
	}
	answer := c.do(c.http("admin"), http.MethodGet, "/openapi/v3/apis/stable.example.com/v1", nil)
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Properties map[string]struct{ Description string }
				}
			}
		}
		Paths map[string]struct {
			Patch struct {
				RequestBody struct{ Content map[string]any }
			}
		}
	}
	if err := json.Unmarshal([]byte(answer.body), &doc); err != nil {
		t.Fatal(err)
	}
	// kubectl apply chooses the form of its patches by this.
	patches := doc.Paths["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"].Patch.RequestBody.Content
	if want := []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"}; !slices.Equal(slices.Sorted(maps.Keys(patches)), want) {
		t.Errorf("OpenAPI v3 offers patches of %v", slices.Collect(maps.Keys(patches)))
	}
	model := doc.Components.Schemas["com.example.stable.v1.CronTab"]
	if got := model.Properties["spec"].Properties["image"].Description; got != "what runs" {
		t.Errorf("OpenAPI v3 says %q of the image", got)
	}
	if got := c.do(c.http("admin"), http.MethodGet, "/openapi/v2", nil).body; !strings.Contains(got, "com.example.stable.v1.CronTabList") {
		t.Error("OpenAPI v2 has no lists of them")
	}
}

// Nobody can be told how to name the finalizers of custom objects.
func TestCustomFinalizers(t *testing.T) {
	t.Parallel()
	c, tabs := custom(t)
	tab := crontab("held", map[string]any{})
	tab.SetFinalizers([]string{"unqualified"})
	if _, err := tabs.Create(t.Context(), tab, metav1.CreateOptions{}); err != nil {
		t.Errorf("create a custom object: %v", err)
	}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"unqualified"}}}
	_, err := c.clientset("application/json").CoreV1().ConfigMaps("default").Create(t.Context(), settings, metav1.CreateOptions{})
	if want := "metadata.finalizers[0]: Invalid value"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("create a ConfigMap: %v, want %q", err, want)
	}
}

// TestCustomMetadata reads custom objects' metadata as Protobuf, in which there
// are no custom objects as a whole.
func TestCustomMetadata(t *testing.T) {
	t.Parallel()
	c, tabs := custom(t)
	if _, err := tabs.Create(t.Context(), crontab("a", map[string]any{}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(c.config("admin"))
	config.ContentType = runtime.ContentTypeProtobuf
	m, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := m.Resource(crontabResource).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "a" || list.Items[0].UID == "" {
		t.Errorf("the metadata: %+v, %v", list, err)
	}
	if got := c.do(c.http("admin"), http.MethodGet, "/apis/stable.example.com/v1/crontabs", nil, "Accept", "application/vnd.kubernetes.protobuf").code; got != http.StatusNotAcceptable {
		t.Errorf("objects as Protobuf: %d", got)
	}
}

// TestDefinitionChanges changes a schema: watches end and can be resumed, what
// is read follows the new schema, and a deleted definition's path is gone.
func TestDefinitionChanges(t *testing.T) {
	t.Parallel()
	c, tabs := custom(t)
	ctx := t.Context()
	created, err := tabs.Create(ctx, crontab("a", map[string]any{"image": "x"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := tabs.Watch(ctx, metav1.ListOptions{ResourceVersion: created.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	definitions := c.dynamic().Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"))
	const add = `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode","value":{"type":"string","default":"fast"}}]`
	if _, err := definitions.Patch(ctx, "crontabs.stable.example.com", types.JSONPatchType, []byte(add), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if e, open := <-w.ResultChan(); open {
		t.Errorf("the watch goes on with %v", e)
	}
	if w, err = tabs.Watch(ctx, metav1.ListOptions{ResourceVersion: created.GetResourceVersion()}); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	got, err := tabs.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || nested(t, got, "spec", "mode") != "fast" {
		t.Errorf("by the new schema: %v, %v", got, err)
	}
	if err := tabs.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); e.Type != watch.Deleted {
		t.Errorf("the resumed watch says %v", e)
	}
	if err := definitions.Delete(ctx, "crontabs.stable.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tabs.Create(ctx, crontab("b", map[string]any{}), metav1.CreateOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("a new object of what is being deleted: %v", err)
	}
	if _, err := definitions.Patch(ctx, "crontabs.stable.example.com", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tabs.List(ctx, metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what is gone: %v", err)
	}
}

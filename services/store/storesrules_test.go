package store_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission/webhook/hooktest"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// twoStores starts two Stores on one backend.
func twoStores(t *testing.T) (one, other *client.Client) {
	t.Helper()
	shared := memory.New()
	t.Cleanup(func() { _ = shared.Close() })
	begin := func() *client.Client {
		return storetest.New(t, storetest.WithBackend(shared)).Client(storetest.Admin())
	}
	return begin(), begin()
}

// hears has a Store hear of all objects of a kind that were written so far, as it
// does by itself soon: who reads the newest waits for that.
func hears(t *testing.T, c *client.Client, list kinds.List) {
	t.Helper()
	if err := c.List(t.Context(), list, client.ListOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestWebhooksOfAnotherStore registers webhooks at one Store, which the other asks
// until they are gone there.
func TestWebhooksOfAnotherStore(t *testing.T) {
	one, other := twoStores(t)
	changes := hooktest.New(t, hooktest.Patch(`[{"op":"add","path":"/data","value":{"b":"2"}}]`))
	refuses := hooktest.New(t, func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: r.Name != "bad", Result: &metav1.Status{Message: "it is bad"}}
	})
	rules := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
	mutating := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Webhooks: []admissionv1.MutatingWebhook{{
		Name: "m.example.com", ClientConfig: changes.Client("/"), Rules: rules, AdmissionReviewVersions: []string{"v1"},
		SideEffects: ptr.To(admissionv1.SideEffectClassNone),
	}}}
	validating := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "v.example.com", ClientConfig: refuses.Client("/"), Rules: rules, AdmissionReviewVersions: []string{"v1"},
		SideEffects: ptr.To(admissionv1.SideEffectClassNone),
	}}}
	hear := func() {
		hears(t, other, &admissionv1.MutatingWebhookConfigurationList{})
		hears(t, other, &admissionv1.ValidatingWebhookConfigurationList{})
	}
	hear() // that there are none
	create(t, one, mutating, validating)
	hear()
	good := configMap("good", nil)
	create(t, other, good)
	if good.Data["b"] != "2" {
		t.Errorf("the other Store made %v", good.Data)
	}
	if err := other.Create(t.Context(), configMap("bad", nil)); !apierrors.IsForbidden(err) && !apierrors.IsBadRequest(err) || !strings.Contains(fmt.Sprint(err), "it is bad") {
		t.Errorf("the other Store answers: %v", err)
	}
	for _, obj := range []kinds.Object{mutating, validating} {
		if err := one.Delete(t.Context(), obj, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	hear()
	bad := configMap("bad", nil)
	create(t, other, bad)
	if len(bad.Data) > 0 {
		t.Errorf("without webhooks the other Store made %v", bad.Data)
	}
}

// TestPoliciesOfAnotherStore writes a policy, its binding and its parameter at one
// Store, which the other goes by, as they change.
func TestPoliciesOfAnotherStore(t *testing.T) {
	one, other := twoStores(t)
	policy, binding := &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}
	fill := func(obj kinds.Object, text string) {
		if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
			t.Fatal(err)
		}
	}
	fill(policy, `
metadata: {name: sizes}
spec:
  paramKind: {apiVersion: v1, kind: Secret}
  matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [configmaps]}]}
  validations: [{expression: 'object.data.size != params.metadata.labels.forbidden'}]
`)
	fill(binding, `
metadata: {name: sizes}
spec:
  policyName: sizes
  validationActions: [Deny]
  paramRef: {name: sizes, namespace: default, parameterNotFoundAction: Deny}
`)
	param := &corev1.Secret{}
	param.Namespace, param.Name, param.Labels = "default", "sizes", map[string]string{"forbidden": "big"}
	hear := func() {
		hears(t, other, &admissionv1.ValidatingAdmissionPolicyList{})
		hears(t, other, &admissionv1.ValidatingAdmissionPolicyBindingList{})
		hears(t, other, &corev1.SecretList{})
	}
	made := 0
	makes := func(size string) error {
		made++
		return other.Create(t.Context(), configMap(fmt.Sprint("c", made), map[string]string{"size": size}))
	}
	expect := func(when, size string, allowed bool) {
		t.Helper()
		if err := makes(size); (err == nil) != allowed || err != nil && !apierrors.IsInvalid(err) {
			t.Errorf("%s, the other Store answers the creation of what is %s: %v", when, size, err)
		}
	}
	hear() // that there are none
	expect("without a policy", "big", true)
	create(t, one, param, policy, binding)
	hear()
	expect("with the policy", "big", false)
	expect("with the policy", "small", true)
	param.Labels["forbidden"] = "small"
	if err := one.Update(t.Context(), param); err != nil {
		t.Fatal(err)
	}
	hear()
	expect("with another parameter", "big", true)
	expect("with another parameter", "small", false)
	if err := one.Delete(t.Context(), binding, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	hear()
	expect("without the binding", "small", true)
}

// tabs is a definition of two versions.
const tabs = `
metadata: {name: tabs.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: tabs, kind: Tab, singular: tab, listKind: TabList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {rows: {type: integer, maximum: 9, default: 3}}}
          status: {type: object, properties: {drawn: {type: boolean}}}
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// tabClient asks for Tabs in JSON.
type tabClient struct{ *client.Client }

func tabResource(version string) *storev1.Resource {
	return &storev1.Resource{Group: "example.com", Version: version, Resource: "tabs"}
}

func (c tabClient) create(ctx context.Context, name, rest string) (string, error) {
	resp, err := c.Store().Create(ctx, &storev1.CreateRequest{
		Resource: tabResource("v1"), Namespace: "default",
		Object:  &storev1.Object{Json: []byte(`{"apiVersion":"example.com/v1","kind":"Tab","metadata":{"name":"` + name + `"}` + rest + `}`)},
		Options: &storev1.WriteOptions{Encoding: storev1.Encoding_ENCODING_JSON},
	})
	return withoutMetadata(resp.GetObject().GetJson()), apistatus.FromGRPC(err)
}

func (c tabClient) drawn(ctx context.Context, name string) (string, error) {
	resp, err := c.Store().Patch(ctx, &storev1.PatchRequest{
		Resource: tabResource("v1"), Namespace: "default", Name: name, Subresource: "status",
		Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"spec":{"rows":1},"status":{"drawn":true}}`),
		Options: &storev1.WriteOptions{Encoding: storev1.Encoding_ENCODING_JSON},
	})
	return withoutMetadata(resp.GetObject().GetJson()), apistatus.FromGRPC(err)
}

func (c tabClient) get(ctx context.Context, version, name string) (string, error) {
	resp, err := c.Store().Get(ctx, &storev1.GetRequest{
		Resource: tabResource(version), Namespace: "default", Name: name, Encoding: storev1.Encoding_ENCODING_JSON,
	})
	return withoutMetadata(resp.GetObject().GetJson()), apistatus.FromGRPC(err)
}

// withoutMetadata returns an object's JSON, of whose metadata only the labels are
// left.
func withoutMetadata(text []byte) string {
	var obj map[string]any
	if json.Unmarshal(text, &obj) != nil {
		return ""
	}
	if meta, ok := obj["metadata"].(map[string]any); ok {
		delete(obj, "metadata")
		if labels, ok := meta["labels"]; ok {
			obj["labels"] = labels
		}
	}
	delete(obj, "kind")
	out, _ := json.Marshal(obj)
	return string(out)
}

// converter is a webhook that converts by a label.
func converter(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "not a ConversionReview", http.StatusBadRequest)
			return
		}
		response := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			var obj map[string]any
			if err := json.Unmarshal(raw.Raw, &obj); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			obj["apiVersion"] = review.Request.DesiredAPIVersion
			obj["metadata"].(map[string]any)["labels"] = map[string]any{"converted": "yes"}
			text, _ := json.Marshal(obj)
			response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Raw: text})
		}
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&review)
	}))
	t.Cleanup(server.Close)
	return server
}

// TestKindsOfAnotherStore defines a kind at one Store, which the other serves with
// all that belongs to it, as it changes and until it is gone.
func TestKindsOfAnotherStore(t *testing.T) {
	one, two := twoStores(t)
	other, ctx := tabClient{two}, t.Context()
	expect := func(what, want string, got string, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", what, got, err, want)
		}
	}
	if _, err := other.get(ctx, "v1", "a"); !apierrors.IsNotFound(err) {
		t.Errorf("before the definition: %v", err)
	}
	d := &kinds.Definition{}
	if err := yaml.UnmarshalStrict([]byte(tabs), d); err != nil {
		t.Fatal(err)
	}
	create(t, one, d)
	d.Status.AcceptedNames = d.Spec.Names
	kinds.SetCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue})
	if err := one.UpdateStatus(ctx, d); err != nil {
		t.Fatal(err)
	}
	// What the other Store does not know it asks for: nobody need wait.
	got, err := other.create(ctx, "a", `,"spec":{"unknown":1},"status":{"drawn":true}`)
	expect("defaults, what is unknown and the status", `{"apiVersion":"example.com/v1","spec":{"rows":3}}`, got, err)
	if _, err := other.create(ctx, "b", `,"spec":{"rows":10}`); !apierrors.IsInvalid(err) {
		t.Errorf("what the schema forbids: %v", err)
	}
	got, err = other.drawn(ctx, "a")
	expect("the status", `{"apiVersion":"example.com/v1","spec":{"rows":3},"status":{"drawn":true}}`, got, err)
	got, err = tabClient{one}.get(ctx, "v2", "a")
	expect("at the Store of the definition", `{"apiVersion":"example.com/v2","spec":{"rows":3},"status":{"drawn":true}}`, got, err)

	hook := converter(t)
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{ConversionReviewVersions: []string{"v1"}, ClientConfig: &apiextensionsv1.WebhookClientConfig{
			URL: ptr.To(hook.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}),
		}},
	}
	rows := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["rows"]
	rows.Maximum = ptr.To(20.0)
	d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["rows"] = rows
	if err := one.Update(ctx, d); err != nil {
		t.Fatal(err)
	}
	hears(t, two, &apiextensionsv1.CustomResourceDefinitionList{})
	got, err = other.create(ctx, "b", `,"spec":{"rows":10}`)
	expect("what the schema allows now", `{"apiVersion":"example.com/v1","spec":{"rows":10}}`, got, err)
	got, err = other.get(ctx, "v2", "b")
	expect("converted", `{"apiVersion":"example.com/v2","labels":{"converted":"yes"},"spec":{"rows":10}}`, got, err)

	if err := one.Delete(ctx, d, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	hears(t, two, &apiextensionsv1.CustomResourceDefinitionList{})
	if _, err := other.create(ctx, "c", ""); !apierrors.IsMethodNotSupported(err) && !apierrors.IsNotFound(err) {
		t.Errorf("while the definition ends: %v", err)
	}
	if err := reread(t, one, d); err == nil { // as its controller does when no object is left
		d.Finalizers = nil
		if err := one.Update(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	hears(t, two, &apiextensionsv1.CustomResourceDefinitionList{})
	if _, err := other.get(ctx, "v1", "a"); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "could not find the requested resource") {
		t.Errorf("without the definition: %v", err)
	}
}

package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
			},
		},
	}
}

func create(t *testing.T, c *client.Client, objs ...kinds.Object) {
	t.Helper()
	for _, obj := range objs {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

func reread(t *testing.T, c *client.Client, obj kinds.Object) error {
	t.Helper()
	return c.Get(t.Context(), obj.GetNamespace(), obj.GetName(), obj)
}

func bind(t *testing.T, c *client.Client, bindings ...*storev1.Binding) []string {
	t.Helper()
	resp, err := c.Store().Bind(t.Context(), &storev1.BindRequest{Bindings: bindings})
	if err != nil {
		t.Fatalf("bind: %v", err)
	}
	var reasons []string
	for _, r := range resp.GetResults() {
		reasons = append(reasons, r.GetReason())
	}
	return reasons
}

func TestNodesAreCreatedWithTheirStatus(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	status := corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}},
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: status}
	create(t, c, n)
	if err := reread(t, c, n); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(status, n.Status); d != "" {
		t.Errorf("status as created (-want +got):\n%s", d)
	}
}

// A blind write of what several writers compete for is refused.
func TestUpdatesThatNeedAVersion(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	for _, obj := range []kinds.Object{
		&storagev1.CSIStorageCapacity{StorageClassName: "fast"}, &admissionv1.ValidatingWebhookConfiguration{}, &corev1.ConfigMap{},
	} {
		obj.SetName("x")
		if _, cluster := obj.(*admissionv1.ValidatingWebhookConfiguration); !cluster {
			obj.SetNamespace("default")
		}
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		obj.SetResourceVersion("")
		err := c.Update(t.Context(), obj)
		if _, blind := obj.(*corev1.ConfigMap); blind != (err == nil) || err != nil && !strings.Contains(err.Error(), "metadata.resourceVersion: Invalid value: 0: must be specified for an update") {
			t.Errorf("%T: %v", obj, err)
		}
	}
}

func TestUpdatesOfMetadata(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}}
	if err := c.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, patch, want string }{
		{"no name", `{"metadata":{"name":null}}`, "the name of the object (x based on URL) was undeterminable: name must be provided"},
		{"another name", `{"metadata":{"name":"y"}}`, "the name of the object (y) does not match the name on the URL (x)"},
		{"a deletion", `{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}`, "metadata.deletionTimestamp: Invalid value: \"2026-01-01T00:00:00Z\": field is immutable"},
		{"a grace period", `{"metadata":{"deletionGracePeriodSeconds":5}}`, "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable"},
		{"what is the Store's", `{"metadata":{"creationTimestamp":null,"generation":7,"selfLink":"a"}}`, ""},
	} {
		got := ""
		if err := c.Patch(t.Context(), cm.DeepCopy(), types.MergePatchType, []byte(tc.patch), ""); err != nil {
			got = err.Error()
		}
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// A generateName that was of no use when the object was created is judged as
// Kubernetes does it, by the kind.
func TestUpdatesOfGenerateName(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	for _, tc := range []struct {
		obj    kinds.Object
		prefix string
		want   string
	}{
		{&corev1.ConfigMap{}, "a-", ""},
		{&corev1.ConfigMap{}, "a@", `metadata.generateName: Invalid value: "a@": a lowercase RFC 1123 subdomain`},
		{deployment("x"), "a@", ""},
		{deployment("x"), "a/", `metadata.generateName: Invalid value: "a/": may not contain '/'`},
		{webService(), "A_", ""},
	} {
		obj := tc.obj.DeepCopyObject().(kinds.Object)
		obj.SetNamespace("default")
		obj.SetName("x")
		create(t, c, obj)
		obj.SetGenerateName(tc.prefix)
		err := c.Update(t.Context(), obj)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%T %q: %v, want %q", obj, tc.prefix, err, tc.want)
		}
		if err := c.Delete(t.Context(), obj, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAccountsNameSecretsOnly(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"},
		Secrets: []corev1.ObjectReference{{Kind: "Secret", Namespace: "other", Name: "s", FieldPath: "x"}}}
	create(t, c, account)
	want := []corev1.ObjectReference{{Name: "s"}}
	if !slices.Equal(account.Secrets, want) {
		t.Errorf("as created: %+v", account.Secrets)
	}
	account.Secrets[0].Namespace = "other"
	if err := c.Update(t.Context(), account); err != nil || !slices.Equal(account.Secrets, want) {
		t.Errorf("as updated: %v, %+v", err, account.Secrets)
	}
}

func TestPodAdmission(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	p := pod("")
	p.GenerateName = "web-"
	create(t, c, p)
	if !strings.HasPrefix(p.Name, "web-") || len(p.Name) != len("web-")+5 {
		t.Errorf("generated name %q", p.Name)
	}
	if len(p.Spec.Tolerations) != 2 || p.Spec.Priority == nil || *p.Spec.Priority != 0 {
		t.Errorf("admission left out defaults: %+v", p.Spec)
	}
	critical := pod("critical")
	critical.Spec.PriorityClassName = "system-node-critical"
	create(t, c, critical)
	if *critical.Spec.Priority != 2_000_001_000 {
		t.Errorf("priority %d", *critical.Spec.Priority)
	}
	leftOut := critical.DeepCopy()
	leftOut.Spec.Priority, leftOut.Spec.PreemptionPolicy = nil, nil
	if err := c.Update(t.Context(), leftOut); err != nil || leftOut.Spec.Priority == nil || leftOut.Spec.PreemptionPolicy == nil {
		t.Errorf("an update that leaves the priority out: %v, %v", err, leftOut.Spec.Priority)
	}
	lost := pod("lost")
	lost.Namespace = "nowhere"
	if err := c.Create(t.Context(), lost); !apierrors.IsNotFound(err) || err.Error() != `namespaces "nowhere" not found` {
		t.Errorf("in a namespace that is not there: %v", err)
	}
	lost.Namespace, lost.Spec.PriorityClassName = "default", "none"
	if err := c.Create(t.Context(), lost); !apierrors.IsForbidden(err) {
		t.Errorf("of a priority class that is not there: %v", err)
	}
}

func TestBindManyHasAnOutcomeEach(t *testing.T) {
	s := storetest.New(t)
	c := s.Client(storetest.Admin())
	create(t, c, pod("a"), pod("b"))
	got := bind(t, c,
		&storev1.Binding{Namespace: "default", Name: "a", NodeName: "n1"},
		&storev1.Binding{Namespace: "default", Name: "absent", NodeName: "n1"},
		&storev1.Binding{Namespace: "default", Name: "b", NodeName: "n1", Uid: "another"})
	if diff := cmp.Diff([]string{"", "NotFound", "Conflict"}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Conflict"}, bind(t, c, &storev1.Binding{Namespace: "default", Name: "a", NodeName: "n2"})); diff != "" {
		t.Errorf("binding again (-want +got):\n%s", diff)
	}
	a := pod("a")
	if err := reread(t, c, a); err != nil {
		t.Fatal(err)
	}
	if a.Spec.NodeName != "n1" || len(a.Status.Conditions) == 0 || a.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("bound pod: node %q, conditions %+v", a.Spec.NodeName, a.Status.Conditions)
	}
}

func TestGenerationCountsSpecChanges(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	d := deployment("web")
	create(t, c, d)
	if d.Generation != 1 {
		t.Errorf("new: generation %d", d.Generation)
	}
	before := d.ResourceVersion
	if err := c.Update(ctx, d); err != nil {
		t.Fatal(err)
	}
	if d.ResourceVersion != before {
		t.Errorf("an update that changes nothing was written: %s, then %s", before, d.ResourceVersion)
	}
	d.Annotations = map[string]string{"note": "x"}
	if err := c.Update(ctx, d); err != nil || d.Generation != 2 {
		t.Errorf("after an annotation: %v, generation %d", err, d.Generation)
	}
	d.Annotations["note"], d.Labels = "y", map[string]string{"a": "b"}
	if err := c.UpdateStatus(ctx, d); err != nil || d.Generation != 2 || d.Annotations["note"] != "y" || len(d.Labels) > 0 {
		t.Errorf("after an annotation with the status: %v, generation %d, %v, %v", err, d.Generation, d.Annotations, d.Labels)
	}
	three := int32(3)
	d.Spec.Replicas = &three
	d.Status.Replicas = 99
	if err := c.Update(ctx, d); err != nil || d.Generation != 3 || d.Status.Replicas != 0 {
		t.Errorf("after a spec change: %v, generation %d, status %+v", err, d.Generation, d.Status)
	}
	d.Status.Replicas = 2
	d.Spec.Replicas = nil
	if err := c.UpdateStatus(ctx, d); err != nil || d.Generation != 3 || d.Status.Replicas != 2 || *d.Spec.Replicas != 3 {
		t.Errorf("after a status change: %v, generation %d, %+v", err, d.Generation, d.Status)
	}
}

func TestScale(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	create(t, c, deployment("web"))
	resource := &storev1.Resource{Group: "apps", Version: "v1", Resource: "deployments"}
	resp, err := c.Store().Patch(ctx, &storev1.PatchRequest{
		Resource: resource, Namespace: "default", Name: "web", Subresource: "scale",
		Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"spec":{"replicas":5}}`),
		Options: &storev1.WriteOptions{Encoding: storev1.Encoding_ENCODING_JSON},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(resp.GetObject().GetJson()); !strings.Contains(got, `"kind":"Scale"`) || !strings.Contains(got, `"replicas":5`) || !strings.Contains(got, `"selector":"app=web"`) {
		t.Errorf("scale: %s", got)
	}
	d := deployment("web")
	if err := reread(t, c, d); err != nil || *d.Spec.Replicas != 5 || d.Generation != 2 {
		t.Errorf("scaled: %v, %+v", err, d)
	}
	_, err = c.Store().Patch(ctx, &storev1.PatchRequest{
		Resource: resource, Namespace: "default", Name: "web", Subresource: "scale",
		Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"metadata":{"name":"other"},"spec":{"replicas":6}}`),
	})
	if err == nil || !strings.Contains(err.Error(), "the name of the object (other) does not match the name on the URL (web)") {
		t.Errorf("the scale of another: %v", err)
	}
}

// A scale can be read as a table.
func TestScaleAsTable(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	create(t, c, deployment("web"))
	for projection, want := range map[storev1.Projection]string{
		storev1.Projection_PROJECTION_TABLE:               `{"cells":["web",1,0,"`,
		storev1.Projection_PROJECTION_TABLE_WITH_METADATA: `"kind":"PartialObjectMetadata"`,
		storev1.Projection_PROJECTION_TABLE_WITH_OBJECT:   `"kind":"Scale"`,
		storev1.Projection_PROJECTION_METADATA:            `{"kind":"PartialObjectMetadata"`,
	} {
		resp, err := c.Store().Get(t.Context(), &storev1.GetRequest{
			Resource: &storev1.Resource{Group: "apps", Version: "v1", Resource: "deployments"}, Namespace: "default", Name: "web",
			Subresource: "scale", Encoding: storev1.Encoding_ENCODING_JSON, Projection: projection,
		})
		if err != nil {
			t.Fatal(err)
		}
		got, columns := string(resp.GetObject().GetJson()), string(resp.GetTableColumns())
		table := projection != storev1.Projection_PROJECTION_METADATA
		if !strings.Contains(got, want) || strings.Contains(columns, `"name":"Desired","type":"integer"`) != table {
			t.Errorf("%s: %s, columns %s", projection, got, columns)
		}
	}
}

// A new object has no version yet: whoever sends one means another object. That is
// said where it would be stored, after all that admission has to say.
func TestNewObjectsHaveNoVersion(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	copied := configMap("copied", nil)
	copied.ResourceVersion = "7"
	any, err := kinds.Encode(copied)
	if err != nil {
		t.Fatal(err)
	}
	req := &storev1.CreateRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default",
		Object: &storev1.Object{Object: any}, Options: &storev1.WriteOptions{DryRun: true},
	}
	if _, err := c.Store().Create(t.Context(), req); err != nil {
		t.Errorf("in a dry run: %v", err)
	}
	req.Options.DryRun = false
	if _, err := c.Store().Create(t.Context(), req); err == nil || !strings.Contains(err.Error(), "resourceVersion should not be set on objects to be created") {
		t.Errorf("created: %v", err)
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	any, err := kinds.Encode(configMap("dry", nil))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Store().Create(ctx, &storev1.CreateRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default",
		Object: &storev1.Object{Object: any}, Options: &storev1.WriteOptions{DryRun: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var shown corev1.ConfigMap
	if err := kinds.Decode(resp.GetObject().GetObject(), &shown); err != nil || shown.UID == "" {
		t.Errorf("shown: %v %+v", err, shown)
	}
	if err := c.Get(ctx, "default", "dry", &shown); !apierrors.IsNotFound(err) {
		t.Errorf("stored: %v", err)
	}
}

func TestStrictDecoding(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	send := func(name string, v storev1.FieldValidation) (*storev1.CreateResponse, error) {
		resp, err := c.Store().Create(t.Context(), &storev1.CreateRequest{
			Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default",
			Object:  &storev1.Object{Json: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"dtaa":{}}`)},
			Options: &storev1.WriteOptions{FieldValidation: v},
		})
		return resp, apistatus.FromGRPC(err)
	}
	resp, err := send("warned", storev1.FieldValidation_FIELD_VALIDATION_WARN)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`unknown field "dtaa"`}, resp.GetWarnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	want := `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dtaa"`
	if _, err := send("strict", storev1.FieldValidation_FIELD_VALIDATION_STRICT); !apierrors.IsBadRequest(err) || err.Error() != want {
		t.Errorf("strict: %v", err)
	}
}

func TestEvictionHonoursBudgets(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	p := pod("p")
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
	}
	create(t, c, p, budget)
	p.Status.Phase = corev1.PodRunning
	if err := c.UpdateStatus(ctx, p); err != nil {
		t.Fatal(err)
	}
	setAllowed(ctx, t, c, budget, 0)
	evict := func() error {
		return c.CreateSubresource(ctx, p, "eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}})
	}
	if err := evict(); !apierrors.IsTooManyRequests(err) {
		t.Errorf("with no disruption allowed: %v", err)
	}
	setAllowed(ctx, t, c, budget, 1)
	if err := evict(); err != nil {
		t.Errorf("with one disruption allowed: %v", err)
	}
	if err := reread(t, c, p); !apierrors.IsNotFound(err) {
		t.Errorf("evicted: %v", err)
	}
	if err := reread(t, c, budget); err != nil || budget.Status.DisruptionsAllowed != 0 {
		t.Errorf("the budget was not charged: %v, %+v", err, budget.Status)
	}
}

func setAllowed(ctx context.Context, t *testing.T, c *client.Client, budget *policyv1.PodDisruptionBudget, n int32) {
	t.Helper()
	if err := reread(t, c, budget); err != nil {
		t.Fatal(err)
	}
	budget.Status.DisruptionsAllowed, budget.Status.ObservedGeneration = n, budget.Generation
	if err := c.UpdateStatus(ctx, budget); err != nil {
		t.Fatal(err)
	}
}

// TestWarningsOfChanges: what is told of an object may depend on what changed.
func TestWarningsOfChanges(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	driver := func(audience, label string) *storev1.Object {
		return &storev1.Object{Json: []byte(`{"apiVersion":"storage.k8s.io/v1","kind":"CSIDriver","metadata":{"name":"d","labels":{"a":"` + label +
			`"}},"spec":{"tokenRequests":[{"audience":"` + audience + `"}]}}`)}
	}
	of := &storev1.Resource{Group: "storage.k8s.io", Version: "v1", Resource: "csidrivers"}
	made, err := c.Store().Create(t.Context(), &storev1.CreateRequest{Resource: of, Object: driver("a", "b")})
	if err != nil || len(made.GetWarnings()) != 1 {
		t.Fatalf("created: %v, warnings %q", err, made.GetWarnings())
	}
	for _, change := range []struct {
		audience, label string
		want            int
	}{{"a", "c", 0}, {"b", "c", 1}} {
		patch := driver(change.audience, change.label).GetJson()
		changed, err := c.Store().Patch(t.Context(), &storev1.PatchRequest{Resource: of, Name: "d", Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: patch})
		if err != nil || len(changed.GetWarnings()) != change.want {
			t.Errorf("%+v: %v, warnings %q", change, err, changed.GetWarnings())
		}
	}
}

// TestCanonicalForm: what is answered to a write is what is read afterwards.
func TestCanonicalForm(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	of := &storev1.Resource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	made, err := c.Store().Create(t.Context(), &storev1.CreateRequest{Resource: of, Object: &storev1.Object{
		Json: []byte(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"none"},"rules":[]}`),
	}, Options: &storev1.WriteOptions{Encoding: storev1.Encoding_ENCODING_JSON}})
	if err != nil || !strings.Contains(string(made.GetObject().GetJson()), `"rules":null`) {
		t.Errorf("created: %v: %s", err, made.GetObject().GetJson())
	}
	changed, err := c.Store().Patch(t.Context(), &storev1.PatchRequest{
		Resource: of, Name: "none", Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"metadata":{"labels":{"a":"b"}},"rules":[]}`),
		Options: &storev1.WriteOptions{Encoding: storev1.Encoding_ENCODING_JSON},
	})
	if err != nil || !strings.Contains(string(changed.GetObject().GetJson()), `"rules":null`) {
		t.Errorf("changed: %v: %s", err, changed.GetObject().GetJson())
	}
}

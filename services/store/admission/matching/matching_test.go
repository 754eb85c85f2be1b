package matching_test

import (
	"context"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/matching"
)

// namespaces shows the namespaces "prod", labelled env=prod, and "test".
type namespaces struct{}

func (namespaces) Get(_ context.Context, resource schema.GroupVersionResource, _, name string) (kinds.Object, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	switch name {
	case "prod":
		ns.Labels = map[string]string{"env": "prod"}
	case "test":
	default:
		return nil, apierrors.NewNotFound(resource.GroupResource(), name)
	}
	return ns, nil
}

func (namespaces) List(context.Context, schema.GroupVersionResource, string) ([]kinds.Object, error) {
	return nil, nil
}

func (namespaces) ListOnly(context.Context, schema.GroupVersionResource, string, string) ([]kinds.Object, error) {
	return nil, nil
}

func (namespaces) Version(context.Context, schema.GroupVersionResource) (int64, error) { return 0, nil }

func kindOf(t *testing.T, group, version, resource string) *kinds.Kind {
	t.Helper()
	k, ok := kinds.Default().ForResource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource})
	if !ok {
		t.Fatalf("no kind %s/%s %s", group, version, resource)
	}
	return k
}

func labelled(pairs ...string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Namespace: "prod", Name: "o", Labels: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		meta.Labels[pairs[i]] = pairs[i+1]
	}
	return meta
}

const pods = "rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]"

func TestWebhookMatches(t *testing.T) {
	pod := func(change func(*admission.Request)) *admission.Request {
		r := &admission.Request{
			Operation: admission.Create, Kind: kindOf(t, "", "v1", "pods"), Namespace: "prod", Name: "p",
			Object: &corev1.Pod{ObjectMeta: labelled("app", "web")},
		}
		if change != nil {
			change(r)
		}
		return r
	}
	subresource := func(name string) func(*admission.Request) {
		return func(r *admission.Request) { r.Subresource = name }
	}
	deletion := pod(func(r *admission.Request) {
		r.Operation, r.Old, r.Object = admission.Delete, &corev1.Pod{ObjectMeta: labelled("app", "web")}, nil
	})
	node := &admission.Request{Operation: admission.Create, Kind: kindOf(t, "", "v1", "nodes"), Name: "n", Object: &corev1.Node{}}
	namespace := &admission.Request{
		Operation: admission.Create, Kind: kindOf(t, "", "v1", "namespaces"), Name: "new",
		Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new", Labels: map[string]string{"env": "prod"}}},
	}
	scaler := &admission.Request{Operation: admission.Create, Kind: kindOf(t, "autoscaling", "v2", "horizontalpodautoscalers"), Namespace: "prod"}
	deployment := &admission.Request{
		Operation: admission.Update, Kind: kindOf(t, "apps", "v1", "deployments"), Namespace: "prod",
		Object: &appsv1.Deployment{}, Old: &appsv1.Deployment{ObjectMeta: labelled("app", "web")},
	}
	const all = "rules: [{operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*']}]"
	const old = "rules: [{operations: ['*'], apiGroups: [autoscaling], apiVersions: [v1], resources: [horizontalpodautoscalers]}]"
	for _, c := range []struct {
		name    string
		hook    string
		request *admission.Request
		want    string // the version of the kind as which it matches
	}{
		{"its resource", pods, pod(nil), "v1"},
		{"another operation", pods, deletion, ""},
		{"another resource", pods, node, ""},
		{"another group", pods, deployment, ""},
		{"no rules", "rules: []", pod(nil), ""},
		{"everything", all, pod(nil), "v1"},
		{"everything is no subresource", all, pod(subresource("status")), ""},
		{"every subresource", "rules: [{operations: ['*'], apiGroups: [''], apiVersions: [v1], resources: [pods/*]}]", pod(subresource("exec")), "v1"},
		{"every subresource and the object", "rules: [{operations: ['*'], apiGroups: [''], apiVersions: [v1], resources: [pods/*]}]", pod(nil), "v1"},
		{"a subresource of all", "rules: [{operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/status']}]", pod(subresource("status")), "v1"},
		{"another subresource", "rules: [{operations: ['*'], apiGroups: [''], apiVersions: [v1], resources: [pods/exec]}]", pod(subresource("status")), ""},
		{"the second rule", "rules: [{operations: [DELETE], apiGroups: [''], apiVersions: [v1], resources: [pods]}, {operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]", pod(nil), "v1"},
		{"in a namespace", all[:len(all)-2] + ", scope: Namespaced}]", pod(nil), "v1"},
		{"of the cluster", all[:len(all)-2] + ", scope: Namespaced}]", node, ""},
		{"only of the cluster", all[:len(all)-2] + ", scope: Cluster}]", node, "v1"},
		{"a namespace is of the cluster", all[:len(all)-2] + ", scope: Cluster}]", namespace, "v1"},
		{"labels", "objectSelector: {matchLabels: {app: web}}\n" + pods, pod(nil), "v1"},
		{"other labels", "objectSelector: {matchLabels: {app: db}}\n" + pods, pod(nil), ""},
		{"labels before", "objectSelector: {matchLabels: {app: web}}\n" + all, deployment, "v1"},
		{"labels of the deleted", "objectSelector: {matchLabels: {app: web}}\n" + all, deletion, "v1"},
		{"no object has no labels", "objectSelector: {matchExpressions: [{key: x, operator: DoesNotExist}]}\n" + all, &admission.Request{
			Operation: admission.Connect, Kind: kindOf(t, "", "v1", "pods"), Namespace: "prod", Name: "p",
		}, ""},
		{"a namespace's labels", "namespaceSelector: {matchLabels: {env: prod}}\n" + pods, pod(nil), "v1"},
		{"another namespace's labels", "namespaceSelector: {matchLabels: {env: prod}}\n" + pods, pod(func(r *admission.Request) { r.Namespace = "test" }), ""},
		{"no namespace", "namespaceSelector: {matchLabels: {env: prod}}\n" + all, node, "v1"},
		{"the labels of the namespace itself", "namespaceSelector: {matchLabels: {env: prod}}\n" + all, namespace, "v1"},
		{"another version", "matchPolicy: Equivalent\n" + old, scaler, "v1"},
		{"another version does not match exactly", "matchPolicy: Exact\n" + old, scaler, ""},
		{"its own version before others", "matchPolicy: Equivalent\n" + all, scaler, "v2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var hook admissionv1.ValidatingWebhook
			if err := yaml.UnmarshalStrict([]byte(c.hook), &hook); err != nil {
				t.Fatal(err)
			}
			constraints, err := matching.ForWebhook(&hook)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, constraints, c.request, c.want)
		})
	}
}

func expect(t *testing.T, c *matching.Constraints, r *admission.Request, want string) {
	t.Helper()
	kind, err := matching.Matcher{Reader: namespaces{}, Kinds: kinds.Default()}.Match(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	if kind != nil {
		got = kind.Version
	}
	if got != want {
		t.Errorf("it matches as %q, not as %q", got, want)
	}
}

func TestPolicyMatches(t *testing.T) {
	request := func(name string) *admission.Request {
		return &admission.Request{
			Operation: admission.Create, Kind: kindOf(t, "", "v1", "pods"), Namespace: "prod", Name: name, Object: &corev1.Pod{},
		}
	}
	const rule = "{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]"
	for _, c := range []struct{ name, constraints, object, want string }{
		{"no rules", "{}", "p", "v1"},
		{"a rule", "resourceRules: [" + rule + "}]", "p", "v1"},
		{"another rule", "resourceRules: [{operations: [DELETE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]", "p", ""},
		{"excluded", "resourceRules: [" + rule + "}]\nexcludeResourceRules: [" + rule + "}]", "p", ""},
		{"excluded from everything", "excludeResourceRules: [" + rule + "}]", "p", ""},
		{"a name", "resourceRules: [" + rule + ", resourceNames: [p, q]}]", "p", "v1"},
		{"another name", "resourceRules: [" + rule + ", resourceNames: [q]}]", "p", ""},
		{"all but one", "resourceRules: [" + rule + "}]\nexcludeResourceRules: [" + rule + ", resourceNames: [q]}]", "p", "v1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var resources admissionv1.MatchResources
			if err := yaml.UnmarshalStrict([]byte(c.constraints), &resources); err != nil {
				t.Fatal(err)
			}
			constraints, err := matching.ForPolicy(&resources)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, constraints, request(c.object), c.want)
		})
	}
}

// TestNamespaceGone: a hook that would match but for a namespace that is not
// there makes the request fail; one that would not match does not.
func TestNamespaceGone(t *testing.T) {
	hook := admissionv1.ValidatingWebhook{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}}}
	if err := yaml.UnmarshalStrict([]byte(pods), &hook); err != nil {
		t.Fatal(err)
	}
	constraints, err := matching.ForWebhook(&hook)
	if err != nil {
		t.Fatal(err)
	}
	m := matching.Matcher{Reader: namespaces{}, Kinds: kinds.Default()}
	r := &admission.Request{Operation: admission.Create, Kind: kindOf(t, "", "v1", "pods"), Namespace: "gone", Object: &corev1.Pod{}}
	if _, err := m.Match(t.Context(), constraints, r); !apierrors.IsNotFound(err) {
		t.Errorf("the error is %v", err)
	}
	r.Operation = admission.Update
	if kind, err := m.Match(t.Context(), constraints, r); kind != nil || err != nil {
		t.Errorf("it matches as %v: %v", kind, err)
	}
}

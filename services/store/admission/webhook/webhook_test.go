package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission/webhook/hooktest"
	"navarch.dev/navarch/services/store/storetest"
)

// mutatingOn and validatingOn make configurations of one webhook each, which is
// asked about every operation on a resource.
func mutatingOn(name, resource string, at admissionv1.WebhookClientConfig, change func(*admissionv1.MutatingWebhook)) kinds.Object {
	w := admissionv1.MutatingWebhook{
		Name: name + ".example.com", ClientConfig: at, Rules: every(resource), AdmissionReviewVersions: []string{"v1"},
		SideEffects: ptr.To(admissionv1.SideEffectClassNone),
	}
	if change != nil {
		change(&w)
	}
	return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionv1.MutatingWebhook{w}}
}

func validatingOn(name, resource string, at admissionv1.WebhookClientConfig, change func(*admissionv1.ValidatingWebhook)) kinds.Object {
	w := admissionv1.ValidatingWebhook{
		Name: name + ".example.com", ClientConfig: at, Rules: every(resource), AdmissionReviewVersions: []string{"v1"},
		SideEffects: ptr.To(admissionv1.SideEffectClassNone),
	}
	if change != nil {
		change(&w)
	}
	return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionv1.ValidatingWebhook{w}}
}

func every(resource string) []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{"*"},
		Rule:       admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{resource}},
	}}
}

func newStore(t *testing.T, objs ...kinds.Object) (*storetest.Store, *client.Client) {
	t.Helper()
	s := storetest.New(t)
	c := s.Client(storetest.Admin())
	for _, obj := range objs {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
	return s, c
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"a": "1"}}
}

// dryCreate asks for what would come of creating a ConfigMap.
func dryCreate(t *testing.T, s *storetest.Store, as identity.Identity) error {
	t.Helper()
	cm, err := kinds.Encode(configMap("x"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = storev1.NewStoreServiceClient(s.Conn(as)).Create(t.Context(), &storev1.CreateRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default",
		Object: &storev1.Object{Object: cm}, Options: &storev1.WriteOptions{DryRun: true},
	})
	return apistatus.FromGRPC(err)
}

func wantMessage(t *testing.T, err error, code int32, message string) {
	t.Helper()
	var status apierrors.APIStatus
	if err == nil {
		t.Fatalf("the request passed; wanted %d %q", code, message)
	}
	if s, ok := err.(apierrors.APIStatus); ok {
		status = s
	} else {
		t.Fatalf("not an API error: %v", err)
	}
	if got := status.Status(); got.Code != code || !strings.Contains(got.Message, message) {
		t.Errorf("refused with %d %q\nwanted       %d %q", got.Code, got.Message, code, message)
	}
}

func TestDenials(t *testing.T) {
	for _, c := range []struct {
		name    string
		result  *metav1.Status
		code    int32
		message string
	}{
		{"a message", &metav1.Status{Message: "no"}, 400, `admission webhook "v.example.com" denied the request: no`},
		{"a reason", &metav1.Status{Reason: metav1.StatusReasonForbidden, Code: 403}, 403, `admission webhook "v.example.com" denied the request: Forbidden`},
		{"a code", &metav1.Status{Message: "slow down", Code: 429}, 429, `admission webhook "v.example.com" denied the request: slow down`},
		{"a success", &metav1.Status{Status: "Success", Code: 200}, 400, `admission webhook "v.example.com" denied the request without explanation`},
		{"nothing", nil, 400, `admission webhook "v.example.com" denied the request without explanation`},
	} {
		t.Run(c.name, func(t *testing.T) {
			hook := hooktest.New(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
				return &reviewv1.AdmissionResponse{Result: c.result}
			})
			_, client := newStore(t, validatingOn("v", "configmaps", hook.Client("/"), nil))
			wantMessage(t, client.Create(t.Context(), configMap("x")), c.code, c.message)
		})
	}
}

func TestQuestion(t *testing.T) {
	hook := hooktest.New(t, hooktest.Allow)
	s, c := newStore(t, validatingOn("v", "configmaps", hook.Client("/judge"), nil))
	jane := identity.Identity{Name: "jane", UID: "7", Groups: []string{"devs"}, Extra: map[string][]string{"team": {"a"}}}
	if err := dryCreate(t, s, jane); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), configMap("x")); err != nil {
		t.Fatal(err)
	}
	changed := configMap("x")
	changed.Data["a"] = "2"
	if err := c.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), changed, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	seen := hook.Seen()
	if len(seen) == 5 && seen[3].Operation == reviewv1.Delete {
		seen = slices.Delete(seen, 3, 4) // it found the object changed meanwhile, and asked again
	}
	if len(seen) < 4 {
		t.Fatalf("%d questions, not 4", len(seen))
	}
	dry := seen[0]
	if dry.UID == "" || dry.UID == seen[1].UID {
		t.Errorf("the questions have the uids %q and %q", dry.UID, seen[1].UID)
	}
	if got := dry.UserInfo; got.Username != "jane" || got.UID != "7" || !slices.Equal(got.Groups, jane.Groups) || got.Extra["team"][0] != "a" {
		t.Errorf("the user is %+v", got)
	}
	want := []string{
		"CREATE configmaps ConfigMap default/x dry=true options=CreateOptions object=1 old=",
		"CREATE configmaps ConfigMap default/x dry=false options=CreateOptions object=1 old=",
		"UPDATE configmaps ConfigMap default/x dry=false options=UpdateOptions object=2 old=1",
		"DELETE configmaps ConfigMap default/x dry=false options=DeleteOptions object= old=2",
	}
	var got []string
	for _, q := range seen {
		got = append(got, fmt.Sprintf("%s %s %s %s/%s dry=%v options=%s object=%s old=%s", q.Operation, q.Resource.Resource, q.Kind.Kind, q.Namespace, q.Name,
			*q.DryRun, kindIn(t, q.Options.Raw), dataIn(t, q.Object.Raw), dataIn(t, q.OldObject.Raw)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the questions differ (-want +got):\n%s", diff)
	}
}

func kindIn(t *testing.T, raw []byte) string {
	var meta metav1.TypeMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		t.Fatal(err)
	}
	return meta.Kind
}

func dataIn(t *testing.T, raw []byte) string {
	var cm corev1.ConfigMap
	if len(raw) == 0 {
		return ""
	}
	if err := json.Unmarshal(raw, &cm); err != nil {
		t.Fatal(err)
	}
	if cm.Kind != "ConfigMap" && string(raw) != "null" {
		t.Errorf("the object has the kind %q", cm.Kind)
	}
	return cm.Data["a"]
}

func TestMutation(t *testing.T) {
	const add = `[{"op":"add","path":"/data/b","value":"2"}]`
	for _, c := range []struct {
		name    string
		patch   string
		want    map[string]string
		code    int32
		message string
	}{
		{"a patch", add, map[string]string{"a": "1", "b": "2"}, 0, ""},
		{"an empty patch", "[]", map[string]string{"a": "1"}, 0, ""},
		{"a patch that changes nothing", `[{"op":"replace","path":"/data/a","value":"1"}]`, map[string]string{"a": "1"}, 0, ""},
		{"a patch that does not apply", `[{"op":"remove","path":"/data/c"}]`, nil, 500, "unable to remove nonexistent key: c: missing value"},
		{"no patch", `{}`, nil, 500, `failed calling webhook "m.example.com": received undecodable patch in webhook response: `},
		{"a patch to what is no object", `[{"op":"replace","path":"/data","value":7}]`, nil, 500, "Internal error occurred: "},
		{"a patch to another kind", `[{"op":"replace","path":"/kind","value":"Secret"}]`, nil, 500, "does not match the expected kind"},
		{"a patch to what is invalid", `[{"op":"add","path":"/data/~1","value":"2"}]`, nil, 422, `data[/]: Invalid value: "/"`},
		{"a patch to another namespace", `[{"op":"replace","path":"/metadata/namespace","value":"other"}]`, nil, 400, "the namespace of the provided object does not match"},
		{"a patch to what is the Store's", `[{"op":"add","path":"/metadata/uid","value":"mine"},{"op":"add","path":"/metadata/deletionTimestamp","value":"2020-01-01T00:00:00Z"}]`,
			map[string]string{"a": "1"}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			hook := hooktest.New(t, hooktest.Patch(c.patch))
			_, client := newStore(t, mutatingOn("m", "configmaps", hook.Client("/"), nil))
			cm := configMap("x")
			err := client.Create(t.Context(), cm)
			if c.message != "" {
				wantMessage(t, err, c.code, c.message)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, cm.Data); diff != "" {
				t.Errorf("the data differ (-want +got):\n%s", diff)
			}
			if cm.UID == "mine" || cm.UID == "" || cm.DeletionTimestamp != nil {
				t.Errorf("the metadata are %+v", cm.ObjectMeta)
			}
		})
	}
}

// TestMutatedUpdate: what a hook changes of an update counts as a change of the
// spec, and cannot change the status.
func TestMutatedUpdate(t *testing.T) {
	_, c := newStore(t)
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}, Spec: policyv1.PodDisruptionBudgetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
	}}
	if err := c.Create(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	hook := hooktest.New(t, hooktest.Patch(`[{"op":"add","path":"/spec/minAvailable","value":3},{"op":"add","path":"/status/currentHealthy","value":9}]`))
	if err := c.Create(t.Context(), mutatingOn("m", "poddisruptionbudgets", hook.Client("/"), nil)); err != nil {
		t.Fatal(err)
	}
	budget.Labels = map[string]string{"new": "label"}
	if err := c.Update(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	if budget.Spec.MinAvailable.String() != "3" || budget.Generation != 2 || budget.Status.CurrentHealthy != 0 {
		t.Errorf("minAvailable is %v, the generation %d, currentHealthy %d", budget.Spec.MinAvailable, budget.Generation, budget.Status.CurrentHealthy)
	}
}

// TestReinvocation draws what each hook sees:
//
//	a (again)   b (never)   c (again)
//	1: -        -           b
//	2: b,c      -           -
func TestReinvocation(t *testing.T) {
	label := func(name string) hooktest.Answer {
		return hooktest.Patch(`[{"op":"add","path":"/data/` + name + `","value":"x"}]`)
	}
	a, b, c := hooktest.New(t, hooktest.Allow), hooktest.New(t, label("b")), hooktest.New(t, label("c"))
	again := func(w *admissionv1.MutatingWebhook) {
		w.ReinvocationPolicy = ptr.To(admissionv1.IfNeededReinvocationPolicy)
	}
	// Created in another order than that of their names.
	_, client := newStore(t,
		mutatingOn("hook-c", "configmaps", c.Client("/"), again), mutatingOn("hook-a", "configmaps", a.Client("/"), again),
		mutatingOn("hook-b", "configmaps", b.Client("/"), nil))
	if err := client.Create(t.Context(), configMap("x")); err != nil {
		t.Fatal(err)
	}
	saw := func(s *hooktest.Server) []string {
		var out []string
		for _, q := range s.Seen() {
			var cm corev1.ConfigMap
			if err := json.Unmarshal(q.Object.Raw, &cm); err != nil {
				t.Fatal(err)
			}
			out = append(out, cm.Data["b"]+"/"+cm.Data["c"])
		}
		return out
	}
	for _, want := range []struct {
		name string
		hook *hooktest.Server
		saw  []string
	}{
		{"a", a, []string{"/", "x/x"}},
		{"b", b, []string{"/"}},
		{"c", c, []string{"x/"}},
	} {
		if diff := cmp.Diff(want.saw, saw(want.hook)); diff != "" {
			t.Errorf("what hook %s saw differs (-want +got):\n%s", want.name, diff)
		}
	}
}

func TestFailures(t *testing.T) {
	gone := httptest.NewTLSServer(http.NotFoundHandler())
	gone.Close()
	hang := make(chan struct{})
	hanging := hooktest.New(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		<-hang
		return &reviewv1.AdmissionResponse{Allowed: true}
	})
	defer close(hang)
	answer := func(text string) admissionv1.WebhookClientConfig { return hooktest.Raw(t, 200, text).Client("/") }
	strange := hooktest.New(t, hooktest.Allow).Client("/")
	strange.CABundle = nil
	for _, c := range []struct {
		name    string
		at      admissionv1.WebhookClientConfig
		message string
	}{
		{"nobody there", admissionv1.WebhookClientConfig{URL: &gone.URL}, "connect: connection refused"},
		{"too slow", hanging.Client("/"), "context deadline exceeded"},
		{"an unknown authority", strange, "x509: certificate signed by unknown authority"},
		{"no authority", admissionv1.WebhookClientConfig{URL: &gone.URL, CABundle: []byte("x")},
			`failed calling webhook "v.example.com": could not get REST client: unable to load root certificates: unable to parse bytes as PEM block`},
		{"an error", hooktest.Raw(t, 500, "oops").Client("/"), `failed calling webhook "v.example.com": failed to call webhook: an error on the server ("oops")`},
		{"not found", hooktest.Raw(t, 404, "").Client("/"), `failed to call webhook: the server could not find the requested resource`},
		{"no JSON", answer("what?"), `failed to call webhook: couldn't get version/kind; json parse error: `},
		{"another kind", answer(`{"kind":"Pod","apiVersion":"v1"}`), `failed to call webhook: no kind "Pod" is registered for version "v1"`},
		{"no response", answer(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`), "received invalid webhook response: webhook response was absent"},
		{"another uid", answer(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"x","allowed":true}}`),
			`received invalid webhook response: expected response.uid=`},
		{"too much", answer(strings.Repeat(" ", 17<<20)), "the response is larger than 16777216 bytes"},
		{"a Service that is not there", admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "gone"}},
			`failed to call webhook: Post "https://gone.default.svc:443/?timeout=1s": service "gone" not found`},
	} {
		t.Run(c.name, func(t *testing.T) {
			policy := ptr.To(admissionv1.Fail)
			set := func(w *admissionv1.ValidatingWebhook) { w.FailurePolicy, w.TimeoutSeconds = policy, ptr.To[int32](1) }
			_, fails := newStore(t, validatingOn("v", "configmaps", c.at, set))
			err := fails.Create(t.Context(), configMap("x"))
			wantMessage(t, err, 500, `Internal error occurred: failed calling webhook "v.example.com": `)
			wantMessage(t, err, 500, c.message)
			policy = ptr.To(admissionv1.Ignore)
			_, passes := newStore(t, validatingOn("v", "configmaps", c.at, set))
			if err := passes.Create(t.Context(), configMap("x")); err != nil {
				t.Errorf("ignored, it still fails: %v", err)
			}
		})
	}
}

// TestUnsoundAnswers are those of hooks that do not do what their kind does.
func TestUnsoundAnswers(t *testing.T) {
	patch, none := hooktest.Patch(`[]`), ptr.To(reviewv1.PatchType(""))
	for _, c := range []struct {
		name     string
		mutating bool
		answer   hooktest.Answer
		message  string
	}{
		{"a patch of one that validates", false, patch, "validating webhook may not return response.patch"},
		{"a type of one that validates", false, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
			return &reviewv1.AdmissionResponse{Allowed: true, PatchType: none}
		}, "validating webhook may not return response.patchType"},
		{"a patch without type", true, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
			return &reviewv1.AdmissionResponse{Allowed: true, Patch: []byte("[]")}
		}, "webhook returned response.patch but not response.patchType"},
		{"a type without patch", true, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
			return &reviewv1.AdmissionResponse{Allowed: true, PatchType: none}
		}, "webhook returned response.patchType but not response.patch"},
		{"an unknown type", true, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
			return &reviewv1.AdmissionResponse{Allowed: true, Patch: []byte(`[{"op":"remove","path":"/data"}]`), PatchType: ptr.To(reviewv1.PatchType("Merge"))}
		}, `unsupported patch type "Merge"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			hook := hooktest.New(t, c.answer)
			configuration := validatingOn("v", "configmaps", hook.Client("/"), nil)
			if c.mutating {
				configuration = mutatingOn("v", "configmaps", hook.Client("/"), nil)
			}
			_, client := newStore(t, configuration)
			wantMessage(t, client.Create(t.Context(), configMap("x")), 500, c.message)
		})
	}
}

func TestDryRunNeedsNoSideEffects(t *testing.T) {
	hook := hooktest.New(t, hooktest.Deny("seen"))
	s, _ := newStore(t, validatingOn("v", "configmaps", hook.Client("/"), func(w *admissionv1.ValidatingWebhook) {
		w.SideEffects = ptr.To(admissionv1.SideEffectClassNoneOnDryRun)
	}))
	wantMessage(t, dryCreate(t, s, storetest.Admin()), 400, "denied the request: seen")
	if seen := hook.Seen(); len(seen) != 1 || !*seen[0].DryRun {
		t.Errorf("the hook saw %v", seen)
	}
}

// TestConditions: a hook is asked only about what meets its conditions.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		name       string
		conditions map[string]string
		policy     admissionv1.FailurePolicyType
		code       int32
		message    string
	}{
		{"met", map[string]string{"a": "object.metadata.name == 'x'", "b": "request.operation == 'CREATE'"}, admissionv1.Fail, 400, "denied the request: seen"},
		{"not met", map[string]string{"a": "true", "b": "object.metadata.name == 'y'"}, admissionv1.Fail, 0, ""},
		{"not met beside one that fails", map[string]string{"a": "object.nothing == 1", "b": "false"}, admissionv1.Fail, 0, ""},
		{"one that fails", map[string]string{"a": "object.nothing == 1", "b": "true"}, admissionv1.Fail, 403,
			`configmaps "x" is forbidden: expression 'object.nothing == 1' resulted in error: no such key: nothing`},
		{"one that fails, ignored", map[string]string{"a": "object.nothing == 1"}, admissionv1.Ignore, 0, ""},
		{"what the user may", map[string]string{"a": "authorizer.requestResource.check('anything').allowed()"}, admissionv1.Fail, 400, "denied the request: seen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hook := hooktest.New(t, hooktest.Deny("seen"))
			_, client := newStore(t, validatingOn("v", "configmaps", hook.Client("/"), func(w *admissionv1.ValidatingWebhook) {
				w.FailurePolicy = &c.policy
				for name, source := range c.conditions {
					w.MatchConditions = append(w.MatchConditions, admissionv1.MatchCondition{Name: name, Expression: source})
				}
			}))
			err := client.Create(t.Context(), configMap("x"))
			if c.code != 0 {
				wantMessage(t, err, c.code, c.message)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExemptions: hooks that refuse everything neither keep themselves from
// being removed nor the Store from its own work.
func TestExemptions(t *testing.T) {
	hook := hooktest.New(t, hooktest.Deny("everything"))
	configuration := validatingOn("v", "*/*", hook.Client("/"), nil)
	_, c := newStore(t, configuration)
	wantMessage(t, c.Create(t.Context(), configMap("x")), 400, "denied the request: everything")
	if err := c.Delete(t.Context(), configuration, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), configMap("x")); err != nil {
		t.Errorf("removed, the hook still refuses: %v", err)
	}
}

// TestEquivalent: a hook for another version of a resource sees it in that
// version, and its patch is applied to it.
func TestEquivalent(t *testing.T) {
	hook := hooktest.New(t, hooktest.Patch(`[{"op":"replace","path":"/spec/targetCPUUtilizationPercentage","value":33}]`))
	_, c := newStore(t, mutatingOn("m", "horizontalpodautoscalers", hook.Client("/"), func(w *admissionv1.MutatingWebhook) {
		w.Rules[0].APIVersions = []string{"v1"}
	}))
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "h"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "d"}, MaxReplicas: 3,
	}}
	if err := c.Create(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
	q := hook.Seen()[0]
	if q.Kind.Version != "v1" || q.Resource.Version != "v1" || q.RequestKind.Version != "v2" || q.RequestResource.Version != "v2" {
		t.Errorf("the kind is %v, of the request %v", q.Kind, q.RequestKind)
	}
	if got := *hpa.Spec.Metrics[0].Resource.Target.AverageUtilization; got != 33 {
		t.Errorf("the target is %d", got)
	}
}

// TestSubresources: what is sent to a subresource is seen as what it is.
func TestSubresources(t *testing.T) {
	hook := hooktest.New(t, hooktest.Allow)
	s, c := newStore(t, validatingOn("v", "pods/*", hook.Client("/"), nil))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	store := storev1.NewStoreServiceClient(s.Conn(storetest.Admin()))
	ctx := context.Background()
	if _, err := store.Bind(ctx, &storev1.BindRequest{Bindings: []*storev1.Binding{{Namespace: "default", Name: "p", NodeName: "n"}}}); err != nil {
		t.Fatal(err)
	}
	options, err := kinds.Encode(&corev1.PodExecOptions{Command: []string{"sh"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = store.Connect(ctx, &storev1.ConnectRequest{ // there is no such node
		Resource: &storev1.Resource{Version: "v1", Resource: "pods"}, Namespace: "default", Name: "p", Subresource: "exec", Verb: "create", Options: options,
	})
	eviction, err := kinds.Encode(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(ctx, &storev1.CreateRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "pods"}, Namespace: "default", Name: "p", Subresource: "eviction", Object: &storev1.Object{Object: eviction},
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range hook.Seen() {
		got = append(got, fmt.Sprintf("%s %s/%s %s %s", q.Operation, q.Resource.Resource, q.SubResource, q.Kind.Kind, kindIn(t, q.Object.Raw)))
	}
	want := []string{"CREATE pods/ Pod Pod", "CREATE pods/binding Binding Binding", "CONNECT pods/exec PodExecOptions PodExecOptions", "CREATE pods/eviction Eviction Eviction"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the questions differ (-want +got):\n%s", diff)
	}
}

// TestWarnings: what hooks warn of reaches the user.
func TestWarnings(t *testing.T) {
	hook := hooktest.New(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, Warnings: []string{"careful"}}
	})
	s, _ := newStore(t, validatingOn("v", "configmaps", hook.Client("/"), nil))
	store := storev1.NewStoreServiceClient(s.Conn(storetest.Admin()))
	cm, err := kinds.Encode(configMap("x"))
	if err != nil {
		t.Fatal(err)
	}
	resource := &storev1.Resource{Version: "v1", Resource: "configmaps"}
	created, err := store.Create(t.Context(), &storev1.CreateRequest{Resource: resource, Namespace: "default", Object: &storev1.Object{Object: cm}})
	if err != nil || !slices.Equal(created.GetWarnings(), []string{"careful"}) {
		t.Errorf("create warns %q: %v", created.GetWarnings(), err)
	}
	deleted, err := store.DeleteCollection(t.Context(), &storev1.DeleteCollectionRequest{Resource: resource, Namespace: "default"})
	if err != nil || !slices.Equal(deleted.GetWarnings(), []string{"careful"}) {
		t.Errorf("deletecollection warns %q: %v", deleted.GetWarnings(), err)
	}
}

// TestWarningsOfDenials: what hooks warn of reaches the user beside a refusal.
func TestWarningsOfDenials(t *testing.T) {
	hook := hooktest.New(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Warnings: []string{"careful", "on\ntwo lines"}}
	})
	_, c := newStore(t, validatingOn("v", "configmaps", hook.Client("/"), nil))
	err := c.Create(t.Context(), configMap("x"))
	if err == nil {
		t.Fatal("it was created")
	}
	if diff := cmp.Diff([]string{"careful", "on\ntwo lines"}, apistatus.Warnings(err)); diff != "" {
		t.Errorf("the warnings differ (-want +got):\n%s", diff)
	}
}

// TestNotYetGiven: mutating hooks see new objects before the Store gives them a
// uid, a time and a name; validating ones after it. The request has the name
// that the user gave.
func TestNotYetGiven(t *testing.T) {
	mutates, validates := hooktest.New(t, hooktest.Allow), hooktest.New(t, hooktest.Allow)
	_, c := newStore(t, mutatingOn("m", "configmaps", mutates.Client("/"), nil), validatingOn("v", "configmaps", validates.Client("/"), nil))
	cm := configMap("")
	cm.GenerateName = "x-"
	if err := c.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		seen []*reviewv1.AdmissionRequest
		want metav1.ObjectMeta
	}{
		{mutates.Seen(), metav1.ObjectMeta{}},
		{validates.Seen(), metav1.ObjectMeta{Name: cm.Name, UID: cm.UID, CreationTimestamp: cm.CreationTimestamp}},
	} {
		got := &corev1.ConfigMap{}
		if err := json.Unmarshal(q.seen[0].Object.Raw, got); err != nil {
			t.Fatal(err)
		}
		if got.Name != q.want.Name || got.UID != q.want.UID || !got.CreationTimestamp.Equal(&q.want.CreationTimestamp) || q.seen[0].Name != "" {
			t.Errorf("a hook saw %q, uid %q, of %v, as %q; want %+v", got.Name, got.UID, got.CreationTimestamp, q.seen[0].Name, q.want)
		}
	}
}

// TestNotYetPrepared: mutating hooks see new objects before their kind makes
// something of their uid, name or spec; validating ones after it. What a hook
// does to the spec counts.
func TestNotYetPrepared(t *testing.T) {
	pod := podTemplate("app")
	for _, tt := range []struct {
		resource string
		obj      kinds.Object
		patch    string
		// shown tells what matters of what a hook sees: before is what the mutating
		// one does, after the validating one.
		shown         func(*testing.T, []byte) string
		before, after string
	}{
		{"jobs", &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Spec: batchv1.JobSpec{Template: pod}},
			`[{"op":"replace","path":"/spec/template/metadata/labels","value":{"app":"y"}}]`, shownJob, "false map[app:app] 1", "true map[app:y batch.kubernetes.io/job-name:x job-name:x] 1"},
		{"pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Spec: pod.Spec, Status: corev1.PodStatus{Phase: corev1.PodFailed}},
			`[{"op":"add","path":"/spec/containers/0/resources/requests","value":{"cpu":"1"}}]`, shownPod, "Failed ", "Pending Burstable"},
		{"namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}},
			`[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`, shownNamespace, "Active[] 0", "Active[kubernetes] 2"},
	} {
		t.Run(tt.resource, func(t *testing.T) {
			mutates, validates := hooktest.New(t, hooktest.Patch(tt.patch)), hooktest.New(t, hooktest.Allow)
			_, c := newStore(t, mutatingOn("m", tt.resource, mutates.Client("/"), nil), validatingOn("v", tt.resource, validates.Client("/"), nil))
			if err := c.Create(t.Context(), tt.obj); err != nil {
				t.Fatal(err)
			}
			if got := tt.shown(t, mutates.Seen()[0].Object.Raw); got != tt.before {
				t.Errorf("a mutating hook saw %q, want %q", got, tt.before)
			}
			if got := tt.shown(t, validates.Seen()[0].Object.Raw); got != tt.after {
				t.Errorf("a validating hook saw %q, want %q", got, tt.after)
			}
		})
	}
}

func podTemplate(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func seen[T any](t *testing.T, raw []byte) *T {
	t.Helper()
	obj := new(T)
	if err := json.Unmarshal(raw, obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// shownJob shows whether a Job has what was made of its uid, its other labels for
// pods, and how many completions it was left to.
func shownJob(t *testing.T, raw []byte) string {
	t.Helper()
	j := seen[batchv1.Job](t, raw)
	labels := j.Spec.Template.Labels
	has := j.Spec.Selector != nil && j.UID != "" && labels[batchv1.ControllerUidLabel] == string(j.UID)
	delete(labels, batchv1.ControllerUidLabel)
	delete(labels, "controller-uid")
	return fmt.Sprint(has, labels, *j.Spec.Completions)
}

func shownPod(t *testing.T, raw []byte) string {
	t.Helper()
	p := seen[corev1.Pod](t, raw)
	return fmt.Sprint(p.Status.Phase, " ", p.Status.QOSClass)
}

func shownNamespace(t *testing.T, raw []byte) string {
	t.Helper()
	n := seen[corev1.Namespace](t, raw)
	return fmt.Sprint(n.Status.Phase, n.Spec.Finalizers, len(n.Labels))
}

// TestNotes: what hooks want to have noted, and what they do, is told to who
// audits the request.
func TestNotes(t *testing.T) {
	changes := hooktest.New(t, func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		response := hooktest.Patch(`[{"op":"add","path":"/data/b","value":"2"}]`)(r)
		response.AuditAnnotations = map[string]string{"seen": "yes", "not a key": "no"}
		return response
	})
	refuses := hooktest.New(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{AuditAnnotations: map[string]string{"why": "because"}}
	})
	broken := hooktest.Raw(t, http.StatusTeapot, "")
	ignored := func(w *admissionv1.ValidatingWebhook) { w.FailurePolicy = ptr.To(admissionv1.Ignore) }
	s, _ := newStore(t, mutatingOn("m", "configmaps", changes.Client("/"), nil),
		mutatingOn("n", "configmaps", broken.Client("/"), func(w *admissionv1.MutatingWebhook) { w.FailurePolicy = ptr.To(admissionv1.Ignore) }),
		validatingOn("u", "configmaps", broken.Client("/"), ignored), validatingOn("v", "configmaps", refuses.Client("/"), nil))
	c, ctx, noted := s.Audited(t)
	if err := c.Create(ctx, configMap("x")); err == nil {
		t.Error("it was created")
	}
	want := map[string]string{
		"mutation.webhook.admission.k8s.io/round_0_index_0":               `{"configuration":"m","webhook":"m.example.com","mutated":true}`,
		"patch.webhook.admission.k8s.io/round_0_index_0":                  `{"configuration":"m","webhook":"m.example.com","patch":[{"op":"add","path":"/data/b","value":"2"}],"patchType":"JSONPatch"}`,
		"m.example.com/seen":                                              "yes",
		"mutation.webhook.admission.k8s.io/round_0_index_1":               `{"configuration":"n","webhook":"n.example.com","mutated":false}`,
		"failed-open.mutation.webhook.admission.k8s.io/round_0_index_1":   "n.example.com",
		"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "u.example.com",
		"v.example.com/why":                                               "because",
	}
	if diff := cmp.Diff(want, noted()); diff != "" {
		t.Errorf("the annotations differ (-want +got):\n%s", diff)
	}
}

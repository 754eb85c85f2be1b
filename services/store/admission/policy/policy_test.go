package policy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/storetest"
)

// configMaps are the rules of a policy about ConfigMaps.
const configMaps = "matchConstraints: {resourceRules: [{operations: [CREATE, UPDATE, DELETE], apiGroups: [''], apiVersions: [v1], resources: [configmaps]}]}\n"

func policyOf(t *testing.T, spec string) kinds.Object {
	t.Helper()
	p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "rule"}}
	if err := yaml.UnmarshalStrict([]byte(configMaps+spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

func bindingOf(t *testing.T, spec string) kinds.Object {
	t.Helper()
	b := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "bound"}}
	if err := yaml.UnmarshalStrict([]byte("policyName: rule\n"+spec), &b.Spec); err != nil {
		t.Fatal(err)
	}
	return b
}

// janes allows everything but to "fly", and to read Nodes and the Secret
// "hidden".
type janes struct{}

func (janes) Authorize(_ context.Context, a access.Attributes) (access.Decision, error) {
	hidden := a.Verb == "get" && (a.Resource == "nodes" || a.Group == "*" || a.Name == "hidden")
	return access.Decision{Allowed: a.Verb != "fly" && !hidden}, nil
}

func newStore(t *testing.T, objs ...kinds.Object) (*storetest.Store, *client.Client) {
	t.Helper()
	s := storetest.New(t, storetest.WithControl(func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: janes{}}, nil
	}))
	c := s.Client(identity.Identity{Name: "jane", Groups: []string{"devs"}})
	for _, obj := range objs {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
	return s, c
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}}, Data: map[string]string{}}
	for i := 0; i < len(data); i += 2 {
		cm.Data[data[i]] = data[i+1]
	}
	return cm
}

const (
	deny   = "validationActions: [Deny]"
	prefix = `configmaps "x" is forbidden: ValidatingAdmissionPolicy 'rule' with binding 'bound' denied request: `
)

func TestValidations(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  string
		binding string
		reason  metav1.StatusReason // empty: it passes
		code    int32
		message string
	}{
		{"it holds", "validations: [{expression: \"object.data.size == 'big'\"}]", deny, "", 0, ""},
		{"it does not hold", "validations: [{expression: \"object.data.size == 'small'\"}]", deny, "Invalid", 422, prefix + "failed expression: object.data.size == 'small'"},
		{"a message", "validations: [{expression: 'false', message: ' nope '}]", deny, "Invalid", 422, prefix + "nope"},
		{"a reason", "validations: [{expression: 'false', message: nope, reason: Forbidden}]", deny, "Forbidden", 403, prefix + "nope"},
		{"too large", "validations: [{expression: 'false', message: nope, reason: RequestEntityTooLarge}]", deny, "RequestEntityTooLarge", 413, prefix + "nope"},
		{"an expression's message", "validations: [{expression: 'false', message: nope, messageExpression: \"object.data.size + ' is wrong'\"}]", deny, "Invalid", 422, prefix + "big is wrong"},
		{"a message that fails", "validations: [{expression: 'false', message: nope, messageExpression: 'object.data.nothing'}]", deny, "", 0, "must evaluate to string but got dyn"},
		{"a string message that fails", "validations: [{expression: 'false', message: nope, messageExpression: 'string(object.data.nothing)'}]", deny, "Invalid", 422, prefix + "nope"},
		{"the second", "validations: [{expression: 'true'}, {expression: '1 > 2'}]", deny, "Invalid", 422, prefix + "failed expression: 1 > 2"},
		{"it fails", "validations: [{expression: 'object.data.nothing == 1'}]", deny, "Invalid", 422, prefix + "expression 'object.data.nothing == 1' resulted in error: no such key: nothing"},
		{"it fails, ignored", "failurePolicy: Ignore\nvalidations: [{expression: 'object.data.nothing == 1'}]", deny, "", 0, ""},
		{"ignoring failures, it does not hold", "failurePolicy: Ignore\nvalidations: [{expression: '1 > 2'}]", deny, "Invalid", 422, prefix + "failed expression: 1 > 2"},
		{"only warned of", "validations: [{expression: '1 > 2'}]", "validationActions: [Warn, Audit]", "", 0, ""},
		{"conditions are not met", "matchConditions: [{name: a, expression: \"request.userInfo.username == 'joe'\"}]\nvalidations: [{expression: 'false'}]", deny, "", 0, ""},
		{"conditions are met", "matchConditions: [{name: a, expression: \"request.userInfo.username == 'jane'\"}]\nvalidations: [{expression: 'false'}]", deny, "Invalid", 422, prefix + "failed expression: false"},
		{"conditions fail", "matchConditions: [{name: a, expression: 'object.data.nothing == 1'}, {name: b, expression: 'true'}]\nvalidations: [{expression: 'true'}]", deny,
			"Invalid", 422, prefix + "expression 'object.data.nothing == 1' resulted in error: no such key: nothing"},
		{"a false condition beside one that fails", "matchConditions: [{name: a, expression: 'object.data.nothing == 1'}, {name: b, expression: 'false'}]\nvalidations: [{expression: 'false'}]", deny, "", 0, ""},
		{"variables", "variables: [{name: big, expression: \"object.data.size == 'big'\"}, {name: small, expression: '!variables.big'}]\nvalidations: [{expression: variables.small, messageExpression: \"variables.big ? 'too big' : ''\"}]", deny,
			"Invalid", 422, prefix + "too big"},
		{"the user may", "validations: [{expression: \"authorizer.requestResource.check('walk').allowed()\"}]", deny, "", 0, ""},
		{"the user may not", "validations: [{expression: \"authorizer.group('').resource('configmaps').namespace('default').check('fly').allowed()\"}]", deny,
			"Invalid", 422, prefix + "failed expression: authorizer.group('').resource('configmaps').namespace('default').check('fly').allowed()"},
		{"the namespace", "validations: [{expression: \"namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == request.namespace\"}]", deny, "", 0, ""},
		{"what is not there before", "validations: [{expression: 'oldObject == null && object != null'}]", deny, "", 0, ""},
		{"another namespace is bound", "validations: [{expression: 'false'}]", deny + "\nmatchResources: {namespaceSelector: {matchLabels: {a: b}}}", "", 0, ""},
		{"these labels are bound", "validations: [{expression: 'false'}]", deny + "\nmatchResources: {objectSelector: {matchLabels: {app: web}}}", "Invalid", 422, prefix},
		{"too dear", "validations: [{expression: \"[1,2,3,4,5,6,7,8,9,10].map(i, authorizer.path('/' + string(i)).check('get').allowed()).all(a, a)\"}]", deny, "Invalid", 422,
			prefix + "expression '[1,2,3,4,5,6,7,8,9,10].map(i, authorizer.path('/' + string(i)).check('get').allowed()).all(a, a)' resulted in error: operation cancelled: actual cost limit exceeded"},
		{"an annotation that fails", "auditAnnotations: [{key: a, valueExpression: 'string(object.data.nothing)'}]", "validationActions: [Audit]", "Invalid", 422, prefix + "expression 'string(object.data.nothing)' resulted in error: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, client := newStore(t, bindingOf(t, c.binding))
			if err := client.Create(t.Context(), policyOf(t, c.policy)); err != nil {
				if c.reason != "" || c.message == "" || !strings.Contains(err.Error(), c.message) {
					t.Fatal(err)
				}
				return
			}
			expect(t, client.Create(t.Context(), configMap("x", "size", "big")), c.reason, c.code, c.message)
		})
	}
}

func expect(t *testing.T, err error, reason metav1.StatusReason, code int32, message string) {
	t.Helper()
	var status apierrors.APIStatus
	switch {
	case err == nil && reason != "":
		t.Fatalf("it passes, and is not refused as %s", message)
	case err == nil:
		return
	case !errors.As(err, &status):
		t.Fatalf("not an API error: %v", err)
	}
	got := status.Status()
	if got.Reason != reason || got.Code != code || !strings.Contains(got.Message, message) || message == "" {
		t.Errorf("refused as %s %d %q\nnot as     %s %d %q", got.Reason, got.Code, got.Message, reason, code, message)
	}
	if message != "" && (len(got.Details.Causes) != 1 || !strings.HasSuffix(got.Message, got.Details.Causes[0].Message)) {
		t.Errorf("the causes are %+v", got.Details.Causes)
	}
}

func TestParams(t *testing.T) {
	const policyText = "paramKind: {apiVersion: v1, kind: Secret}\nvalidations: [{expression: \"params == null || object.data.size != params.metadata.name && params.kind == 'Secret'\", messageExpression: \"'not ' + params.metadata.name\"}]"
	secret := func(name string) kinds.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"for": "rule"}}}
	}
	for _, c := range []struct {
		name, policy, binding string
		reason                metav1.StatusReason
		message               string
	}{
		{"none", policyText, deny, "", ""},
		{"by name", policyText, deny + "\nparamRef: {name: big, namespace: default, parameterNotFoundAction: Deny}", "Invalid", prefix + "not big"},
		{"by name in the object's namespace", policyText, deny + "\nparamRef: {name: big, parameterNotFoundAction: Deny}", "Invalid", prefix + "not big"},
		{"by another name", policyText, deny + "\nparamRef: {name: small, parameterNotFoundAction: Deny}", "", ""},
		{"by labels", policyText, deny + "\nparamRef: {selector: {matchLabels: {for: rule}}, parameterNotFoundAction: Deny}", "Invalid", prefix + "not big"},
		{"missing, allowed", policyText, deny + "\nparamRef: {name: gone, parameterNotFoundAction: Allow}", "", ""},
		{"missing, denied", policyText, deny + "\nparamRef: {name: gone, parameterNotFoundAction: Deny}", "Invalid",
			prefix + "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"},
		{"missing, ignored", "failurePolicy: Ignore\n" + policyText, deny + "\nparamRef: {name: gone, parameterNotFoundAction: Deny}", "", ""},
		{"of an unknown kind", strings.Replace(policyText, "kind: Secret}", "kind: Nothing}", 1), deny, "Invalid",
			`configmaps "x" is forbidden: ValidatingAdmissionPolicy 'rule' denied request: failed to configure policy: failed to find resource referenced by paramKind: '/v1, Kind=Nothing'`},
		{"of the cluster, in a namespace", strings.Replace(policyText, "kind: Secret}", "kind: PersistentVolume}", 1), deny + "\nparamRef: {name: n, namespace: default, parameterNotFoundAction: Deny}", "Invalid",
			prefix + "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, client := newStore(t, secret("big"), secret("small"), policyOf(t, c.policy), bindingOf(t, c.binding))
			expect(t, client.Create(t.Context(), configMap("x", "size", "big")), c.reason, 422, c.message)
		})
	}
}

// TestChanges: a policy applies from when it is there until it is gone.
func TestChanges(t *testing.T) {
	_, c := newStore(t, bindingOf(t, deny))
	create := func(name string) error { return c.Create(t.Context(), configMap(name)) }
	if err := create("before"); err != nil {
		t.Fatal(err)
	}
	policy := policyOf(t, "validations: [{expression: \"request.operation != 'CREATE'\"}]")
	if err := c.Create(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	expect(t, create("x"), "Invalid", 422, prefix)
	changed := policy.DeepCopyObject().(*admissionv1.ValidatingAdmissionPolicy)
	changed.Spec.Validations[0].Expression = "request.operation != 'DELETE' || oldObject.metadata.name != 'before'"
	if err := c.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if changed.Generation != 2 {
		t.Errorf("the generation is %d", changed.Generation)
	}
	if err := create("x"); err != nil {
		t.Error(err)
	}
	err := c.Delete(t.Context(), configMap("before"), client.DeleteOptions{})
	if err == nil || !strings.Contains(err.Error(), "denied request") {
		t.Errorf("deleted: %v", err)
	}
	if err := c.Delete(t.Context(), bindingOf(t, deny), client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), configMap("before"), client.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	s, _ := newStore(t, bindingOf(t, "validationActions: [Warn]"), policyOf(t, "validations: [{expression: 'false', message: careful}]"))
	cm, err := kinds.Encode(configMap("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := storev1.NewStoreServiceClient(s.Conn(storetest.Admin())).Create(t.Context(), &storev1.CreateRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default", Object: &storev1.Object{Object: cm},
	})
	if err != nil {
		t.Fatal(apistatus.FromGRPC(err))
	}
	want := []string{"Validation failed for ValidatingAdmissionPolicy 'rule' with binding 'bound': careful"}
	if !slices.Equal(resp.GetWarnings(), want) {
		t.Errorf("the warnings are %q", resp.GetWarnings())
	}
}

// TestAuthors: nobody learns by a policy what they may not read.
func TestAuthors(t *testing.T) {
	_, c := newStore(t, policyOf(t, "paramKind: {apiVersion: v1, kind: Secret}\nvalidations: [{expression: 'params.x == 1'}]"))
	policy := policyOf(t, "paramKind: {apiVersion: v1, kind: Node}\nvalidations: [{expression: 'params.x == 1'}]")
	policy.SetName("nodes")
	expectInvalid(t, c.Create(t.Context(), policy), `spec.paramKind: Forbidden: user jane must have "get" permission on all objects of the referenced paramKind (kind=Node, apiVersion=v1)`)
	hidden := bindingOf(t, deny+"\nparamRef: {name: hidden, namespace: default, parameterNotFoundAction: Deny}")
	const why = `spec.paramRef: Forbidden: user jane does not have "get" permission on the object referenced by paramRef`
	expectInvalid(t, c.Create(t.Context(), hidden), why)
	unknown := bindingOf(t, deny+"\nparamRef: {name: a, namespace: default, parameterNotFoundAction: Deny}").(*admissionv1.ValidatingAdmissionPolicyBinding)
	unknown.Spec.PolicyName = "later"
	expectInvalid(t, c.Create(t.Context(), unknown), why)
	open := bindingOf(t, deny+"\nparamRef: {name: open, namespace: default, parameterNotFoundAction: Deny}").(*admissionv1.ValidatingAdmissionPolicyBinding)
	if err := c.Create(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	open.Spec.ParamRef.Name = "hidden"
	expectInvalid(t, c.Update(t.Context(), open), why)
}

func expectInvalid(t *testing.T, err error, cause string) {
	t.Helper()
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), cause) {
		t.Errorf("it fails as %v\nnot as     %s", err, cause)
	}
}

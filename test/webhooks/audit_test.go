package webhooks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	reviewv1 "k8s.io/api/admission/v1"

	"navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/testcluster"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission/webhook/hooktest"
)

// auditPolicy records what happens in one namespace.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  namespaces: [audited]
  resources: [{group: "", resources: [secrets, pods/exec]}]
- level: RequestResponse
  omitManagedFields: true
  namespaces: [audited]
  verbs: [create, delete]
  resources: [{group: "", resources: [configmaps, pods]}]
`

// auditing returns the file of an audit log and the flags that have it written.
func auditing(t *testing.T) (log string, args []string) {
	t.Helper()
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "logs", "audit.log")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	return log, []string{"--audit-policy-file", policy, "--audit-log-path", log}
}

// notingPolicy notes who owns what is written, and finds fault with it.
const notingPolicy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: noting}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: "false", message: fault}]
  auditAnnotations: [{key: owner, valueExpression: "'of ' + request.userInfo.username"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: noting}
spec:
  policyName: noting
  validationActions: [Audit]
  matchResources: {namespaceSelector: {matchLabels: {hooks: audited}}}
`

// testAudit looks for what kubectl does in the audit log, and for what policies,
// webhooks and the Pod Security Standards have to say about it.
func (s suite) testAudit(t *testing.T) {
	s.namespace(t, "audited")
	s.Kubectl(t, "label", "namespace", "audited", "pod-security.kubernetes.io/audit=restricted")
	s.KubectlInput(t, notingPolicy, "apply", "-f", "-")
	t.Cleanup(func() {
		s.Kubectl(t, "delete", "validatingadmissionpolicybinding/noting", "validatingadmissionpolicy/noting")
	})
	server := hooktest.New(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, AuditAnnotations: map[string]string{"seen": "yes"}}
	})
	s.register(t, hook{kind: "Validating", name: "audited", client: at(server, "/"), resources: "configmaps"})

	s.Kubectl(t, "-n", "audited", "create", "configmap", "a", "--from-literal=k=v")
	s.Kubectl(t, "-n", "audited", "create", "secret", "generic", "b", "--from-literal=k=hidden")
	s.KubectlFails(t, "-n", "audited", "create", "configmap", "a", "--as=jane")
	s.Kubectl(t, "-n", "audited", "run", "web", "--image="+testcluster.BusyboxImage, "--", "sleep", "3600")
	s.Kubectl(t, "-n", "audited", "wait", "pod/web", "--for=condition=Ready", "--timeout=2m")
	s.Kubectl(t, "-n", "audited", "exec", "web", "--", "true")

	s.auditsCalls(t)
	events := slices.DeleteFunc(s.audited(t), func(e audit.Event) bool { return !strings.HasPrefix(e.UserAgent, "kubectl/") })
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s %s %s/%s %s %d", e.Stage, e.Verb, e.ObjectRef.Resource, e.ObjectRef.Subresource, e.ObjectRef.Name, e.ResponseStatus.Code))
	}
	// The body of a request that is refused is not read for its name.
	want := []string{
		"ResponseComplete create configmaps/ a 201", "ResponseComplete create secrets/ b 201", "ResponseComplete create configmaps/  403",
		"ResponseComplete create pods/ web 201",
	}
	if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
		t.Fatalf("the events differ (-want +got):\n%s", diff)
	}
	testcluster.Contains(t, "the audit log", strings.Join(got, "\n"), "ResponseStarted get pods/exec web 101")
	for i, wants := range []map[string]string{
		{
			"authorization.k8s.io/decision": "allow", "noting/owner": "of " + events[0].User.Username, "audited.example.com/seen": "yes",
			"validation.policy.admission.k8s.io/validation_failure": `[{"message":"fault","policy":"noting","binding":"noting","expressionIndex":0,"validationActions":["Audit"]}]`,
		},
		{"authorization.k8s.io/decision": "allow"},
		{"authorization.k8s.io/decision": "forbid"},
		{"pod-security.kubernetes.io/enforce-policy": "privileged:latest"},
	} {
		for key, value := range wants {
			if events[i].Annotations[key] != value {
				t.Errorf("event %d has the annotation %s=%q, not %q", i, key, events[i].Annotations[key], value)
			}
		}
	}
	if as := events[2].ImpersonatedUser; as == nil || as.Username != "jane" {
		t.Errorf("the third was made as %+v", as)
	}
	testcluster.Contains(t, "what is audited of the pod", events[3].Annotations["pod-security.kubernetes.io/audit-violations"], `would violate PodSecurity "restricted:latest": `)
	testcluster.Contains(t, "the object in the request", string(events[0].RequestObject), `"data":{"k":"v"}`)
	testcluster.Contains(t, "the object in the answer", string(events[0].ResponseObject), `"uid"`)
	if events[1].RequestObject != nil || strings.Contains(string(events[0].ResponseObject), "managedFields") {
		t.Error("the log has what the policy leaves out")
	}
}

// auditsCalls looks for what the Controller, which is no client of the gateway, makes
// in every namespace.
func (s suite) auditsCalls(t *testing.T) {
	t.Helper()
	testcluster.Eventually(t, "the Controller's call is in the audit log", func() error {
		for _, e := range s.audited(t) {
			if e.ObjectRef.Name != "kube-root-ca.crt" || e.Verb != "create" {
				continue
			}
			if e.User.Username != identity.Service(identity.Controller).Name || e.RequestURI != storev1.StoreService_Create_FullMethodName ||
				e.ResponseStatus.Code != http.StatusCreated || !strings.Contains(string(e.RequestObject), "BEGIN CERTIFICATE") {
				t.Fatalf("the event is %+v", e)
			}
			return nil
		}
		return errors.New("there is no such event")
	})
}

// audited returns the events so far.
func (s suite) audited(t *testing.T) []audit.Event {
	t.Helper()
	text, err := os.ReadFile(s.audit)
	if err != nil {
		t.Fatal(err)
	}
	var events []audit.Event
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		var e audit.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

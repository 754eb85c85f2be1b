// Package webhooks_test lets webhooks and policies change and judge what users
// write to a real cluster: webhooks on this machine, and one in a pod behind a
// Service.
package webhooks_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	reviewv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"navarch.dev/navarch/internal/testcluster"
	"navarch.dev/navarch/services/store/admission/webhook/hooktest"
)

// suite is the cluster that all tests of this package share.
type suite struct {
	*testcluster.Cluster

	audit string // the audit log's file
}

func TestWebhooks(t *testing.T) {
	audit, args := auditing(t)
	s := suite{Cluster: testcluster.Start(t, testcluster.Options{Nodes: 2, Args: args}), audit: audit}
	s.LoadBusybox(t)
	for _, tc := range []struct {
		name string
		test func(*testing.T)
	}{
		{"one that refuses", s.testRefusal},
		{"one that changes", s.testMutation},
		{"dry run", s.testDryRun},
		{"one that is gone", s.testGone},
		{"one that is slow", s.testSlow},
		{"one that answers nonsense", s.testNonsense},
		{"streams, scales and evictions", s.testSubresources},
		{"one in a pod", s.testInPod},
		{"a policy that judges", s.testPolicy},
		{"a policy that changes", s.testMutatingPolicy},
		{"an audit log", s.testAudit},
	} {
		t.Run(tc.name, tc.test)
	}
}

// hook is what a configuration says about a webhook.
type hook struct {
	kind      string // Mutating or Validating
	name      string
	client    string // its clientConfig
	resources string
	more      string // further fields, each on a line of its own
}

// at is the clientConfig of a server on this machine.
func at(s *hooktest.Server, path string) string {
	return fmt.Sprintf("{url: %s%s, caBundle: %s}", s.URL, path, base64.StdEncoding.EncodeToString(s.CABundle))
}

// register makes a configuration of one webhook that concerns objects in
// namespaces labelled hooks=NAME, until the test ends.
func (s suite) register(t *testing.T, h hook) {
	t.Helper()
	manifest := fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: %sWebhookConfiguration
metadata: {name: %s}
webhooks:
- name: %[2]s.example.com
  clientConfig: %s
  rules: [{operations: ["*"], apiGroups: ["*"], apiVersions: ["*"], resources: [%s]}]
  namespaceSelector: {matchLabels: {hooks: %[2]s}}
  sideEffects: None
  admissionReviewVersions: [v1]
%[5]s`, h.kind, h.name, h.client, h.resources, h.more)
	s.KubectlInput(t, manifest, "apply", "-f", "-")
	t.Cleanup(func() { s.Kubectl(t, "delete", strings.ToLower(h.kind)+"webhookconfiguration", h.name) })
}

// namespace makes a namespace whose objects concern a webhook.
func (s suite) namespace(t *testing.T, name string) {
	t.Helper()
	s.Kubectl(t, "create", "namespace", name)
	s.Kubectl(t, "label", "namespace", name, "hooks="+name)
	t.Cleanup(func() { s.Kubectl(t, "delete", "namespace", name, "--wait=false") })
}

func (s suite) testRefusal(t *testing.T) {
	server := hooktest.New(t, func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		if r.Operation == reviewv1.Update {
			return &reviewv1.AdmissionResponse{Allowed: true, Warnings: []string{"this was close"}}
		}
		return hooktest.Deny("not in this namespace")(r)
	})
	s.namespace(t, "refusal")
	s.Kubectl(t, "-n", "refusal", "create", "configmap", "before")
	s.register(t, hook{kind: "Validating", name: "refusal", client: at(server, "/"), resources: "configmaps"})
	testcluster.Contains(t, "kubectl create", s.KubectlFails(t, "-n", "refusal", "create", "configmap", "x"),
		`error: failed to create configmap: admission webhook "refusal.example.com" denied the request: not in this namespace`)
	testcluster.Contains(t, "kubectl delete", s.KubectlFails(t, "-n", "refusal", "delete", "configmap", "before"),
		`admission webhook "refusal.example.com" denied the request: not in this namespace`)
	s.Kubectl(t, "create", "configmap", "elsewhere")
	s.Kubectl(t, "delete", "configmap", "elsewhere")
	if got := s.warnings(t, "refusal", "before"); !slices.Contains(got, "this was close") {
		t.Errorf("an update warns %q", got)
	}
	testcluster.Contains(t, "kubectl get", s.Kubectl(t, "get", "validatingwebhookconfigurations"), "NAME", "WEBHOOKS", "AGE", "refusal", "1")
}

// warnings updates a ConfigMap and returns what the cluster warns of.
func (s suite) warnings(t *testing.T, namespace, name string) []string {
	t.Helper()
	config := s.RESTConfig(t)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch,
		config.Host+"/api/v1/namespaces/"+namespace+"/configmaps/"+name, strings.NewReader(`{"data":{"a":"b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/merge-patch+json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var out []string
	for _, header := range response.Header.Values("Warning") {
		_, text, _ := strings.Cut(header, `"`)
		out = append(out, strings.TrimSuffix(text, `"`))
	}
	return out
}

// sidecar adds a container to a pod.
const sidecar = `[
	{"op":"add","path":"/spec/containers/-","value":{"name":"sidecar","image":"` + testcluster.BusyboxImage + `","command":["sleep","3600"]}},
	{"op":"add","path":"/metadata/annotations","value":{"injected":"yes"}}]`

func (s suite) testMutation(t *testing.T) {
	server := hooktest.New(t, func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		if r.Operation == reviewv1.Create {
			return hooktest.Patch(sidecar)(r)
		}
		return hooktest.Allow(r)
	})
	s.namespace(t, "mutation")
	s.register(t, hook{kind: "Mutating", name: "mutation", client: at(server, "/"), resources: "pods"})
	s.Kubectl(t, "-n", "mutation", "create", "deployment", "web", "--image="+testcluster.BusyboxImage, "--", "sleep", "3600")
	s.Kubectl(t, "-n", "mutation", "rollout", "status", "deployment/web", "--timeout=2m")
	got := s.Kubectl(t, "-n", "mutation", "get", "pods", "-o",
		`jsonpath={.items[0].metadata.annotations.injected} {.items[0].spec.containers[*].name} {.items[0].spec.containers[1].terminationMessagePath} {.items[0].status.containerStatuses[*].ready}`)
	if want := "yes busybox sidecar /dev/termination-log true true"; got != want {
		t.Errorf("the pod has %q, not %q", got, want)
	}
	user := server.Seen()[0].UserInfo
	if user.Username != "system:kube-controller-manager" && !strings.HasPrefix(user.Username, "system:serviceaccount:") {
		t.Errorf("the pod is created by %q", user.Username)
	}
}

func (s suite) testDryRun(t *testing.T) {
	server := hooktest.New(t, hooktest.Patch(`[{"op":"add","path":"/data","value":{"by":"hook"}}]`))
	s.namespace(t, "dry")
	s.register(t, hook{kind: "Mutating", name: "dry", client: at(server, "/"), resources: "configmaps"})
	testcluster.Contains(t, "kubectl create", s.Kubectl(t, "-n", "dry", "create", "configmap", "x", "--dry-run=server", "-o", "yaml"), "by: hook")
	last := server.Seen()[len(server.Seen())-1]
	if last.Name != "x" || !*last.DryRun {
		t.Errorf("the webhook saw %q, dryRun=%v", last.Name, *last.DryRun)
	}
	testcluster.Contains(t, "kubectl get", s.KubectlFails(t, "-n", "dry", "get", "configmap", "x"), "NotFound")
}

func (s suite) testGone(t *testing.T) {
	server := hooktest.New(t, hooktest.Allow)
	s.namespace(t, "gone")
	s.register(t, hook{kind: "Validating", name: "gone", client: at(server, "/x"), resources: "configmaps"})
	s.Kubectl(t, "-n", "gone", "create", "configmap", "first")
	server.Close()
	testcluster.Contains(t, "kubectl create", s.KubectlFails(t, "-n", "gone", "create", "configmap", "second"),
		`error: failed to create configmap: Internal error occurred: failed calling webhook "gone.example.com": failed to call webhook: Post "`+server.URL+`/x?timeout=10s": dial tcp `,
		"connect: connection refused")
	s.Kubectl(t, "patch", "validatingwebhookconfiguration", "gone", "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	s.Kubectl(t, "-n", "gone", "create", "configmap", "second")
}

func (s suite) testSlow(t *testing.T) {
	asked, release := make(chan struct{}, 16), make(chan struct{})
	defer close(release)
	server := hooktest.New(t, func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		asked <- struct{}{}
		<-release
		return hooktest.Allow(r)
	})
	s.namespace(t, "slow")
	s.register(t, hook{kind: "Validating", name: "slow", client: at(server, "/"), resources: "configmaps", more: "  timeoutSeconds: 1"})
	testcluster.Contains(t, "kubectl create", s.KubectlFails(t, "-n", "slow", "create", "configmap", "x"),
		`failed calling webhook "slow.example.com": failed to call webhook: Post "`+server.URL+`/?timeout=1s": context deadline exceeded`)
	<-asked
	s.Kubectl(t, "patch", "validatingwebhookconfiguration", "slow", "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	s.Kubectl(t, "-n", "slow", "create", "configmap", "x")
}

func (s suite) testNonsense(t *testing.T) {
	s.namespace(t, "nonsense")
	for body, want := range map[string]string{
		"what?": "couldn't get version/kind; json parse error: ",
		"{}":    "received invalid webhook response: webhook response was absent",
		`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"x"}}`: "received invalid webhook response: expected response.uid=",
	} {
		t.Run(body, func(t *testing.T) {
			s.register(t, hook{kind: "Mutating", name: "nonsense", client: at(hooktest.Raw(t, http.StatusOK, body), "/"), resources: "configmaps"})
			testcluster.Contains(t, "kubectl create", s.KubectlFails(t, "-n", "nonsense", "create", "configmap", "x"),
				`failed calling webhook "nonsense.example.com": `, want)
		})
	}
}

func (s suite) testSubresources(t *testing.T) {
	server := hooktest.New(t, func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		switch r.SubResource {
		case "exec":
			var options corev1.PodExecOptions
			if err := json.Unmarshal(r.Object.Raw, &options); err != nil || len(options.Command) == 0 || options.Command[0] != "rm" {
				return hooktest.Allow(r)
			}
			return hooktest.Deny("rm is not for you")(r)
		case "eviction":
			return hooktest.Deny("it stays")(r)
		case "scale":
			return hooktest.Patch(`[{"op":"replace","path":"/spec/replicas","value":1}]`)(r)
		}
		return hooktest.Allow(r)
	})
	s.namespace(t, "sub")
	s.Kubectl(t, "-n", "sub", "create", "deployment", "web", "--image="+testcluster.BusyboxImage, "--", "sleep", "3600")
	s.Kubectl(t, "-n", "sub", "rollout", "status", "deployment/web", "--timeout=2m")
	s.register(t, hook{kind: "Validating", name: "sub", client: at(server, "/"), resources: "pods/exec, pods/eviction"})
	testcluster.Contains(t, "kubectl exec", s.Kubectl(t, "-n", "sub", "exec", "deploy/web", "--", "echo", "hello"), "hello")
	testcluster.Contains(t, "kubectl exec", s.KubectlFails(t, "-n", "sub", "exec", "deploy/web", "--", "rm", "-rf", "/"),
		`admission webhook "sub.example.com" denied the request: rm is not for you`)
	pod := s.Kubectl(t, "-n", "sub", "get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
	node := s.Kubectl(t, "-n", "sub", "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")
	testcluster.Contains(t, "kubectl drain", s.KubectlFails(t, "drain", node, "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=5s"),
		`admission webhook "sub.example.com" denied the request: it stays`)
	s.Kubectl(t, "uncordon", node)

	s.register(t, hook{kind: "Mutating", name: "sub", client: at(server, "/"), resources: "deployments/scale"})
	s.Kubectl(t, "-n", "sub", "scale", "deployment", "web", "--replicas=5")
	if got := s.Kubectl(t, "-n", "sub", "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"); got != "1" {
		t.Errorf("scaled to 5 and changed to 1, the deployment has %s replicas", got)
	}
}

func isForbidden(err error) bool { return apierrors.IsForbidden(err) }

func labelled(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

package kubectl_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

// settings is a ConfigMap with one key.
func settings(value string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"key":"` + value + `"}}`
}

// fails runs kubectl with something on standard input; it must fail.
func (s suite) fails(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := s.KubectlCommand(t.Context(), args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("kubectl %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

func (s suite) testServerSideApply(t *testing.T) {
	apply := func(manager string, more ...string) []string {
		return append([]string{"apply", "--server-side", "--field-manager", manager, "-f", "-"}, more...)
	}
	t.Cleanup(func() { s.Kubectl(t, "delete", "configmap", "settings", "--ignore-not-found") })
	testcluster.Contains(t, "apply", s.KubectlInput(t, settings("a"), apply("team-a")...), "configmap/settings serverside-applied")
	testcluster.Contains(t, "apply by another manager", s.fails(t, settings("b"), apply("team-b")...),
		`Apply failed with 1 conflict: conflict with "team-a": .data.key`)
	if got := s.Kubectl(t, "get", "configmap", "settings", "-o", "jsonpath={.data.key}"); got != "a" {
		t.Errorf("after the conflict the value is %q, want a", got)
	}
	testcluster.Contains(t, "a dry run", s.KubectlInput(t, settings("c"), apply("team-a", "--dry-run=server")...), "configmap/settings serverside-applied (server dry run)")
	s.KubectlInput(t, settings("b"), apply("team-b", "--force-conflicts")...)
	if got := s.Kubectl(t, "get", "configmap", "settings", "-o", "jsonpath={.data.key}"); got != "b" {
		t.Errorf("after the forced apply the value is %q, want b", got)
	}
	managed := s.Kubectl(t, "get", "configmap", "settings", "-o", "yaml", "--show-managed-fields")
	testcluster.Contains(t, "managed fields", managed, "manager: team-b", "operation: Apply", "f:key: {}")
	diff := s.KubectlCommand(t.Context(), "diff", "--server-side", "--field-manager", "team-b", "-f", "-")
	diff.Stdin = strings.NewReader(settings("d"))
	out, _ := diff.CombinedOutput() // exits with 1: there is a difference
	testcluster.Contains(t, "diff", string(out), "-  key: b", "+  key: d")
	if code := diff.ProcessState.ExitCode(); code != 1 {
		t.Errorf("diff exits with %d, want 1", code)
	}
}

func (s suite) testKustomize(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kustomization.yaml": "namePrefix: pre-\ncommonAnnotations: {by: kustomize}\nresources: [settings.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n",
		"settings.yaml":      settings("a"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testcluster.Contains(t, "kustomize", s.Kubectl(t, "kustomize", dir), "name: pre-settings", "name: pre-made-")
	testcluster.Contains(t, "apply -k", s.Kubectl(t, "apply", "-k", dir), "configmap/pre-settings created", "configmap/pre-made-")
	testcluster.Contains(t, "diff -k", s.Kubectl(t, "diff", "-k", dir), "")
	testcluster.Contains(t, "delete -k", s.Kubectl(t, "delete", "-k", dir), `configmap "pre-settings" deleted`)
}

func (s suite) testPatchTypes(t *testing.T) {
	s.Kubectl(t, "create", "deployment", "patched", "--image=a:1", "--replicas=0")
	t.Cleanup(func() { s.Kubectl(t, "delete", "deployment", "patched") })
	s.Kubectl(t, "patch", "deployment", "patched", "--type=json", "-p", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"a:2"}]`)
	s.Kubectl(t, "patch", "deployment", "patched", "--type=merge", "-p", `{"spec":{"minReadySeconds":3}}`)
	s.Kubectl(t, "patch", "deployment", "patched", "--type=strategic", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"b:1"}]}}}}`)
	s.Kubectl(t, "patch", "deployment", "patched", "--subresource=scale", "--type=merge", "-p", `{"spec":{"replicas":0}}`)
	s.Kubectl(t, "patch", "deployment", "patched", "--subresource=status", "--type=merge", "-p", `{"status":{"collisionCount":4}}`)
	got := s.Kubectl(t, "get", "deployment", "patched", "-o", `jsonpath={.spec.template.spec.containers[*].image} {.spec.minReadySeconds} {.status.collisionCount}`)
	if got != "b:1 a:2 3 4" {
		t.Errorf("after the patches there is %q", got)
	}
	testcluster.Contains(t, "a patch that does not fit", s.KubectlFails(t, "patch", "deployment", "patched", "--type=json", "-p", `[{"op":"test","path":"/spec/paused","value":true}]`), "The request is invalid", "/spec/paused")
	testcluster.Contains(t, "a patch that breaks a rule", s.KubectlFails(t, "patch", "deployment", "patched", "--type=merge", "-p", `{"spec":{"minReadySeconds":-1}}`),
		"spec.minReadySeconds: Invalid value: -1")
}

// testWatch reads the lines of get --watch as an object changes, and as it is no
// longer among those that are watched.
func (s suite) testWatch(t *testing.T) {
	s.Kubectl(t, "create", "-f", s.file(t, settings("a")))
	s.Kubectl(t, "label", "configmap", "settings", "watched=yes")
	t.Cleanup(func() { s.Kubectl(t, "delete", "configmap", "settings") })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch := s.KubectlCommand(ctx, "get", "configmaps", "--watch", "--output-watch-events", "-l", "watched=yes",
		"-o", `jsonpath={.type} {.object.metadata.name} {.object.data.key}{"\n"}`)
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func(wants ...string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the watch ended, %v was to come", wants)
		}
		if got := strings.Fields(lines.Text()); strings.Join(got, " ") != strings.Join(wants, " ") {
			t.Errorf("the watch shows %v, want %v", got, wants)
		}
	}
	next("ADDED", "settings", "a")
	s.Kubectl(t, "patch", "configmap", "settings", "-p", `{"data":{"key":"b"}}`)
	next("MODIFIED", "settings", "b")
	s.Kubectl(t, "label", "configmap", "settings", "watched-")
	next("DELETED", "settings", "b")
	cancel()
	_ = watch.Wait() // it was killed
}

// file writes a manifest.
func (s suite) file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s suite) testOutputForms(t *testing.T) {
	s.Kubectl(t, "create", "-f", s.file(t, settings("a")))
	t.Cleanup(func() { s.Kubectl(t, "delete", "configmap", "settings") })
	template := s.file(t, `{{range .items}}{{if .data.key}}{{.metadata.name}}={{.data.key}};{{end}}{{end}}`)
	columns := s.file(t, "NAME VALUE\n.metadata.name .data.key\n")
	path := s.file(t, `{.items[?(@.metadata.name=="settings")].data.key}`)
	for form, want := range map[string]string{
		"name": "configmap/settings\n", "go-template-file=" + template: "settings=a;", "jsonpath-file=" + path: "a",
		`go-template={{len .items}}`: "", "custom-columns-file=" + columns: "settings", "jsonpath-as-json={.items[*].data.key}": `"a"`,
		"json": `"kind": "List"`, "yaml": "kind: List", "wide": "settings",
	} {
		testcluster.Contains(t, "-o "+form, s.Kubectl(t, "get", "configmaps", "-o", form), want)
	}
	kyaml := s.Kubectl(t, "get", "configmap", "settings", "-o", "kyaml")
	matches(t, "-o kyaml", kyaml, `^---\n\{\n  apiVersion: "v1",\n`, `(?m)^    key: "a",$`, `(?m)^  kind: "ConfigMap",$`)
	testcluster.Contains(t, "what kyaml prints is a manifest", s.KubectlInput(t, kyaml, "replace", "-f", "-"), "configmap/settings replaced")
	testcluster.Contains(t, "--sort-by", s.Kubectl(t, "get", "configmaps", "--sort-by=.metadata.name", "--show-labels", "--label-columns=x"), "LABELS", "settings")
	testcluster.Contains(t, "--field-selector", s.Kubectl(t, "get", "configmaps", "--field-selector=metadata.name=settings", "-o", "name"), "configmap/settings")
	testcluster.Contains(t, "--raw", s.Kubectl(t, "get", "--raw", "/api/v1/namespaces/default/configmaps/settings"), `"key":"a"`)
	testcluster.Contains(t, "--chunk-size", s.Kubectl(t, "get", "clusterroles", "--chunk-size=5", "-o", "name"), "clusterrole.rbac.authorization.k8s.io/view")
}

// testTokens makes a token and uses it.
func (s suite) testTokens(t *testing.T) {
	s.Kubectl(t, "create", "serviceaccount", "robot")
	s.Kubectl(t, "create", "role", "robot", "--verb=get,list", "--resource=configmaps")
	s.Kubectl(t, "create", "rolebinding", "robot", "--role=robot", "--serviceaccount=default:robot")
	t.Cleanup(func() { s.Kubectl(t, "delete", "serviceaccount,role,rolebinding", "robot", "--ignore-not-found") })
	token := strings.TrimSpace(s.Kubectl(t, "create", "token", "robot", "--duration=1h", "--audience=https://kubernetes.default.svc"))
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("create token printed %q", token)
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claim struct {
		Subject string `json:"sub"`
		Expires int64  `json:"exp"`
		Issued  int64  `json:"iat"`
	}
	if err := json.Unmarshal(claims, &claim); err != nil {
		t.Fatal(err)
	}
	if claim.Subject != "system:serviceaccount:default:robot" || claim.Expires-claim.Issued != 3600 {
		t.Errorf("the token is for %s, %d seconds long", claim.Subject, claim.Expires-claim.Issued)
	}
	as := []string{"--as=system:serviceaccount:default:robot", "--as-group=system:serviceaccounts", "--as-group=system:authenticated"}
	testcluster.Eventually(t, "the role is known", func() error {
		out, err := s.KubectlCommand(t.Context(), append([]string{"auth", "can-i", "list", "configmaps"}, as...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	matches(t, "can-i --list", s.Kubectl(t, append([]string{"auth", "can-i", "--list"}, as...)...),
		`configmaps +\[\] +\[\] +\[get list\]`, `selfsubjectaccessreviews\.authorization\.k8s\.io +\[\] +\[\] +\[create\]`)
	review := `{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"system:serviceaccount:default:robot","resourceAttributes":{"namespace":"default","verb":"list","resource":"configmaps"}}}`
	testcluster.Contains(t, "a review", s.KubectlInput(t, review, "create", "-f", "-", "-o", "yaml"), "allowed: true")
	testcluster.Contains(t, "whoami", s.Kubectl(t, append([]string{"auth", "whoami"}, as...)...), "system:serviceaccount:default:robot")
	testcluster.Contains(t, "a refused write", s.fails(t, settings("x"), append([]string{"create", "-f", "-"}, as...)...), `cannot create resource "configmaps"`)
}

// testCertificates asks for certificates, one of which is approved.
func (s suite) testCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane", Organization: []string{"team"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	request := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	for _, name := range []string{"wanted", "unwanted"} {
		s.KubectlInput(t, fmt.Sprintf(`{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":%q},
			"spec":{"signerName":"kubernetes.io/kube-apiserver-client","usages":["client auth"],"request":%q}}`, name, request), "create", "-f", "-")
	}
	t.Cleanup(func() { s.Kubectl(t, "delete", "csr", "wanted", "unwanted") })
	matches(t, "get csr", s.Kubectl(t, "get", "csr", "wanted"), `wanted +\S+ +kubernetes.io/kube-apiserver-client +kubernetes-admin +<none> +Pending`)
	testcluster.Contains(t, "certificate approve", s.Kubectl(t, "certificate", "approve", "wanted"), "certificatesigningrequest.certificates.k8s.io/wanted approved")
	testcluster.Contains(t, "certificate deny", s.Kubectl(t, "certificate", "deny", "unwanted"), "unwanted denied")
	s.Kubectl(t, "wait", "--for=jsonpath={.status.certificate}", "csr/wanted", "--timeout=1m")
	signed, err := base64.StdEncoding.DecodeString(s.Kubectl(t, "get", "csr", "wanted", "-o", "jsonpath={.status.certificate}"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(signed)
	if block == nil {
		t.Fatalf("the certificate is %q", signed)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil || certificate.Subject.CommonName != "jane" {
		t.Errorf("the certificate is for %v (%v)", certificate, err)
	}
	matches(t, "get csr", s.Kubectl(t, "get", "csr"), `unwanted .*Denied`, `wanted .*Approved,Issued`)
}

// testSet uses the commands that change a part of an object.
func (s suite) testSet(t *testing.T) {
	s.Kubectl(t, "create", "deployment", "part", "--image=a:1", "--replicas=0")
	t.Cleanup(func() { s.Kubectl(t, "delete", "deployment,hpa,pdb", "part", "--ignore-not-found") })
	s.Kubectl(t, "set", "env", "deployment/part", "NAME=value")
	s.Kubectl(t, "set", "resources", "deployment/part", "--limits=cpu=100m,memory=64Mi", "--requests=cpu=10m")
	s.Kubectl(t, "set", "serviceaccount", "deployment/part", "default")
	testcluster.Contains(t, "set env --list", s.Kubectl(t, "set", "env", "deployment/part", "--list"), "NAME=value")
	testcluster.Contains(t, "a failed precondition", s.KubectlFails(t, "scale", "deployment/part", "--current-replicas=3", "--replicas=1"), "Expected replicas to be 3, was 0")
	s.Kubectl(t, "autoscale", "deployment/part", "--min=1", "--max=3", "--cpu-percent=50")
	matches(t, "get hpa", s.Kubectl(t, "get", "hpa", "part"), `part +Deployment/part +cpu: <unknown>/50% +1 +3`)
	s.Kubectl(t, "create", "poddisruptionbudget", "part", "--selector=app=part", "--min-available=1")
	s.Kubectl(t, "taint", "node", "node-2", "dedicated=test:NoSchedule")
	testcluster.Contains(t, "taints", s.Kubectl(t, "get", "node", "node-2", "-o", "jsonpath={.spec.taints[*].key}"), "dedicated")
	s.Kubectl(t, "taint", "node", "node-2", "dedicated-")
	s.Kubectl(t, "cordon", "node-2")
	matches(t, "a cordoned node", s.Kubectl(t, "get", "node", "node-2"), `node-2 +Ready,SchedulingDisabled`)
	s.Kubectl(t, "uncordon", "node-2")
}

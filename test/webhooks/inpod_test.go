package webhooks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"navarch.dev/navarch/internal/testcluster"
)

// hooks is a webhook in a pod, behind a Service. Its program comes from the
// node, and its certificate from a Secret.
const hooks = `apiVersion: apps/v1
kind: Deployment
metadata: {name: hooks}
spec:
  replicas: 2
  selector: {matchLabels: {app: hooks}}
  template:
    metadata: {labels: {app: hooks}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: hooks
        image: ` + testcluster.BusyboxImage + `
        command: [/program/hookserver, ":8443", /tls]
        ports: [{name: https, containerPort: 8443}]
        readinessProbe: {httpGet: {path: /healthz, port: https, scheme: HTTPS}, periodSeconds: 1}
        volumeMounts: [{name: program, mountPath: /program}, {name: tls, mountPath: /tls}]
      volumes:
      - {name: program, hostPath: {path: %s}}
      - {name: tls, secret: {secretName: hooks}}
---
apiVersion: v1
kind: Service
metadata: {name: hooks}
spec:
  selector: {app: hooks}
  ports: [{port: 443, targetPort: https}]
`

func (s suite) testInPod(t *testing.T) {
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(folder, "hookserver"), "./hookserver")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the webhook: %v\n%s", err, out)
	}
	certificate, key := selfSigned(t, "hooks.default.svc")
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Kubectl(t, "create", "secret", "tls", "hooks", "--cert="+filepath.Join(folder, "tls.crt"), "--key="+filepath.Join(folder, "tls.key"))
	s.KubectlInput(t, fmt.Sprintf(hooks, folder), "apply", "-f", "-")
	t.Cleanup(func() { s.Kubectl(t, "delete", "deployment/hooks", "service/hooks", "secret/hooks", "--wait=false") })
	s.Kubectl(t, "rollout", "status", "deployment/hooks", "--timeout=2m")
	s.namespace(t, "inpod")
	service := func(path string) string {
		return fmt.Sprintf("{service: {namespace: default, name: hooks, path: %s}, caBundle: %s}", path, base64.StdEncoding.EncodeToString(certificate))
	}
	s.register(t, hook{kind: "Validating", name: "inpod", client: service("/judge"), resources: "configmaps"})
	s.register(t, hook{kind: "Mutating", name: "inpod", client: service("/label"), resources: "secrets"})
	s.useHooksInPod(t)
	s.losePods(t)
}

func (s suite) useHooksInPod(t *testing.T) {
	client := s.configMaps(t)
	testcluster.Eventually(t, "the webhook is reached", func() error {
		_, err := client.Create(t.Context(), labelled("", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), "no endpoints available") {
			return err
		}
		return nil
	})
	_, err := client.Create(t.Context(), labelled("bad", map[string]string{"refuse": "testing"}), metav1.CreateOptions{})
	if want := `admission webhook "inpod.example.com" denied the request: refused for testing`; !isForbidden(err) || err.Error() != want {
		t.Errorf("the error is %v", err)
	}
	for i := range 20 { // both pods get some
		if _, err := client.Create(t.Context(), labelled(fmt.Sprintf("good-%d", i), nil), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
	s.Kubectl(t, "-n", "inpod", "create", "secret", "generic", "s")
	if got := s.Kubectl(t, "-n", "inpod", "get", "secret", "s", "-o", "jsonpath={.metadata.labels.labelled}"); got != "in-a-pod" {
		t.Errorf("the secret is labelled %q", got)
	}
}

// configMaps returns a client that keeps the webhook's warnings to itself.
func (s suite) configMaps(t *testing.T) typedcorev1.ConfigMapInterface {
	t.Helper()
	config := s.RESTConfig(t)
	config.WarningHandler = rest.NoWarnings{}
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.ConfigMaps("inpod")
}

// losePods takes the pods away: nothing can be written until they are back.
func (s suite) losePods(t *testing.T) {
	client := s.configMaps(t)
	s.Kubectl(t, "scale", "deployment", "hooks", "--replicas=0")
	testcluster.Eventually(t, "the webhook is gone", func() error {
		_, err := client.Create(t.Context(), labelled("late", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return errors.New("it still answers")
		}
		if want := `failed calling webhook "inpod.example.com": failed to call webhook: Post "https://hooks.default.svc:443/judge?timeout=10s": no endpoints available for service "hooks"`; !strings.Contains(err.Error(), want) {
			return err
		}
		return nil
	})
	s.Kubectl(t, "scale", "deployment", "hooks", "--replicas=1")
	testcluster.Eventually(t, "the webhook is back", func() error {
		_, err := client.Create(t.Context(), labelled("late", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
}

// selfSigned returns the certificate and key of a server, in PEM.
func selfSigned(t *testing.T, host string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host},
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

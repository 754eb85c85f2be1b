package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/testcluster"
)

// target is the pod that the checks of client-go work with.
const target = `apiVersion: v1
kind: Pod
metadata: {name: target}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: ` + testcluster.BusyboxImage + `
    command: [sh, -c, 'mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www']
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`

// testClientGo runs the program clientcheck, built with this project's version
// of client-go and with the oldest that is supported.
func (s suite) testClientGo(t *testing.T) {
	s.Kubectl(t, "create", "namespace", "clientcheck")
	t.Cleanup(func() { s.Kubectl(t, "delete", "namespace", "clientcheck") })
	testcluster.Eventually(t, "the target is made", func() error { // its service account is, before
		cmd := s.KubectlCommand(t.Context(), "apply", "-n", "clientcheck", "-f", "-")
		cmd.Stdin = bytes.NewReader([]byte(target))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	s.Kubectl(t, "wait", "-n", "clientcheck", "--for=condition=Ready", "pod/target", "--timeout=2m")
	for _, program := range []string{"clientcheck", "v0.35/clientcheck"} {
		t.Run(program, func(t *testing.T) {
			for _, check := range []string{
				"typed-json", "typed-protobuf", "dynamic", "metadata", "watchlist", "leader-election", "exec-websocket", "exec-spdy", "port-forward",
			} {
				t.Run(check, func(t *testing.T) { s.client(t, program, s.Kubeconfig, check) })
			}
			t.Run("informer", func(t *testing.T) { s.testInformer(t, program) })
		})
	}
}

// testInformer kills the servers under a shared informer.
func (s suite) testInformer(t *testing.T, program string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := s.command(ctx, program, s.Kubeconfig, "informer")
	var diagnostics bytes.Buffer
	cmd.Stderr = &diagnostics
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	synced := lines.Scan() && lines.Text() == "synced"
	if synced {
		s.Kill(t, "control-plane")
		maps := s.Clientset(t).CoreV1().ConfigMaps("clientcheck")
		after := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "after"}}
		testcluster.Eventually(t, "the servers are back", func() error {
			_, err := maps.Create(ctx, after, metav1.CreateOptions{})
			return err
		})
		defer func() {
			if err := maps.Delete(ctx, "after", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}()
	}
	if err := cmd.Wait(); err != nil || !synced {
		t.Errorf("the informer synced: %v; it ended with %v\n%s", synced, err, diagnostics.String())
	}
}

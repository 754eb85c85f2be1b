package clients_test

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

// talkers is a Deployment of two pods, each of which says its name for ever.
const talkers = `apiVersion: apps/v1
kind: Deployment
metadata: {name: talkers}
spec:
  replicas: 2
  selector: {matchLabels: {app: talkers}}
  template:
    metadata: {labels: {app: talkers}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: talk
        image: ` + testcluster.BusyboxImage + `
        command: [sh, -c, 'while true; do echo "I am $HOSTNAME"; sleep 0.2; done']
`

// deployTalkers runs the talkers for the length of the test and returns their
// pods' names.
func (s suite) deployTalkers(t *testing.T) []string {
	t.Helper()
	s.KubectlInput(t, talkers, "apply", "-f", "-")
	t.Cleanup(func() { s.Kubectl(t, "delete", "deployment", "talkers", "--cascade=foreground") })
	s.Kubectl(t, "rollout", "status", "deployment/talkers", "--timeout=2m")
	pods := strings.Fields(s.Kubectl(t, "get", "pods", "-l", "app=talkers", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(pods) != 2 {
		t.Fatalf("the pods are %v, want two", pods)
	}
	return pods
}

// testStern follows the logs of two pods at once, and of one that replaces
// another meanwhile.
func (s suite) testStern(t *testing.T) {
	pods := s.deployTalkers(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := s.command(ctx, "stern", "--selector", "app=talkers", "--output", "raw", "--color", "never")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	lines := bufio.NewScanner(out)
	await := func(pods ...string) error {
		missing := make(map[string]bool)
		for _, pod := range pods {
			missing["I am "+pod] = true
		}
		for len(missing) > 0 && lines.Scan() {
			delete(missing, lines.Text())
		}
		if len(missing) > 0 {
			return fmt.Errorf("never seen: %v (%w)", missing, ctx.Err())
		}
		return nil
	}
	if err := await(pods...); err != nil {
		t.Fatal(err)
	}
	s.Kubectl(t, "delete", "pod", pods[0])
	var successor string
	testcluster.Eventually(t, "the deleted pod is replaced", func() error {
		for _, name := range strings.Fields(s.Kubectl(t, "get", "pods", "-l", "app=talkers", "-o", "jsonpath={.items[*].metadata.name}")) {
			if name != pods[0] && name != pods[1] {
				successor = name
				return nil
			}
		}
		return fmt.Errorf("no other pod yet")
	})
	if err := await(successor); err != nil {
		t.Error(err)
	}
	once := s.client(t, "stern", "--selector", "app=talkers", "--no-follow", "--tail", "1", "--output", "json")
	testcluster.Contains(t, "stern --output json", once, `"podName":"`+pods[1]+`"`, `"containerName":"talk"`)
}

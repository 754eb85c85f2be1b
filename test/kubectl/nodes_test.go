package kubectl_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

// guarded is a Deployment of two pods, which no drain may leave with fewer than
// its budget says.
const guarded = `apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  replicas: 2
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{name: scratch, emptyDir: {}}]
      containers: [{name: c, image: ` + testcluster.BusyboxImage + `, command: [sleep, "1000"], volumeMounts: [{name: scratch, mountPath: /scratch}]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {minAvailable: 2, selector: {matchLabels: {app: guarded}}}
`

// testDrain empties a node as far as a disruption budget lets it.
func (s suite) testDrain(t *testing.T) {
	s.KubectlInput(t, guarded, "apply", "-f", "-")
	t.Cleanup(func() { s.KubectlInput(t, guarded, "delete", "-f", "-") })
	s.Kubectl(t, "rollout", "status", "deployment/guarded", "--timeout=120s")
	s.Kubectl(t, "wait", "--for=jsonpath={.status.currentHealthy}=2", "pdb/guarded", "--timeout=60s")
	field := func(path string) string {
		return s.Kubectl(t, "get", "pods", "-l", "app=guarded", "-o", "jsonpath="+path)
	}
	node := field("{.items[0].spec.nodeName}")
	t.Cleanup(func() { s.Kubectl(t, "uncordon", node) })
	selector := "--pod-selector=app=guarded"
	testcluster.Contains(t, "drain with local data", s.KubectlFails(t, "drain", node, selector), "cannot delete Pods with local storage")
	testcluster.Contains(t, "drain against a budget", s.KubectlFails(t, "drain", node, selector, "--delete-emptydir-data", "--timeout=3s"),
		"Cannot evict pod as it would violate the pod's disruption budget.", "global timeout reached")
	if left := strings.Fields(field("{.items[*].spec.nodeName}")); len(left) != 2 {
		t.Errorf("after a drain that was refused there are pods on %v", left)
	}
	matches(t, "get node", s.Kubectl(t, "get", "node", node), node+` +Ready,SchedulingDisabled`)
	s.Kubectl(t, "patch", "pdb", "guarded", "-p", `{"spec":{"minAvailable":1}}`)
	testcluster.Contains(t, "drain", s.Kubectl(t, "drain", node, selector, "--delete-emptydir-data", "--timeout=120s"), "evicting pod default/guarded-", "node/"+node+" drained")
	s.Kubectl(t, "rollout", "status", "deployment/guarded", "--timeout=120s")
	if nodes := field("{.items[*].spec.nodeName}"); strings.Contains(nodes, node) {
		t.Errorf("after the drain of %s there are pods on %s", node, nodes)
	}
}

// testAttach talks to a container that runs already.
func (s suite) testAttach(t *testing.T) {
	s.Kubectl(t, "run", "listener", "--image="+testcluster.BusyboxImage, "--restart=Never", "--stdin", "--attach=false", "--", "sh", "-c", "read what; echo heard $what; read never")
	t.Cleanup(func() { s.Kubectl(t, "delete", "pod", "listener", "--now") })
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/listener", "--timeout=60s")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	attach := s.KubectlCommand(ctx, "attach", "listener", "-i", "--quiet")
	in, err := attach.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := attach.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "a word")
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "heard a word" {
		t.Errorf("the container says %q, %v", lines.Text(), lines.Err())
	}
	cancel()
	_ = attach.Wait() // it was killed
	testcluster.Contains(t, "logs", s.Kubectl(t, "logs", "listener"), "heard a word")
}

// testAttachInTurns has clients come and go: the input of a container that keeps
// it open outlives theirs, and they do not wait for more of its output.
func (s suite) testAttachInTurns(t *testing.T) {
	s.Kubectl(t, "run", "echo", "--image="+testcluster.BusyboxImage, "--restart=Never", "--stdin", "--leave-stdin-open", "--attach=false", "--", "cat")
	t.Cleanup(func() { s.Kubectl(t, "delete", "pod", "echo", "--now") })
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/echo", "--timeout=60s")
	for _, said := range []string{"one\n", "two\n"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		attach := s.KubectlCommand(ctx, "attach", "echo", "-i", "--quiet")
		attach.Stdin = strings.NewReader(said)
		out, err := attach.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("attach to say %q: %v\n%s", said, err, out)
		}
	}
	testcluster.Eventually(t, "both have been heard", func() error {
		if got := s.Kubectl(t, "logs", "echo"); got != "one\ntwo\n" {
			return fmt.Errorf("the log is %q", got)
		}
		return nil
	})
}

// testDebug looks at a container, and at a node, from containers of its own.
func (s suite) testDebug(t *testing.T) {
	s.Kubectl(t, "run", "patient", "--image="+testcluster.BusyboxImage, "--restart=Never", "--", "sleep", "1000")
	t.Cleanup(func() { s.Kubectl(t, "delete", "pod", "patient", "--now") })
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/patient", "--timeout=60s")
	s.Kubectl(t, "debug", "patient", "--image="+testcluster.BusyboxImage, "--container=doctor", "--target=patient", "--profile=general", "--",
		"sh", "-c", "ps | grep -c 'sleep 100[0]'; echo seen")
	testcluster.Eventually(t, "the ephemeral container has looked", func() error {
		out, err := s.KubectlCommand(t.Context(), "logs", "patient", "-c", "doctor").CombinedOutput()
		if err == nil && string(out) != "1\nseen\n" {
			err = errors.New("that is something else")
		}
		if err != nil {
			return fmt.Errorf("it says %q: %w", out, err)
		}
		return nil
	})
	testcluster.Contains(t, "describe", s.Kubectl(t, "describe", "pod", "patient"), "Ephemeral Containers:", "doctor:")
	s.Kubectl(t, "debug", "patient", "--copy-to=twin", "--image="+testcluster.BusyboxImage, "--container=doctor", "--share-processes", "--", "sleep", "1000")
	t.Cleanup(func() { s.Kubectl(t, "delete", "pod", "twin", "--now") })
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/twin", "--timeout=60s")
	if shared := s.Kubectl(t, "get", "pod", "twin", "-o", "jsonpath={.spec.shareProcessNamespace} {.spec.containers[*].name}"); shared != "true patient doctor" {
		t.Errorf("the copy is %s", shared)
	}
	made := s.Kubectl(t, "debug", "node/node-1", "--image="+testcluster.BusyboxImage, "--profile=sysadmin", "--", "sh", "-c", "chroot /host cat /etc/debian_version; ls -d /host/proc/1")
	_, rest, ok := strings.Cut(made, "node-debugger-node-1-")
	if !ok {
		t.Fatalf("debug says %q", made)
	}
	pod := "node-debugger-node-1-" + strings.Fields(rest)[0]
	t.Cleanup(func() { s.Kubectl(t, "delete", "pod", pod, "--now") })
	s.Kubectl(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+pod, "--timeout=60s")
	matches(t, "what the node shows", s.Kubectl(t, "logs", pod), `(?m)^\d+\.\d+`, `(?m)^/host/proc/1$`)
	if spec := s.Kubectl(t, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName} {.spec.hostPID} {.spec.hostNetwork}"); spec != "node-1 true true" {
		t.Errorf("the node's debugger is %s", spec)
	}
}

// testWaitForCreation waits for what is not there yet, and watches without what
// is.
func (s suite) testWaitForCreation(t *testing.T) {
	s.Kubectl(t, "create", "-f", s.file(t, settings("a")))
	t.Cleanup(func() { s.Kubectl(t, "delete", "configmap", "settings", "later") })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch := s.KubectlCommand(ctx, "get", "configmaps", "--watch-only", "-o", "name")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	wait := s.KubectlCommand(ctx, "wait", "--for=create", "configmap/later", "--timeout=50s")
	waited := make(chan string, 1)
	go func() {
		out, err := wait.CombinedOutput()
		waited <- fmt.Sprint(string(out), err)
	}()
	testcluster.Contains(t, "wait in vain", s.KubectlFails(t, "wait", "--for=create", "configmap/never", "--timeout=1s"), "timed out waiting for the condition")
	s.Kubectl(t, "create", "configmap", "later")
	if got := <-waited; got != "configmap/later condition met\n<nil>" {
		t.Errorf("wait says %q", got)
	}
	// The watch may have begun after that: what it shows first is never what was
	// there before.
	lines := bufio.NewScanner(out)
	shown := make(chan string, 1)
	go func() {
		if lines.Scan() {
			shown <- lines.Text()
		}
		close(shown)
	}()
	testcluster.Eventually(t, "the watch shows the new object", func() error {
		select {
		case first := <-shown:
			if first != "configmap/later" {
				t.Errorf("the watch shows %q first", first)
			}
			return nil
		default:
			s.Kubectl(t, "label", "configmap", "later", "--overwrite", fmt.Sprintf("at=%d", time.Now().UnixNano()))
			return fmt.Errorf("it shows nothing yet")
		}
	})
	cancel()
	_ = watch.Wait() // it was killed
}

// testBoundTokens makes tokens that end with what they are bound to.
func (s suite) testBoundTokens(t *testing.T) {
	s.Kubectl(t, "create", "secret", "generic", "bond", "--from-literal=a=b")
	s.Kubectl(t, "run", "bond", "--image="+testcluster.BusyboxImage, "--restart=Never", "--", "sleep", "1000")
	t.Cleanup(func() { s.Kubectl(t, "delete", "secret,pod", "bond", "--now", "--ignore-not-found") })
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/bond", "--timeout=60s")
	for _, kind := range []string{"Secret", "Pod"} {
		uid := s.Kubectl(t, "get", kind, "bond", "-o", "jsonpath={.metadata.uid}")
		testcluster.Contains(t, "another's uid", s.KubectlFails(t, "create", "token", "default", "--bound-object-kind="+kind, "--bound-object-name=bond", "--bound-object-uid=x"),
			"does not match")
		token := strings.TrimSpace(s.Kubectl(t, "create", "token", "default", "--bound-object-kind="+kind, "--bound-object-name=bond", "--bound-object-uid="+uid))
		claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claim struct {
			Kubernetes map[string]any `json:"kubernetes.io"`
		}
		if err := json.Unmarshal(claims, &claim); err != nil {
			t.Fatal(err)
		}
		if bound := fmt.Sprint(claim.Kubernetes[strings.ToLower(kind)]); bound != "map[name:bond uid:"+uid+"]" {
			t.Errorf("the token is bound to %s", bound)
		}
		review := func() string {
			return s.KubectlInput(t, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"`+token+`"}}`,
				"create", "--raw", "/apis/authentication.k8s.io/v1/tokenreviews", "-f", "-")
		}
		testcluster.Contains(t, "a token bound to a "+kind, review(), `"authenticated":true`, `"username":"system:serviceaccount:default:default"`)
		s.Kubectl(t, "delete", kind, "bond", "--now")
		testcluster.Eventually(t, "the token has ended", func() error {
			if got := review(); strings.Contains(got, `"authenticated":true`) {
				return fmt.Errorf("it is still good: %s", got)
			}
			return nil
		})
	}
	testcluster.Contains(t, "what tokens cannot be bound to", s.KubectlFails(t, "create", "token", "default", "--bound-object-kind=ConfigMap", "--bound-object-name=x"),
		"supported --bound-object-kind values are")
}

// testNodePages reads of a node what Kubernetes' tools read of a kubelet.
func (s suite) testNodePages(t *testing.T) {
	page := func(path string) string { return s.Kubectl(t, "get", "--raw", "/api/v1/nodes/node-1/proxy/"+path) }
	s.Kubectl(t, "run", "seen", "--image="+testcluster.BusyboxImage, "--restart=Never", `--overrides={"spec":{"nodeName":"node-1"}}`, "--", "sleep", "1000")
	t.Cleanup(func() { s.Kubectl(t, "delete", "pod", "seen", "--now") })
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/seen", "--timeout=60s")
	if got := page("healthz"); got != "ok" {
		t.Errorf("healthz is %q", got)
	}
	testcluster.Contains(t, "pods", page("pods"), `"kind":"PodList"`, `"name":"seen"`)
	var summary struct {
		Node struct {
			NodeName string
			Memory   struct{ WorkingSetBytes int64 }
		}
		Pods []struct {
			PodRef     struct{ Name string }
			Containers []struct {
				Name   string
				CPU    struct{ UsageCoreNanoSeconds int64 }
				Memory struct{ WorkingSetBytes int64 }
			}
		}
	}
	if err := json.Unmarshal([]byte(page("stats/summary")), &summary); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, pod := range summary.Pods {
		found = found || pod.PodRef.Name == "seen" && len(pod.Containers) == 1 && pod.Containers[0].Name == "seen" &&
			pod.Containers[0].CPU.UsageCoreNanoSeconds > 0 && pod.Containers[0].Memory.WorkingSetBytes > 0
	}
	if summary.Node.NodeName != "node-1" || summary.Node.Memory.WorkingSetBytes == 0 || !found {
		t.Errorf("the summary is %+v", summary)
	}
	testcluster.Contains(t, "metrics", page("metrics"), "# TYPE ")
	matches(t, "metrics/resource", page("metrics/resource"), `(?m)^container_memory_working_set_bytes\{container="seen",namespace="default",pod="seen"\} \d`, `(?m)^node_cpu_usage_seconds_total \d`)
	testcluster.Contains(t, "configz", page("configz"), `{"kubeletconfig":{`, `"clusterDomain":"cluster.local"`, `"maxPods":110`)
	testcluster.Contains(t, "logs", page("logs/"), "<a href=")
	testcluster.Contains(t, "no page", s.KubectlFails(t, "get", "--raw", "/api/v1/nodes/node-1/proxy/run/default/seen/seen"), "the server could not find the requested resource")
	testcluster.Contains(t, "no node", s.KubectlFails(t, "get", "--raw", "/api/v1/nodes/none/proxy/pods"), `nodes "none" not found`)
	testcluster.Contains(t, "can-i", s.Kubectl(t, "auth", "can-i", "get", "nodes/proxy"), "yes")
}

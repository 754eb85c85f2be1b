// Package kubectl_test drives a cluster of three nodes with the stock kubectl,
// as its users do, and checks what it prints.
package kubectl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

// web is a Deployment of busybox web servers that say which revision they are.
const web = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ` + testcluster.BusyboxImage + `
        command: ["sh", "-c", "echo serving as $REVISION; echo revision $REVISION > /www/index.html; exec httpd -f -p 8080 -h /www"]
        env: [{name: REVISION, value: one}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
`

// suite is the cluster that all tests of this package share.
type suite struct {
	*testcluster.Cluster
}

// TestKubectl runs all tests with this project's version of kubectl and with the
// oldest that is supported.
func TestKubectl(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 3})
	c.LoadBusybox(t)
	for _, program := range []string{"kubectl", "clients/v0.35/kubectl"} {
		t.Run(program, suite{c.UsingKubectl(program)}.test)
	}
}

func (s suite) test(t *testing.T) {
	for _, tc := range []struct {
		name string
		test func(*testing.T)
	}{
		{"apply", s.testApply},
		{"get in every output form", s.testGetForms},
		{"describe", s.testDescribe},
		{"label and annotate", s.testLabelAnnotate},
		{"patch", s.testPatch},
		{"edit", s.testEdit},
		{"scale", s.testScale},
		{"set image and rollout", s.testRollout},
		{"logs", s.testLogs},
		{"exec", s.testExec},
		{"cp", s.testCopy},
		{"port-forward", s.testPortForward},
		{"expose", s.testExpose},
		{"run, wait and delete", s.testRunWaitDelete},
		{"events", s.testEvents},
		{"api-resources and explain", s.testDiscovery},
		{"auth", s.testAuth},
		{"top", s.testTop},
		{"component statuses", s.testComponents},
		{"errors", s.testErrors},
		{"diff and replace", s.testDiffReplace},
		{"apply on the server", s.testServerSideApply},
		{"kustomize", s.testKustomize},
		{"patch in all ways", s.testPatchTypes},
		{"watch", s.testWatch},
		{"custom output", s.testOutputForms},
		{"tokens and rules", s.testTokens},
		{"certificates", s.testCertificates},
		{"set, autoscale and taint", s.testSet},
		{"wait for creation and watch only", s.testWaitForCreation},
		{"bound tokens", s.testBoundTokens},
		{"attach", s.testAttach},
		{"attach in turns", s.testAttachInTurns},
		{"debug", s.testDebug},
		{"drain", s.testDrain},
		{"what a node shows", s.testNodePages},
		{"a node's own port", s.testNodePort},
		{"custom resources", s.testCustomResources},
		{"delete with everything it owns", s.testDeleteCascade},
	} {
		t.Run(tc.name, tc.test)
	}
}

func matches(t *testing.T, what, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("%s does not match %q:\n%s", what, p, text)
		}
	}
}

func (s suite) testApply(t *testing.T) {
	out := s.KubectlInput(t, web, "apply", "-f", "-")
	testcluster.Contains(t, "apply", out, "deployment.apps/web created", "service/web created")
	out = s.KubectlInput(t, web, "apply", "-f", "-")
	testcluster.Contains(t, "the second apply", out, "deployment.apps/web unchanged", "service/web unchanged")
	out = s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	testcluster.Contains(t, "rollout status", out, `deployment "web" successfully rolled out`)
	nodes := strings.Fields(s.Kubectl(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"))
	distinct := make(map[string]bool)
	for _, n := range nodes {
		distinct[n] = true
	}
	if len(nodes) != 3 || len(distinct) != 3 {
		t.Errorf("three pods are on the nodes %v, want one on each of three", nodes)
	}
}

func (s suite) firstPod(t *testing.T) string {
	t.Helper()
	return strings.Fields(s.Kubectl(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"))[0]
}

func (s suite) testGetForms(t *testing.T) {
	pod := s.firstPod(t)
	matches(t, "get pods", s.Kubectl(t, "get", "pods"),
		`(?m)^NAME +READY +STATUS +RESTARTS +AGE$`, `(?m)^`+pod+` +1/1 +Running +0 +\d+s$`)
	matches(t, "get -o wide", s.Kubectl(t, "get", "pods", "-o", "wide"),
		`(?m)^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES$`, pod+`.* 10\.\d+\.\d+\.\d+ +node-\d +<none> +<none>`)
	matches(t, "get deployment", s.Kubectl(t, "get", "deployment,service"),
		`NAME +READY +UP-TO-DATE +AVAILABLE +AGE`, `deployment\.apps/web +3/3 +3 +3 +`, `service/web +ClusterIP +10\.\d+\.\d+\.\d+ +<none> +80/TCP`)
	matches(t, "get nodes", s.Kubectl(t, "get", "nodes"), `(?m)^node-1 +Ready +<none> +\S+ +v1\.37\.2`)
	testcluster.Contains(t, "get -o name", s.Kubectl(t, "get", "pods", "-o", "name"), "pod/"+pod)
	testcluster.Contains(t, "get -o yaml", s.Kubectl(t, "get", "pod", pod, "-o", "yaml"), "kind: Pod\n", "  name: "+pod+"\n", "phase: Running")
	var object struct {
		Kind     string
		Metadata struct{ Name string }
	}
	if err := json.Unmarshal([]byte(s.Kubectl(t, "get", "pod", pod, "-o", "json")), &object); err != nil {
		t.Error(err)
	}
	if object.Kind != "Pod" || object.Metadata.Name != pod {
		t.Errorf("get -o json gave %+v", object)
	}
	if got := s.Kubectl(t, "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"); got != "3" {
		t.Errorf("get -o jsonpath = %q, want 3", got)
	}
	if got := s.Kubectl(t, "get", "deployment", "web", "-o", "go-template={{.spec.replicas}}"); got != "3" {
		t.Errorf("get -o go-template = %q, want 3", got)
	}
	matches(t, "get -o custom-columns", s.Kubectl(t, "get", "pods", "-o", "custom-columns=NAME:.metadata.name,NODE:.spec.nodeName"),
		`NAME +NODE`, pod+` +node-\d`)
	matches(t, "get --show-labels", s.Kubectl(t, "get", "deployment", "web", "--show-labels"), `LABELS`, `app=web`)
	matches(t, "get -L", s.Kubectl(t, "get", "pods", "-L", "app"), `APP`, `web`)
	testcluster.Contains(t, "get with selectors", s.Kubectl(t, "get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"), pod)
	if got := s.Kubectl(t, "get", "pods", "-l", "app=none", "-o", "name"); got != "" {
		t.Errorf("a selector that matches nothing gave %q", got)
	}
	matches(t, "get all", s.Kubectl(t, "get", "all"), `pod/`+pod, `service/web`, `deployment\.apps/web`, `replicaset\.apps/web-`)
	matches(t, "get -A --sort-by", s.Kubectl(t, "get", "services", "-A", "--sort-by=.metadata.name"), `kube-system +kube-dns`, `default +kubernetes`)
	testcluster.Contains(t, "get --raw", s.Kubectl(t, "get", "--raw", "/version"), `"major": "1"`)
}

func (s suite) testDescribe(t *testing.T) {
	pod := s.firstPod(t)
	matches(t, "describe pod", s.Kubectl(t, "describe", "pod", pod),
		`Name: +`+pod, `Node: +node-\d/`, `Status: +Running`, `IP: +10\.`, `Controlled By: +ReplicaSet/web-`, `Container ID: +runc://`,
		`State: +Running`, `Ready: +True`, `Restart Count: +0`, `REVISION: +one`, `QoS Class: +Burstable`,
		`Normal +Scheduled .*Successfully assigned default/`+pod+` to node-\d`, `Normal +Started`)
	matches(t, "describe deployment", s.Kubectl(t, "describe", "deployment", "web"),
		`Replicas: +3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable`, `StrategyType: +RollingUpdate`,
		`Available +True +MinimumReplicasAvailable`, `Progressing +True +NewReplicaSetAvailable`, `ScalingReplicaSet`)
	matches(t, "describe service", s.Kubectl(t, "describe", "service", "web"), `Endpoints: +10\.\d+\.\d+\.\d+:8080`, `Selector: +app=web`)
	matches(t, "describe node", s.Kubectl(t, "describe", "node", "node-1"),
		`Ready +True`, `PodCIDR: +10\.`, `Allocated resources`, `Non-terminated Pods`, `Container Runtime Version: +runc://`)
}

func (s suite) testLabelAnnotate(t *testing.T) {
	testcluster.Contains(t, "label", s.Kubectl(t, "label", "deployment", "web", "tier=front"), "deployment.apps/web labeled")
	testcluster.Contains(t, "get -l", s.Kubectl(t, "get", "deployment", "-l", "tier=front", "-o", "name"), "deployment.apps/web")
	testcluster.Contains(t, "label again", s.KubectlFails(t, "label", "deployment", "web", "tier=back"), "already has a value (front), and --overwrite is false")
	testcluster.Contains(t, "unlabel", s.Kubectl(t, "label", "deployment", "web", "tier-"), "deployment.apps/web unlabeled")
	testcluster.Contains(t, "annotate", s.Kubectl(t, "annotate", "deployment", "web", "example.com/note=a word"), "deployment.apps/web annotated")
	if got := s.Kubectl(t, "get", "deployment", "web", `-o=jsonpath={.metadata.annotations.example\.com/note}`); got != "a word" {
		t.Errorf("annotation = %q", got)
	}
}

func (s suite) testPatch(t *testing.T) {
	for _, tc := range []struct{ kind, patch, path, want string }{
		{"strategic", `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"EXTRA","value":"x"}]}]}}}}`,
			"{.spec.template.spec.containers[0].env[*].name}", "EXTRA REVISION"},
		{"merge", `{"spec":{"minReadySeconds":1}}`, "{.spec.minReadySeconds}", "1"},
		{"json", `[{"op":"replace","path":"/spec/minReadySeconds","value":0},{"op":"remove","path":"/spec/template/spec/containers/0/env/0"}]`,
			"{.spec.template.spec.containers[0].env[*].name}", "REVISION"},
	} {
		testcluster.Contains(t, tc.kind+" patch", s.Kubectl(t, "patch", "deployment", "web", "--type="+tc.kind, "-p", tc.patch), "deployment.apps/web patched")
		if got := s.Kubectl(t, "get", "deployment", "web", "-o", "jsonpath="+tc.path); got != tc.want {
			t.Errorf("after the %s patch %s = %q, want %q", tc.kind, tc.path, got, tc.want)
		}
	}
	s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
}

func (s suite) testEdit(t *testing.T) {
	editor := filepath.Join(t.TempDir(), "editor.sh")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i 's/minReadySeconds: .*//; s/revisionHistoryLimit: 10/revisionHistoryLimit: 7/' \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := s.KubectlCommand(t.Context(), "edit", "deployment", "web")
	cmd.Env = append(os.Environ(), "KUBE_EDITOR="+editor)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl edit: %v\n%s", err, out)
	}
	testcluster.Contains(t, "edit", string(out), "deployment.apps/web edited")
	if got := s.Kubectl(t, "get", "deployment", "web", "-o", "jsonpath={.spec.revisionHistoryLimit}"); got != "7" {
		t.Errorf("revisionHistoryLimit = %s, want 7", got)
	}
}

func (s suite) testScale(t *testing.T) {
	testcluster.Contains(t, "scale", s.Kubectl(t, "scale", "deployment/web", "--replicas=5"), "deployment.apps/web scaled")
	s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	matches(t, "get deployment", s.Kubectl(t, "get", "deployment", "web"), `web +5/5 +5 +5`)
	s.Kubectl(t, "scale", "deployment/web", "--replicas=3", "--current-replicas=5")
	testcluster.Eventually(t, "two pods are gone", func() error {
		if pods := strings.Fields(s.Kubectl(t, "get", "pods", "-l", "app=web", "-o", "name")); len(pods) != 3 {
			return fmt.Errorf("there are %d", len(pods))
		}
		return nil
	})
}

func (s suite) testRollout(t *testing.T) {
	s.Kubectl(t, "set", "env", "deployment/web", "REVISION=two")
	testcluster.Contains(t, "rollout status", s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s"), "successfully rolled out")
	testcluster.Contains(t, "set image", s.Kubectl(t, "set", "image", "deployment/web", "web=test.local/absent:1"), "deployment.apps/web image updated")
	testcluster.Eventually(t, "the missing image is reported", func() error {
		out := s.Kubectl(t, "get", "pods", "-l", "app=web")
		if !strings.Contains(out, "ErrImagePull") && !strings.Contains(out, "ImagePullBackOff") {
			return fmt.Errorf("pods are:\n%s", out)
		}
		return nil
	})
	matches(t, "a rollout that cannot go on", s.Kubectl(t, "get", "deployment", "web"), `web +3/3 +1 +3`)
	matches(t, "rollout history", s.Kubectl(t, "rollout", "history", "deployment/web"), `REVISION +CHANGE-CAUSE`)
	testcluster.Contains(t, "rollout undo", s.Kubectl(t, "rollout", "undo", "deployment/web"), "deployment.apps/web rolled back")
	s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	if got := s.Kubectl(t, "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"); got != testcluster.BusyboxImage {
		t.Errorf("image after undo = %s", got)
	}
	testcluster.Contains(t, "rollout restart", s.Kubectl(t, "rollout", "restart", "deployment/web"), "deployment.apps/web restarted")
	s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	s.Kubectl(t, "rollout", "pause", "deployment/web")
	testcluster.Contains(t, "restart of a paused deployment", s.KubectlFails(t, "rollout", "restart", "deployment/web"), "can't restart paused deployment")
	s.Kubectl(t, "rollout", "resume", "deployment/web")
	testcluster.Eventually(t, "only the new pods are left", func() error {
		if pods := strings.Fields(s.Kubectl(t, "get", "pods", "-l", "app=web", "-o", "name")); len(pods) != 3 {
			return fmt.Errorf("there are %d", len(pods))
		}
		return nil
	})
}

func (s suite) testLogs(t *testing.T) {
	s.KubectlInput(t, `apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: counter
    image: `+testcluster.BusyboxImage+`
    command: ["sh", "-c", "i=1; while [ $i -le 20 ]; do echo line $i; i=$((i+1)); done; while true; do sleep 1; echo tick; done"]
`, "apply", "-f", "-")
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/counter", "--timeout=60s")
	testcluster.Eventually(t, "all lines are in the log", func() error {
		if out := s.Kubectl(t, "logs", "counter"); !strings.Contains(out, "line 20\n") {
			return fmt.Errorf("log is:\n%s", out)
		}
		return nil
	})
	testcluster.Contains(t, "logs", s.Kubectl(t, "logs", "counter"), "line 1\nline 2\n")
	if out := s.Kubectl(t, "logs", "counter", "--tail=1"); strings.Count(out, "\n") != 1 {
		t.Errorf("logs --tail=1 gave:\n%s", out)
	}
	matches(t, "logs --timestamps", s.Kubectl(t, "logs", "counter", "--timestamps"), `(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line 1$`)
	testcluster.Contains(t, "logs -l", s.Kubectl(t, "logs", "-l", "app=web", "--prefix"), "serving as two")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := s.KubectlCommand(ctx, "logs", "-f", "counter", "--tail=0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ticks := make([]byte, len("tick\ntick\n"))
	if _, err := io.ReadFull(stdout, ticks); err != nil || string(ticks) != "tick\ntick\n" {
		t.Errorf("logs -f gave %q, %v", ticks, err)
	}
	s.Kubectl(t, "delete", "pod", "counter")
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("logs -f of a pod that ends: %v", err)
	}
	testcluster.Contains(t, "logs of a pod that is not there", s.KubectlFails(t, "logs", "counter"), `pods "counter" not found`)
}

func (s suite) testExec(t *testing.T) {
	pod := s.firstPod(t)
	if out := s.Kubectl(t, "exec", pod, "--", "cat", "/www/index.html"); out != "revision two\n" {
		t.Errorf("exec gave %q", out)
	}
	if out := s.KubectlInput(t, "from here\n", "exec", "-i", pod, "--", "cat"); out != "from here\n" {
		t.Errorf("exec -i gave %q", out)
	}
	cmd := s.KubectlCommand(t.Context(), "exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code = %d (%v), want 7", code, err)
	}
	if stdout.String() != "out\n" || !strings.HasPrefix(stderr.String(), "err\n") {
		t.Errorf("stdout = %q, stderr = %q", stdout.String(), stderr.String())
	}
	// script gives kubectl a terminal to pass on.
	script := exec.CommandContext(t.Context(), "script", "-qec",
		fmt.Sprintf("%s --kubeconfig %s exec -it %s -- sh -c 'test -t 0 && echo a terminal'", s.KubectlCommand(t.Context()).Path, s.Kubeconfig, pod), "/dev/null")
	out, err := script.CombinedOutput()
	if err != nil {
		t.Errorf("exec -it: %v\n%s", err, out)
	}
	testcluster.Contains(t, "exec -it", string(out), "a terminal")
	testcluster.Contains(t, "exec in an absent container", s.KubectlFails(t, "exec", pod, "-c", "absent", "--", "true"), "absent")
}

func (s suite) testCopy(t *testing.T) {
	pod := s.firstPod(t)
	dir := t.TempDir()
	data := bytes.Repeat([]byte("navarch\n"), 40_000)
	if err := os.WriteFile(filepath.Join(dir, "up"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Kubectl(t, "cp", filepath.Join(dir, "up"), pod+":/tmp/file")
	s.Kubectl(t, "cp", pod+":/tmp/file", filepath.Join(dir, "down"))
	got, err := os.ReadFile(filepath.Join(dir, "down"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("a file of %d bytes came back as %d bytes, or changed", len(data), len(got))
	}
}

func (s suite) testPortForward(t *testing.T) {
	for _, target := range []string{"pod/" + s.firstPod(t), "service/web", "deployment/web"} {
		port := "8080"
		if target == "service/web" {
			port = "80"
		}
		ctx, cancel := context.WithCancel(t.Context())
		cmd := s.KubectlCommand(ctx, "port-forward", target, ":"+port)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var local string
		if _, err := fmt.Fscanf(stdout, "Forwarding from %s", &local); err != nil {
			t.Errorf("port-forward %s: %v", target, err)
		}
		for range 3 {
			if body := get(t, "http://"+local+"/"); body != "revision two\n" {
				t.Errorf("through port-forward %s: %q", target, body)
			}
		}
		cancel()
		_ = cmd.Wait() // killed by us
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

func (s suite) testExpose(t *testing.T) {
	testcluster.Contains(t, "expose", s.Kubectl(t, "expose", "deployment", "web", "--name=web-node", "--type=NodePort", "--port=80", "--target-port=http"), "service/web-node exposed")
	port := s.Kubectl(t, "get", "service", "web-node", "-o", "jsonpath={.spec.ports[0].nodePort}")
	for _, node := range strings.Fields(s.Kubectl(t, "get", "nodes", "-o", `jsonpath={.items[*].status.addresses[?(@.type=="InternalIP")].address}`)) {
		testcluster.Eventually(t, "the node port answers on "+node, func() error {
			resp, err := http.Get("http://" + node + ":" + port + "/")
			if err != nil {
				return err
			}
			return resp.Body.Close()
		})
	}
	s.Kubectl(t, "delete", "service", "web-node")
}

func (s suite) testRunWaitDelete(t *testing.T) {
	testcluster.Contains(t, "run", s.Kubectl(t, "run", "once", "--image="+testcluster.BusyboxImage, "--restart=Never", "--", "sh", "-c", "wget -qO- web.default.svc.cluster.local"), "pod/once created")
	s.Kubectl(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "--timeout=60s")
	if out := s.Kubectl(t, "logs", "once"); out != "revision two\n" {
		t.Errorf("the Service's name gave %q", out)
	}
	matches(t, "get pod", s.Kubectl(t, "get", "pod", "once"), `once +0/1 +Completed`)
	testcluster.Contains(t, "delete", s.Kubectl(t, "delete", "pod", "once"), `pod "once" deleted`)
	testcluster.Contains(t, "wait --for=delete", s.Kubectl(t, "wait", "--for=delete", "pod/once", "--timeout=30s"), "")
	// What a container says before kubectl attaches goes to its log alone, so it
	// speaks when it is spoken to.
	out := s.KubectlInput(t, "pod\n", "run", "attached", "--image="+testcluster.BusyboxImage, "--restart=Never", "--rm", "-i", "--quiet", "--",
		"sh", "-c", "read what; echo hello from a $what")
	testcluster.Contains(t, "run --rm -i", out, "hello from a pod")
}

func (s suite) testEvents(t *testing.T) {
	matches(t, "events", s.Kubectl(t, "events"), `LAST SEEN +TYPE +REASON +OBJECT +MESSAGE`, `Normal +Scheduled +Pod/`)
	testcluster.Contains(t, "events --for", s.Kubectl(t, "events", "--for", "deployment/web"), "ScalingReplicaSet")
	matches(t, "get events", s.Kubectl(t, "get", "events"), `Started +pod/`)
}

func (s suite) testDiscovery(t *testing.T) {
	matches(t, "api-resources", s.Kubectl(t, "api-resources"),
		`NAME +SHORTNAMES +APIVERSION +NAMESPACED +KIND`, `pods +po +v1 +true +Pod`, `deployments +deploy +apps/v1 +true +Deployment`,
		`nodes +no +v1 +false +Node`, `cronjobs +cj +batch/v1 +true +CronJob`)
	testcluster.Contains(t, "api-versions", s.Kubectl(t, "api-versions"), "apps/v1", "v1", "rbac.authorization.k8s.io/v1")
	matches(t, "explain", s.Kubectl(t, "explain", "deployment.spec.replicas"), `FIELD: replicas <integer>`, `Number of desired pods`)
	matches(t, "explain --recursive", s.Kubectl(t, "explain", "pod", "--recursive"), `containers\s+<\[\]Container> -required-`, `readinessProbe\s+<Probe>`)
	testcluster.Contains(t, "version", s.Kubectl(t, "version"), "Server Version: v1.37.2+navarch")
	testcluster.Contains(t, "cluster-info", s.Kubectl(t, "cluster-info"), "is running at")
}

func (s suite) testAuth(t *testing.T) {
	testcluster.Contains(t, "can-i", s.Kubectl(t, "auth", "can-i", "create", "pods"), "yes")
	testcluster.Contains(t, "can-i as nobody", s.KubectlFails(t, "auth", "can-i", "create", "pods", "--as=nobody"), "no")
	testcluster.Contains(t, "whoami", s.Kubectl(t, "auth", "whoami"), "kubernetes-admin", "system:masters")
	s.Kubectl(t, "create", "rolebinding", "viewer", "--clusterrole=view", "--user=jane")
	testcluster.Eventually(t, "jane can view", func() error {
		out, err := s.KubectlCommand(t.Context(), "auth", "can-i", "list", "pods", "--as=jane").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	testcluster.Contains(t, "jane lists pods", s.Kubectl(t, "get", "pods", "--as=jane", "-o", "name"), "pod/")
	testcluster.Contains(t, "jane lists secrets", s.KubectlFails(t, "get", "secrets", "--as=jane"),
		`secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "default"`)
	s.Kubectl(t, "delete", "rolebinding", "viewer")
}

func (s suite) testTop(t *testing.T) {
	matches(t, "top node", s.Kubectl(t, "top", "node"), `NAME +CPU\(cores\) +CPU\(%\) +MEMORY\(bytes\) +MEMORY\(%\)`, `node-1 +\d+m +\d+% +\d+Mi +\d+%`)
	matches(t, "top pods", s.Kubectl(t, "top", "pods", "-l", "app=web"), `NAME +CPU\(cores\) +MEMORY\(bytes\)`, `web-\S+ +\d+m +\d+Mi`)
}

// What Kubernetes' test "should get componentstatuses" does, and what the table
// says.
func (s suite) testComponents(t *testing.T) {
	for _, name := range strings.Fields(s.Kubectl(t, "get", "componentstatuses", "-o", "jsonpath={.items[*].metadata.name}")) {
		s.Kubectl(t, "get", "componentstatuses", name)
	}
	out := s.Kubectl(t, "get", "cs")
	matches(t, "get cs", out, `(?m)^NAME +STATUS +MESSAGE +ERROR *$`, `(?m)^controller-manager +Healthy +ok *$`, `(?m)^etcd-0 +Healthy +ok *$`, `(?m)^scheduler +Healthy +ok *$`)
}

func (s suite) testErrors(t *testing.T) {
	testcluster.Contains(t, "an absent object", s.KubectlFails(t, "get", "deployment", "absent"), `Error from server (NotFound): deployments.apps "absent" not found`)
	testcluster.Contains(t, "an unknown kind", s.KubectlFails(t, "get", "starships"), `the server doesn't have a resource type "starships"`)
	testcluster.Contains(t, "a taken name", s.KubectlFails(t, "create", "deployment", "web", "--image=x"), `deployments.apps "web" already exists`)
	testcluster.Contains(t, "an invalid object", s.fails(t, strings.ReplaceAll(web, "replicas: 3", "replicas: -1"), "apply", "-f", "-"),
		`spec.replicas: Invalid value: -1: must be greater than or equal to 0`)
	testcluster.Contains(t, "an unknown field", s.fails(t, strings.ReplaceAll(web, "replicas: 3", "replica: 3"), "apply", "-f", "-"),
		`unknown field "spec.replica"`)
}

func (s suite) testDiffReplace(t *testing.T) {
	changed := strings.ReplaceAll(web, "cpu: 10m", "cpu: 11m")
	cmd := s.KubectlCommand(t.Context(), "diff", "-f", "-")
	cmd.Stdin = strings.NewReader(changed)
	out, _ := cmd.CombinedOutput() // exits with 1 if there is a difference
	testcluster.Contains(t, "diff", string(out), "-            cpu: 10m", "+            cpu: 11m")
	testcluster.Contains(t, "replace --force", s.KubectlInput(t, changed, "replace", "--force", "-f", "-"), "deployment.apps/web replaced")
	s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
}

func (s suite) testDeleteCascade(t *testing.T) {
	s.Kubectl(t, "delete", "deployment", "web", "--cascade=orphan")
	testcluster.Contains(t, "what an orphaning delete leaves", s.Kubectl(t, "get", "replicasets,pods", "-l", "app=web", "-o", "name"), "replicaset.apps/web-", "pod/web-")
	s.KubectlInput(t, web, "apply", "-f", "-")
	s.Kubectl(t, "delete", "deployment", "web", "--cascade=foreground")
	testcluster.Eventually(t, "all it owned is gone", func() error {
		if out := s.Kubectl(t, "get", "replicasets,pods", "-l", "app=web", "-o", "name"); out != "" {
			return fmt.Errorf("left: %s", out)
		}
		return nil
	})
	s.KubectlInput(t, web, "apply", "-f", "-")
	s.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	s.Kubectl(t, "delete", "deployment", "web", "--cascade=background")
	testcluster.Contains(t, "what a deletion in the background leaves at first", s.KubectlFails(t, "get", "deployment", "web"), `deployments.apps "web" not found`)
	testcluster.Eventually(t, "all it owned is gone", func() error {
		if out := s.Kubectl(t, "get", "replicasets,pods", "-l", "app=web", "-o", "name"); out != "" {
			return fmt.Errorf("left: %s", out)
		}
		return nil
	})
	s.Kubectl(t, "delete", "service", "web")
	s.Kubectl(t, "create", "namespace", "temporary")
	s.Kubectl(t, "create", "configmap", "settings", "-n", "temporary", "--from-literal=a=b")
	s.Kubectl(t, "delete", "namespace", "temporary", "--timeout=60s")
	testcluster.Contains(t, "a deleted namespace", s.KubectlFails(t, "get", "namespace", "temporary"), `namespaces "temporary" not found`)
}

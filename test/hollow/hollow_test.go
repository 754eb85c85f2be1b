package hollow_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/testcluster"
)

const (
	nodes    = 200
	replicas = 1000
	// bound is far longer than anything takes on a slow machine.
	bound = 5 * time.Minute
)

// fleet is a process of hollow nodes.
type fleet struct {
	cmd *exec.Cmd
	log string
}

// begin starts hollow nodes, which end with the test.
func begin(t *testing.T, c *testcluster.Cluster, args ...string) *fleet {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "hollow-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	f := &fleet{log: log.Name()}
	f.cmd = exec.Command(testcluster.Binary("navarch"), append([]string{"hollow", "--data-dir", c.Dir, "--nodes", strconv.Itoa(nodes), "--log-level", "warn"}, args...)...)
	f.cmd.Stdout, f.cmd.Stderr = log, log
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.kill()
		if t.Failed() {
			text, _ := os.ReadFile(f.log)
			t.Logf("hollow nodes:\n%s", text[max(0, len(text)-6000):])
		}
	})
	return f
}

func (f *fleet) kill() {
	_ = f.cmd.Process.Signal(syscall.SIGKILL)
	_ = f.cmd.Wait()
}

// deployment has pods that are bound to hollow nodes only and leave a silent
// one at once.
func deployment(name string, replicas int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      nodeSelector: {hollow.navarch.dev/node: "true"}
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers:
      - name: main
        image: registry.test/app:1
        readinessProbe: {httpGet: {path: /, port: 8080}}
`, name, replicas)
}

// hollowNodes returns the hollow nodes of which the Controller thinks that they
// are ready.
func readyNodes(t *testing.T, clients *kubernetes.Clientset) map[string]bool {
	t.Helper()
	list, err := clients.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "hollow.navarch.dev/node=true"})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(map[string]bool)
	for _, n := range list.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				ready[n.Name] = true
			}
		}
	}
	return ready
}

// readyPods returns the pods that are ready and not being deleted, by UID.
func readyPods(t *testing.T, clients *kubernetes.Clientset) map[types.UID]corev1.Pod {
	t.Helper()
	list, err := clients.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(map[types.UID]corev1.Pod)
	for _, p := range list.Items {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
				ready[p.UID] = p
			}
		}
	}
	return ready
}

func waitForNodes(t *testing.T, clients *kubernetes.Clientset, want int) {
	t.Helper()
	testcluster.EventuallyWithin(t, bound, "the hollow nodes are ready", func() error {
		if n := len(readyNodes(t, clients)); n != want {
			return fmt.Errorf("%d of %d are", n, want)
		}
		return nil
	})
}

func waitForPods(t *testing.T, clients *kubernetes.Clientset, what string, cond func(map[types.UID]corev1.Pod) error) map[types.UID]corev1.Pod {
	t.Helper()
	var pods map[types.UID]corev1.Pod
	testcluster.EventuallyWithin(t, bound, what, func() error {
		pods = readyPods(t, clients)
		return cond(pods)
	})
	return pods
}

func count(want int) func(map[types.UID]corev1.Pod) error {
	return func(pods map[types.UID]corev1.Pod) error {
		if len(pods) != want {
			return fmt.Errorf("%d of %d are ready", len(pods), want)
		}
		return nil
	}
}

// A Deployment of a thousand pods runs on two hundred nodes; a killed process
// of hollow nodes is taken over without a pod noticing; pods of nodes that fall
// silent are replaced elsewhere; a deleted Node comes back.
func TestHollowNodes(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	clients := c.Clientset(t)
	first := begin(t, c)
	waitForNodes(t, clients, nodes)
	c.KubectlInput(t, deployment("web", replicas), "apply", "-f", "-")
	before := waitForPods(t, clients, "the pods are ready", count(replicas))

	first.kill()
	begin(t, c, "--listen", "127.0.0.1:0")
	c.Kubectl(t, "scale", "deployment/web", "--replicas", strconv.Itoa(replicas+100))
	after := waitForPods(t, clients, "the new process runs more pods", count(replicas+100))
	for uid, p := range before {
		now, ok := after[uid]
		switch {
		case !ok:
			t.Errorf("pod %s is gone since the process was killed", p.Name)
		case now.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID || now.Status.ContainerStatuses[0].RestartCount != 0 || now.Status.PodIP != p.Status.PodIP:
			t.Errorf("pod %s was %+v and is %+v", p.Name, p.Status, now.Status)
		}
	}

	for _, p := range after {
		lookInto(t, c, p)
		break
	}

	silent := map[string]bool{"hollow-0": true, "hollow-1": true, "hollow-2": true}
	for name := range silent {
		c.Kubectl(t, "annotate", "node", name, "hollow.navarch.dev/state=silent")
	}
	waitForPods(t, clients, "the pods of silent nodes are replaced", func(pods map[types.UID]corev1.Pod) error {
		for _, p := range pods {
			if silent[p.Spec.NodeName] {
				return fmt.Errorf("pod %s is on %s", p.Name, p.Spec.NodeName)
			}
		}
		return count(replicas + 100)(pods)
	})
	for name := range silent {
		c.Kubectl(t, "annotate", "node", name, "hollow.navarch.dev/state-")
	}
	c.Kubectl(t, "delete", "node", "hollow-3")
	waitForNodes(t, clients, nodes)
	c.Kubectl(t, "delete", "deployment", "web")
	testcluster.EventuallyWithin(t, bound, "all pods are gone", func() error {
		list, err := clients.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d are there", len(list.Items))
		}
		return err
	})
}

// lookInto asks a hollow node's Node service what it can tell.
func lookInto(t *testing.T, c *testcluster.Cluster, p corev1.Pod) {
	t.Helper()
	testcluster.Eventually(t, "the node has told where it serves", func() error {
		if port := c.Kubectl(t, "get", "node", p.Spec.NodeName, "-o", "jsonpath={.status.daemonEndpoints.kubeletEndpoint.Port}"); port == "0" || port == "" {
			return fmt.Errorf("its port is %q", port)
		}
		return nil
	})
	if out := c.Kubectl(t, "logs", p.Name); out != "" {
		t.Errorf("a hollow container said %q", out)
	}
	c.Kubectl(t, "exec", p.Name, "--", "true")
	testcluster.Contains(t, "kubectl top pod", c.Kubectl(t, "top", "pod", p.Name), p.Name, "8Mi")
	testcluster.Contains(t, "kubectl top node", c.Kubectl(t, "top", "node", p.Spec.NodeName), p.Spec.NodeName)
	raw := c.Kubectl(t, "get", "--raw", "/api/v1/nodes/"+p.Spec.NodeName+"/proxy/metrics/resource")
	testcluster.Contains(t, "the node's page of resources", raw, "pod_memory_working_set_bytes", p.Name)
	testcluster.Contains(t, "kubectl attach", c.KubectlFails(t, "attach", p.Name), "have no processes")
	askOwnPort(t, c, p.Spec.NodeName)
}

// askOwnPort asks a node for a page at its own port, with a token and without.
func askOwnPort(t *testing.T, c *testcluster.Cluster, node string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.RESTConfig(t).CAData)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: certs.NodeServerName(node)}}
	defer transport.CloseIdleConnections()
	field := func(path string) string { return c.Kubectl(t, "get", "node", node, "-o", "jsonpath="+path) }
	url := "https://" + net.JoinHostPort(field("{.status.addresses[?(@.type=='InternalIP')].address}"), field("{.status.daemonEndpoints.kubeletEndpoint.Port}")) + "/metrics"
	for token, want := range map[string]int{"": 401, strings.TrimSpace(c.Kubectl(t, "create", "token", "default")): 403} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s with the token %q: %s, want %d", url, token, resp.Status, want)
		}
	}
}

// A Job's pods come to their end, though some starts and pulls fail.
func TestJobOnFailingNodes(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	begin(t, c, "--run-time", "1s", "--pull-fail-rate", "0.1", "--start-fail-rate", "0.1", "--crash-every", "10s", "--not-ready", "20")
	waitForNodes(t, c.Clientset(t), nodes-20)
	c.KubectlInput(t, `apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  completions: 100
  parallelism: 100
  backoffLimit: 1000
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {hollow.navarch.dev/node: "true"}
      containers: [{name: main, image: "registry.test/work:1"}]
`, "apply", "-f", "-")
	testcluster.EventuallyWithin(t, bound, "the Job is complete", func() error {
		if n := c.Kubectl(t, "get", "job", "work", "-o", "jsonpath={.status.succeeded}"); n != "100" {
			return fmt.Errorf("%s of 100 pods have succeeded", n)
		}
		return nil
	})
	if n := c.Kubectl(t, "get", "job", "work", "-o", "jsonpath={.status.failed}"); n == "" || n == "0" {
		t.Error("no pod has failed")
	}
}

func TestWrongCalls(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "flag --nodes: 0 must be from 1 to 100000"},
		{[]string{"--nodes=1", "--store=127.0.0.1:1"}, "flag --store: needs --ca-file and --ca-key-file too"},
		{[]string{"--nodes=1", "--ca-file=ca.crt"}, "need --store too"},
		{[]string{"--nodes=1", "--log-level=loud"}, "flag --log-level"},
		{[]string{"--nodes=1", "--listen=0.0.0.0:10250"}, `flag --listen: "0.0.0.0:10250" must be an address of this machine`},
		{[]string{"--nodes=1", "--listen=here"}, "flag --listen"},
		{[]string{"--nodes=1", "now"}, "unknown command"},
	} {
		cmd := exec.Command(testcluster.Binary("navarch"), append([]string{"hollow"}, tt.args...)...)
		var out bytes.Buffer
		cmd.Stderr = &out
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%v: %v: %s; want code 2 and %q", tt.args, err, out.String(), tt.want)
		}
	}
	out, err := exec.Command(testcluster.Binary("navarch"), "hollow", "--nodes=1", "--data-dir", t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no cluster in the data folder") {
		t.Errorf("without a cluster: %v: %s", err, out)
	}
}

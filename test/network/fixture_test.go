// Package network_test proves networking and workloads as users know them, on
// a cluster of three nodes: real pods, real packets, names resolved by the
// pods' own resolv.conf.
//
//	host ── bridge ─┬─ node-1 ── client-1, echo-…, db-0
//	 │              ├─ node-2 ── client-2, echo-…, db-1
//	 │              └─ node-3 ── echo-…
//	 └── veth ── world: no route back but to the host; a web server, a DNS server
package network_test

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/testcluster"
)

const execTime = 30 * time.Second

// image is what every pod of these tests runs: netprobe and nothing else.
const image = "test.local/netprobe:1"

//go:embed manifests.yaml
var manifests string

// fixture is the cluster, with what manifests.yaml describes in it.
type fixture struct {
	*testcluster.Cluster
	// nodes are the nodes' addresses by name, pods the pods by name.
	nodes map[string]string
	pods  map[string]corev1.Pod
}

func start(t *testing.T) *fixture {
	t.Helper()
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("nameserver "+worldAddress+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	makeWorld(t)
	t.Setenv("NAVARCH_RESOLV_CONF", resolvConf)
	f := &fixture{Cluster: testcluster.Start(t, testcluster.Options{Nodes: 3}), nodes: make(map[string]string)}
	f.LoadProgram(t, image, "./netprobe")
	f.KubectlInput(t, manifests, "apply", "-f", "-")
	for _, object := range []string{"daemonset/echo", "statefulset/db", "deployment/web", "deployment/hasty"} {
		f.Kubectl(t, "rollout", "status", object, "--timeout=120s")
	}
	f.Kubectl(t, "wait", "--for=condition=Ready", "pod", "--all", "-l", "part=client", "--timeout=60s")
	var nodes corev1.NodeList
	f.get(t, &nodes, "nodes")
	for _, n := range nodes.Items {
		f.nodes[n.Name] = n.Status.Addresses[slices.IndexFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == corev1.NodeInternalIP })].Address
	}
	f.readPods(t)
	return f
}

func (f *fixture) readPods(t *testing.T) {
	t.Helper()
	f.pods = make(map[string]corev1.Pod)
	var pods corev1.PodList
	f.get(t, &pods, "pods")
	for _, p := range pods.Items {
		f.pods[p.Name] = p
	}
}

// get reads objects as kubectl shows them.
func (f *fixture) get(t *testing.T, into any, args ...string) {
	t.Helper()
	out := f.Kubectl(t, append([]string{"get", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("get %v: %v", args, err)
	}
}

// podOn returns the pod of a set that is on a node.
func (f *fixture) podOn(t *testing.T, app, node string) corev1.Pod {
	t.Helper()
	for _, p := range f.pods {
		if p.Labels["app"] == app && p.Spec.NodeName == node {
			return p
		}
	}
	t.Fatalf("no pod of %s is on %s", app, node)
	return corev1.Pod{}
}

func (f *fixture) ip(t *testing.T, pod string) string {
	t.Helper()
	p, ok := f.pods[pod]
	if !ok || p.Status.PodIP == "" {
		t.Fatalf("pod %s has no address", pod)
	}
	return p.Status.PodIP
}

func (f *fixture) serviceIP(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(f.Kubectl(t, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}"))
}

// try runs netprobe in a pod ("name" or "namespace/name").
func (f *fixture) try(t *testing.T, pod string, args ...string) (string, error) {
	t.Helper()
	namespace, name, ok := strings.Cut(pod, "/")
	if !ok {
		namespace, name = "default", pod
	}
	ctx, cancel := context.WithTimeout(t.Context(), execTime)
	defer cancel()
	cmd := f.KubectlCommand(ctx, append([]string{"exec", "-n", namespace, name, "--", "/netprobe"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("in pod %s: %s: %w", pod, strings.TrimSpace(stderr.String()), err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// in is try for what must succeed.
func (f *fixture) in(t *testing.T, pod string, args ...string) string {
	t.Helper()
	out, err := f.try(t, pod, args...)
	if err != nil {
		t.Fatalf("netprobe %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// eventuallyIn waits until netprobe prints what is wanted.
func (f *fixture) eventuallyIn(t *testing.T, pod, want string, args ...string) {
	t.Helper()
	testcluster.Eventually(t, strings.Join(args, " ")+" shows "+want, func() error {
		out, err := f.try(t, pod, args...)
		if err == nil && out != want {
			err = fmt.Errorf("it shows %q", out)
		}
		return err
	})
}

// load is a client in a pod that asks without a pause.
type load struct {
	cmd   *exec.Cmd
	stdin interface{ Close() error }
	lines *bufio.Scanner
	err   bytes.Buffer
}

// startLoad returns once the first request has been answered.
func (f *fixture) startLoad(t *testing.T, pod, url string) *load {
	t.Helper()
	l := &load{cmd: f.KubectlCommand(t.Context(), "exec", "-i", pod, "--", "/netprobe", "load", url)}
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.stdin, l.cmd.Stderr = stdin, &l.err
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if l.lines = bufio.NewScanner(stdout); !l.lines.Scan() {
		t.Fatalf("the load did not begin: %v", errors.Join(l.lines.Err(), l.cmd.Wait()))
	}
	return l
}

// stop returns how many requests there were, how many failed, and a few of
// these.
func (l *load) stop(t *testing.T) (requests, failures int, text string) {
	t.Helper()
	if err := l.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	for l.lines.Scan() {
		text = l.lines.Text()
	}
	if err := l.cmd.Wait(); err != nil {
		t.Fatalf("the load: %v\n%s", err, l.err.String())
	}
	if _, err := fmt.Sscanf(text, "requests=%d failures=%d", &requests, &failures); err != nil {
		t.Fatalf("the load's result %q: %v", text, err)
	}
	return requests, failures, text
}

package resilience_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/testcluster"
)

// deployment is a Deployment whose pods tolerate a silent node for a few
// seconds only.
func deployment(name string, replicas int, revision string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      containers:
      - name: main
        image: %[3]s
        command: ["sleep", "1000000"]
        env: [{name: REVISION, value: "%[4]s"}]
`, name, replicas, testcluster.BusyboxImage, revision)
}

func pods(t *testing.T, c *testcluster.Cluster, selector string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := json.Unmarshal([]byte(c.Kubectl(t, "get", "pods", "-l", selector, "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func restarts(pods []corev1.Pod) int32 {
	var n int32
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			n += s.RestartCount
		}
	}
	return n
}

// Each service in turn is killed while a rollout is under way: the rollout
// completes, and what has nothing to do with it is not restarted.
func TestKilledServicesFinishTheRollout(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 2, SplitServices: true})
	c.LoadBusybox(t)
	c.KubectlInput(t, deployment("bystander", 2, "0"), "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/bystander", "--timeout=120s")
	before := containerIDs(pods(t, c, "app=bystander"))

	for i, process := range []string{"store", "scheduler", "controller", "gateway", "agent-node-1", "proxy-node-1"} {
		t.Run(process, func(t *testing.T) {
			c.KubectlInput(t, slowly(deployment("rolling", 4, strconv.Itoa(i))), "apply", "-f", "-")
			testcluster.Eventually(t, "the rollout begins", func() error {
				if r := rolloutOf(t, c, "rolling"); r.Status.ObservedGeneration != r.Generation || r.Status.UpdatedReplicas == 0 {
					return fmt.Errorf("its status is %+v", r.Status)
				}
				return nil
			})
			killed := time.Now()
			c.Kill(t, process)
			testcluster.Eventually(t, "the API answers", func() error {
				return c.KubectlCommand(t.Context(), "get", "--raw", "/readyz").Run()
			})
			testcluster.Eventually(t, "the rollout completes", func() error {
				out, err := c.KubectlCommand(t.Context(), "rollout", "status", "deployment/rolling", "--timeout=60s").CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
			if ended := completedAt(rolloutOf(t, c, "rolling")); ended.Before(killed.Truncate(time.Second)) {
				t.Errorf("the rollout ended at %v, before the kill at %v", ended, killed)
			}
			rolled := pods(t, c, "app=rolling")
			if n := restarts(rolled); n != 0 {
				t.Errorf("containers of the rollout were restarted %d times", n)
			}
			if after := containerIDs(pods(t, c, "app=bystander")); after != before {
				t.Errorf("containers of a bystander changed:\n%s\nto\n%s", before, after)
			}
		})
	}
}

// slowly makes a Deployment's rollout last: a pod counts two seconds after it
// is ready, and the next one waits for it.
func slowly(deployment string) string {
	return strings.Replace(deployment, "spec:\n", "spec:\n  minReadySeconds: 2\n  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n", 1)
}

func rolloutOf(t *testing.T, c *testcluster.Cluster, name string) appsv1.Deployment {
	t.Helper()
	var d appsv1.Deployment
	if err := json.Unmarshal([]byte(c.Kubectl(t, "get", "deployment", name, "-o", "json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// completedAt is when a Deployment was last found complete, zero if it is not.
func completedAt(d appsv1.Deployment) time.Time {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason == "NewReplicaSetAvailable" {
			return c.LastUpdateTime.Time
		}
	}
	return time.Time{}
}

func containerIDs(pods []corev1.Pod) string {
	var ids []string
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			ids = append(ids, p.Name+" "+s.ContainerID)
		}
	}
	return strings.Join(ids, "\n")
}

// A pod writes a thousand lines a second while its agent is killed, twice. Every line
// is in the log, once and in order.
func TestKilledAgentLosesNoLogLine(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	c.LoadBusybox(t)
	const lines = 8000
	c.KubectlInput(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: chatty}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: %s
    command: ["sh", "-c", "i=0; while [ $i -lt %d ]; do j=0; while [ $j -lt 100 ]; do echo line $i; i=$((i+1)); j=$((j+1)); done; sleep 0.1; done; exit 3"]
`, testcluster.BusyboxImage, lines), "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/chatty", "--timeout=60s")
	node := c.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	c.Kill(t, "agent-"+node)
	c.Kubectl(t, "get", "pod", "chatty")
	c.Kill(t, "agent-"+node)
	c.Kubectl(t, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/chatty", "--timeout=120s")

	got := strings.Split(strings.TrimSpace(c.Kubectl(t, "logs", "chatty")), "\n")
	if len(got) != lines {
		t.Errorf("the log has %d lines, want %d", len(got), lines)
	}
	for i, line := range got {
		if want := fmt.Sprintf("line %d", i); line != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
	p := pods(t, c, "")[0]
	if state := p.Status.ContainerStatuses[0].State.Terminated; state == nil || state.ExitCode != 3 {
		t.Errorf("container ended as %+v, want exit code 3", state)
	}
	if n := restarts([]corev1.Pod{p}); n != 0 {
		t.Errorf("the container was restarted %d times", n)
	}
}

// A node's link is cut: its pods are replaced on the others. The link comes
// back: the node is Ready again and runs nothing that it should not.
func TestCutNodeIsReplacedAndComesBack(t *testing.T) {
	t.Setenv("NAVARCH_CONTROLLER_NODE_MONITOR_GRACE_PERIOD", "15s")
	c := testcluster.Start(t, testcluster.Options{Nodes: 3})
	c.LoadBusybox(t)
	c.KubectlInput(t, deployment("web", 6, "0"), "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	for _, name := range []string{"staying", "forced"} {
		c.KubectlInput(t, pinned(name, "node-2"), "apply", "-f", "-")
	}
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/staying", "pod/forced", "--timeout=60s")
	staying := containerIDs(pods(t, c, "app=staying"))

	c.CutOff(t, "node-2")
	testcluster.Eventually(t, "node-2 is NotReady", func() error {
		if out := c.Kubectl(t, "get", "node", "node-2"); !strings.Contains(out, "NotReady") {
			return fmt.Errorf("it is:\n%s", out)
		}
		return nil
	})
	testcluster.Eventually(t, "six pods are ready on the other nodes", func() error {
		ready := 0
		for _, p := range pods(t, c, "app=web") {
			if p.Spec.NodeName != "node-2" && isReady(p) {
				ready++
			}
		}
		if ready != 6 {
			return fmt.Errorf("there are %d", ready)
		}
		return nil
	})
	// Deleted from the API while its agent cannot hear of it.
	c.Kubectl(t, "delete", "pod", "forced", "--force", "--grace-period=0")
	c.Reconnect(t, "node-2")
	testcluster.Eventually(t, "node-2 is Ready", func() error {
		if out := c.Kubectl(t, "get", "node", "node-2"); !regexp.MustCompile(`node-2 +Ready `).MatchString(out) {
			return fmt.Errorf("it is:\n%s", out)
		}
		return nil
	})
	testcluster.Eventually(t, "node-2 runs what it should and nothing else", func() error {
		if wanted := len(pods(t, c, "app=web")); wanted != 6 {
			return fmt.Errorf("the Deployment has %d pods", wanted)
		}
		if taints := c.Kubectl(t, "get", "node", "node-2", "-o", "jsonpath={.spec.taints}"); taints != "" {
			return fmt.Errorf("the node is tainted: %s", taints)
		}
		if p := pods(t, c, "app=staying"); len(p) != 1 || !isReady(p[0]) {
			return fmt.Errorf("the pod that stayed is not ready again: %+v", p)
		}
		return runsOnly(t, c, "node-2")
	})
	if after := containerIDs(pods(t, c, "app=staying")); after != staying {
		t.Errorf("the container that stayed was %s and is %s", staying, after)
	}
}

// pinned is a pod on a given node that nothing evicts.
func pinned(name, node string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 1
  tolerations: [{operator: Exists}]
  containers:
  - {name: main, image: %[3]s, command: ["sleep", "1000000"]}
`, name, node, testcluster.BusyboxImage)
}

// runsOnly compares the pods that a node has on its disk and under a shim with
// those that the API places there.
func runsOnly(t *testing.T, c *testcluster.Cluster, node string) error {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.Dir, "nodes", node, "run", "runtime", "pods"))
	if err != nil {
		return err
	}
	placed := c.Kubectl(t, "get", "pods", "-A", "--field-selector=spec.nodeName="+node, "-o", "jsonpath={.items[*].metadata.uid}")
	for _, e := range entries {
		if !strings.Contains(placed, e.Name()) {
			return fmt.Errorf("pod %s still runs; the API has %s", e.Name(), placed)
		}
	}
	if want := len(strings.Fields(placed)); len(entries) != want {
		return fmt.Errorf("the node runs %d pods, the API has %d there", len(entries), want)
	}
	return nil
}

// The whole control plane, its etcd included, is killed under writes: what was
// acknowledged is there afterwards.
func TestKilledEtcdLosesNothing(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	maps := c.Clientset(t).CoreV1().ConfigMaps("default")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const writers = 4
	acknowledged := make([][]string, writers)
	var writing atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("written-%d-%d", w, n)
				object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"n": name}}
				// An error promises nothing: the write may have been done or not.
				if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err == nil {
					acknowledged[w] = append(acknowledged[w], name)
					writing.Add(1)
					continue
				}
				select { // A service that is not there refuses fast.
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	for range 3 {
		want := writing.Load() + 40
		testcluster.Eventually(t, "writes are acknowledged", func() error {
			if have := writing.Load(); have < want {
				return fmt.Errorf("there are %d of %d", have, want)
			}
			return nil
		})
		c.Kill(t, "control-plane")
	}
	testcluster.Eventually(t, "the API answers", func() error {
		return c.KubectlCommand(t.Context(), "get", "--raw", "/readyz").Run()
	})
	stop()
	wg.Wait()
	list, err := maps.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, m := range list.Items {
		found[m.Name] = m.Data["n"] == m.Name
	}
	for _, name := range slices.Concat(acknowledged...) {
		if !found[name] {
			t.Errorf("configmap %s was acknowledged and is lost", name)
		}
	}
}

// The services are stopped and started: pods go on running and are adopted, also
// those that would be stopped if their agent were cut off.
func TestStoppedServicesLeavePodsRunning(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 2, Args: []string{"--fast-failover"}})
	c.LoadBusybox(t)
	c.KubectlInput(t, deployment("web", 4, "0"), "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	before := containerIDs(pods(t, c, "app=web"))
	c.Stop(t)
	data, err := os.ReadFile(filepath.Join(c.Dir, "nodes", "node-1", "run", "fence"))
	if err != nil {
		t.Fatal(err)
	}
	if word := int64(binary.NativeEndian.Uint64(data)); word >= 0 {
		t.Errorf("the fence of a node whose agent was stopped closes: it was renewed at %s", time.Duration(word))
	}
	c.Up(t)
	c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
	if after := containerIDs(pods(t, c, "app=web")); after != before {
		t.Errorf("containers changed:\n%s\nto\n%s", before, after)
	}
	c.Kubectl(t, "delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")
}

func isReady(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

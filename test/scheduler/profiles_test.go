package scheduler_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

// configuration has two profiles, of which one fills nodes up.
const configuration = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: bin-packing
  plugins:
    multiPoint:
      disabled: [{name: NodeResourcesBalancedAllocation}, {name: ImageLocality}, {name: PodTopologySpread}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}
`

func deployment(name, scheduler string, replicas int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      schedulerName: %[2]s
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: %[4]s
        command: ["sleep", "infinity"]
        resources: {requests: {cpu: 50m}}
`, name, scheduler, replicas, testcluster.BusyboxImage)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProfilesOfAConfigurationFile(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 2, Args: []string{"--scheduler-config", write(t, configuration)}})
	c.LoadBusybox(t)
	c.KubectlInput(t, deployment("packed", "bin-packing", 4), "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/packed", "--timeout=120s")
	if on := nodesOf(t, c, "packed"); len(on) != 1 {
		t.Errorf("the packed pods are on %v", on)
	}
	c.KubectlInput(t, deployment("spread", "default-scheduler", 4), "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/spread", "--timeout=120s")
	if on := nodesOf(t, c, "spread"); len(on) != 2 {
		t.Errorf("the spread pods are on %v", on)
	}
	for app, want := range map[string]string{"packed": "bin-packing", "spread": "default-scheduler"} {
		pod := strings.TrimSpace(c.Kubectl(t, "get", "pods", "-l", "app="+app, "-o", "jsonpath={.items[0].metadata.name}"))
		testcluster.Eventually(t, pod+"'s event names its profile", func() error {
			got := c.Kubectl(t, "get", "events", "--field-selector", "reason=Scheduled,involvedObject.name="+pod, "-o", "jsonpath={.items[*].source.component}")
			if got != want {
				return fmt.Errorf("it is from %q, not %q", got, want)
			}
			return nil
		})
		if out := c.Tool(t, "explain", "pod/"+pod); strings.Contains(out, "NodeResourcesBalancedAllocation") != (app == "spread") {
			t.Errorf("%s is explained by another profile:\n%s", app, out)
		}
	}
}

func TestWhatExplainSaysWouldHelpDoes(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{SplitServices: true, Args: []string{"--scheduler-config", write(t, configuration)}})
	c.KubectlInput(t, `apiVersion: v1
kind: Pod
metadata: {name: stuck}
spec:
  schedulerName: bin-packing
  nodeSelector: {disk: ssd}
  containers: [{name: main, image: none, imagePullPolicy: Never}]
`, "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=condition=PodScheduled=false", "pod/stuck", "--timeout=60s")
	node := strings.TrimSpace(c.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	out := c.Tool(t, "explain", "pod/stuck")
	for _, want := range []string{"WHAT WOULD HELP", "wants disk=ssd (the node has no disk)", "label the node disk=ssd, or no longer require disk=ssd"} {
		if !strings.Contains(out, want) {
			t.Errorf("explain does not say %q:\n%s", want, out)
		}
	}
	c.Kubectl(t, "label", "node", node, "disk=ssd")
	c.Kubectl(t, "wait", "--for=condition=PodScheduled", "pod/stuck", "--timeout=60s")
	if out := c.Tool(t, "explain", "pod/stuck"); strings.Contains(out, "WHAT WOULD HELP") {
		t.Errorf("explain has advice for a pod that has a node:\n%s", out)
	}
}

// nodesOf counts an application's pods by node.
func nodesOf(t *testing.T, c *testcluster.Cluster, app string) map[string]int {
	t.Helper()
	on := make(map[string]int)
	for _, node := range strings.Fields(c.Kubectl(t, "get", "pods", "-l", "app="+app, "-o", "jsonpath={.items[*].spec.nodeName}")) {
		on[node]++
	}
	return on
}

func TestWrongConfigurationIsRefusedBeforeAnythingStarts(t *testing.T) {
	path := write(t, strings.Replace(configuration, "MostAllocated", "Most", 1))
	for _, args := range [][]string{
		{"up", "--data-dir", t.TempDir(), "--scheduler-config", path},
		{"up", "--detach", "--data-dir", t.TempDir(), "--config", path},
		{"scheduler", "--config", path},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, testcluster.Binary("navarch"), args...).CombinedOutput()
		want := `profiles[1].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "Most": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"`
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

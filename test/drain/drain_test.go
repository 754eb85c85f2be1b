package drain

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"navarch.dev/navarch/internal/testcluster"
)

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: IMAGE, command: [sleep, "1000000"], readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 3, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, labels: {part: alone}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: IMAGE, command: [sleep, "1000000"]}]
`

// TestDrainKeepsTheBudget empties node-1, on which all pods of an application
// are, of which two must be available.
func TestDrainKeepsTheBudget(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 2})
	c.LoadBusybox(t)
	c.Kubectl(t, "cordon", "node-2")
	c.KubectlInput(t, strings.ReplaceAll(manifest, "IMAGE", testcluster.BusyboxImage), "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=60s")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/alone", "--timeout=60s")
	c.Kubectl(t, "uncordon", "node-2")

	testcluster.Contains(t, "a drain that the budget forbids",
		c.KubectlFails(t, "drain", "node-1", "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=3s"),
		"Cannot evict pod as it would violate the pod's disruption budget.")
	nodesAre(t, c, "node-1 node-1 node-1")
	testcluster.Contains(t, "a drain of a pod of nobody",
		c.KubectlFails(t, "drain", "node-1", "--ignore-daemonsets", "--pod-selector=part=alone", "--timeout=3s"), "declare no controller")

	c.Kubectl(t, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"minAvailable":2}}`)
	least := watchAvailable(t, c)
	c.Kubectl(t, "drain", "node-1", "--ignore-daemonsets", "--force", "--timeout=120s")
	nodesAre(t, c, "node-2 node-2 node-2")
	c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=60s")
	if n := least(); n < 2 {
		t.Errorf("only %d pods were available while the node was drained", n)
	}
	if left := c.Kubectl(t, "get", "pods", "--field-selector=spec.nodeName=node-1", "-o", "name"); left != "" {
		t.Errorf("left on the drained node: %s", left)
	}
	testcluster.Contains(t, "the drained node", c.Kubectl(t, "get", "node", "node-1"), "SchedulingDisabled")
}

// nodesAre checks on which nodes the application's pods are that are not being
// deleted.
func nodesAre(t *testing.T, c *testcluster.Cluster, want string) {
	t.Helper()
	testcluster.Eventually(t, "the pods on "+want, func() error {
		got := c.Kubectl(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}")
		if got != want {
			return fmt.Errorf("they are on %q", got)
		}
		return nil
	})
}

// watchAvailable follows the Deployment; the function that it returns ends that
// and says how many pods were available at least.
func watchAvailable(t *testing.T, c *testcluster.Cluster) func() int32 {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	changes, err := c.Clientset(t).AppsV1().Deployments("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	least := int32(3)
	var wg sync.WaitGroup
	wg.Go(func() {
		for e := range changes.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok && e.Type != watch.Deleted {
				least = min(least, d.Status.AvailableReplicas)
			}
		}
	})
	return func() int32 {
		stop()
		changes.Stop()
		wg.Wait()
		return least
	}
}

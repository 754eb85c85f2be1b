package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

// set is a StatefulSet whose pods write a line into their volume when they
// start, and wait.
const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      securityContext: {runAsUser: 1000, fsGroup: 2000}
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}}
      containers:
      - name: c
        image: IMAGE
        command: [sh, -c, 'echo "$HOSTNAME by version ONE" >> /data/log; exec sleep 1000000']
        readinessProbe: {exec: {command: [cat, /data/log]}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
`

const others = `
apiVersion: v1
kind: Pod
metadata: {name: scratch}
spec:
  restartPolicy: Never
  containers: [{name: c, image: IMAGE, command: [sh, -c, 'echo kept > /scratch/f; cat /scratch/f'], volumeMounts: [{name: v, mountPath: /scratch, subPath: below}]}]
  volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec:
  containers: [{name: c, image: IMAGE, command: [sleep, "1000000"]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: nothing}}]
`

func manifest(text string) string {
	return strings.ReplaceAll(text, "IMAGE", testcluster.BusyboxImage)
}

func TestStorage(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 2})
	c.LoadBusybox(t)
	c.KubectlInput(t, manifest(set+"---"+others), "apply", "-f", "-")
	rollout(t, c)
	if got := c.Kubectl(t, "get", "storageclass", "--no-headers"); !strings.HasPrefix(strings.Join(strings.Fields(got), " "),
		"local-path (default) navarch.dev/local-path Delete WaitForFirstConsumer true") {
		t.Errorf("the class: %s", got)
	}
	homes := nodesOf(t, c)
	if homes["db-0"] == homes["db-1"] {
		t.Errorf("both pods are on %s", homes["db-0"])
	}
	for name, node := range homes {
		expectLog(t, c, name, name+" by version ONE")
		expectVolume(t, c, name, node)
	}
	expectOthers(t, c)
	t.Run("devices", func(t *testing.T) { useDevices(t, c) })

	// A pod that is deleted comes back to its data.
	c.Kubectl(t, "delete", "pod", "db-0", "--wait")
	rollout(t, c)
	expectLog(t, c, "db-0", "db-0 by version ONE\ndb-0 by version ONE")

	// So does one that is updated, and each stays where its volume is.
	c.KubectlInput(t, strings.ReplaceAll(manifest(set), "ONE", "TWO"), "apply", "-f", "-")
	rollout(t, c)
	expectLog(t, c, "db-1", "db-1 by version ONE\ndb-1 by version TWO")
	if now := nodesOf(t, c); fmt.Sprint(now) != fmt.Sprint(homes) {
		t.Errorf("the pods have moved from %v to %v", homes, now)
	}

	// Claims grow, and outlive the StatefulSet; their data end with them.
	c.Kubectl(t, "patch", "pvc", "data-db-0", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"20Mi"}}}}`)
	c.Kubectl(t, "wait", "pvc/data-db-0", "--for=jsonpath={.status.capacity.storage}=20Mi", "--timeout=60s")
	path := c.Kubectl(t, "get", "pv", volumeOf(t, c, "data-db-0"), "-o", "jsonpath={.spec.local.path}")
	if _, err := os.Stat(filepath.Join(path, "log")); err != nil {
		t.Error(err)
	}
	c.Kubectl(t, "delete", "statefulset", "db", "--wait")
	c.Kubectl(t, "delete", "pod", "--all", "--wait", "--timeout=60s")
	if got := c.Kubectl(t, "get", "pvc", "-o", "name"); strings.Count(got, "data-db-") != 2 {
		t.Errorf("claims that are left: %s", got)
	}
	c.Kubectl(t, "delete", "pvc", "--all", "--timeout=60s")
	testcluster.Eventually(t, "no volume is left", func() error {
		if got := c.Kubectl(t, "get", "pv", "-o", "name"); got != "" {
			return fmt.Errorf("there are %s", got)
		}
		return nil
	})
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the data are still there: %v", err)
	}
}

func rollout(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	c.Kubectl(t, "rollout", "status", "statefulset/db", "--timeout=120s")
}

// nodesOf returns where the StatefulSet's pods are.
func nodesOf(t *testing.T, c *testcluster.Cluster) map[string]string {
	t.Helper()
	homes := make(map[string]string)
	out := c.Kubectl(t, "get", "pods", "-l", "app=db", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\n"}{end}`)
	for line := range strings.Lines(out) {
		if name, node, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			homes[name] = node
		}
	}
	return homes
}

func expectLog(t *testing.T, c *testcluster.Cluster, pod, want string) {
	t.Helper()
	if got := c.Kubectl(t, "exec", pod, "--", "cat", "/data/log"); strings.TrimSpace(got) != want {
		t.Errorf("%s has written:\n%s\nnot:\n%s", pod, got, want)
	}
}

func volumeOf(t *testing.T, c *testcluster.Cluster, claim string) string {
	t.Helper()
	return c.Kubectl(t, "get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}")
}

// expectVolume looks at what kubectl shows of a pod's claim and volume.
func expectVolume(t *testing.T, c *testcluster.Cluster, pod, node string) {
	t.Helper()
	claim := "data-" + pod
	pv := volumeOf(t, c, claim)
	row := strings.Join(strings.Fields(c.Kubectl(t, "get", "pvc", claim, "--no-headers")), " ")
	if want := claim + " Bound " + pv + " 10Mi RWO local-path <unset>"; !strings.HasPrefix(row, want) {
		t.Errorf("the claim: %s, not %s", row, want)
	}
	row = strings.Join(strings.Fields(c.Kubectl(t, "get", "pv", pv, "--no-headers")), " ")
	if want := pv + " 10Mi RWO Delete Bound default/" + claim + " local-path <unset>"; !strings.HasPrefix(row, want) {
		t.Errorf("the volume: %s, not %s", row, want)
	}
	if got := c.Kubectl(t, "get", "pv", pv, "-o", `jsonpath={.metadata.labels.navarch\.dev/node}`); got != node {
		t.Errorf("the volume of %s is on %s, not on %s", pod, got, node)
	}
}

// expectOthers looks at a pod with a volume of its own, and one that lacks its
// claim.
func expectOthers(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	c.Kubectl(t, "wait", "pod/scratch", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
	if got := c.Kubectl(t, "logs", "scratch"); got != "kept\n" {
		t.Errorf("the pod with an ephemeral volume said %q", got)
	}
	testcluster.Eventually(t, "the pod says which claim it lacks", func() error {
		got := c.Kubectl(t, "get", "pod", "waits", "-o", `jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}`)
		if !strings.Contains(got, `0/2 nodes are available: persistentvolumeclaim "nothing" not found.`) {
			return fmt.Errorf("its condition is %q", got)
		}
		return nil
	})
}

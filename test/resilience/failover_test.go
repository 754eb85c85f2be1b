package resilience_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/testcluster"
)

// recorder is a StatefulSet whose pod may run once at a time. It writes the
// machine's uptime, in which all nodes of the test agree, into a file of its own,
// many times a second, and does not end when it is asked to.
func recorder(dir string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: single}
spec:
  serviceName: single
  selector: {matchLabels: {app: single}}
  template:
    metadata: {labels: {app: single}}
    spec:
      terminationGracePeriodSeconds: 60
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-2]}]}
      volumes: [{name: records, hostPath: {path: %[1]s}}]
      containers:
      - name: main
        image: %[2]s
        env:
        - {name: ID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
        command:
        - sh
        - -c
        - |
          trap '' TERM
          while :; do read up idle </proc/uptime; echo $up >>/records/$ID; usleep 10000; done
        volumeMounts: [{name: records, mountPath: /records}]
`, dir, testcluster.BusyboxImage)
}

// recorded is when the first and the last of a pod's records were written.
type recorded struct{ first, last float64 }

func records(t *testing.T, dir, id string) recorded {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, id))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(data))
	if len(words) == 0 {
		t.Fatalf("pod %s has recorded nothing", id)
	}
	var r recorded
	for word, into := range map[string]*float64{words[0]: &r.first, words[len(words)-1]: &r.last} {
		if *into, err = strconv.ParseFloat(word, 64); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// A node is cut off with its agent running, dead or hanging: its pods are
// replaced, and at no time does one of them run twice.
func TestFailoverNeverRunsAPodTwice(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 3, Args: []string{"--fast-failover"}})
	c.LoadBusybox(t)
	for _, tt := range []struct {
		name  string
		agent syscall.Signal // what its agent gets before the cut
	}{{name: "agent runs"}, {name: "agent killed", agent: syscall.SIGKILL}, {name: "agent hangs", agent: syscall.SIGSTOP}} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c.KubectlInput(t, recorder(dir), "apply", "-f", "-")
			c.KubectlInput(t, pinned("staying", "node-2"), "apply", "-f", "-")
			c.Kubectl(t, "rollout", "status", "statefulset/single", "--timeout=120s")
			c.Kubectl(t, "wait", "--for=condition=Ready", "pod/staying", "--timeout=60s")
			staying := containerIDs(pods(t, c, "app=staying"))
			before := pods(t, c, "app=single")[0]
			if before.Spec.NodeName != "node-2" {
				t.Fatalf("the pod is on %s", before.Spec.NodeName)
			}
			testcluster.Eventually(t, "the agent promises to stop its pods", func() error {
				if out := lease(t, c, "node-2"); !strings.Contains(out, "fencing.navarch.dev/promise") {
					return fmt.Errorf("the Lease has %s", out)
				}
				return nil
			})
			agent := c.PID(t, "agent-node-2")
			if tt.agent != 0 {
				if err := syscall.Kill(agent, tt.agent); err != nil {
					t.Fatal(err)
				}
			}
			c.CutOff(t, "node-2")
			cut := time.Now()
			testcluster.Eventually(t, "the Store notes that the heartbeat stream is broken", func() error {
				if out := lease(t, c, "node-2"); !strings.Contains(out, "heartbeat.navarch.dev/broken") {
					return fmt.Errorf("the Lease has %s", out)
				}
				return nil
			})
			after := replacement(t, c, before)
			t.Logf("replaced on %s after %s", after.Spec.NodeName, time.Since(cut))
			c.Reconnect(t, "node-2")
			if tt.agent == syscall.SIGSTOP {
				if err := syscall.Kill(agent, syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
			testcluster.Eventually(t, "the node is back and runs what it should", func() error {
				if out := c.Kubectl(t, "get", "node", "node-2", "-o", "jsonpath={.spec.taints}{.status.conditions[?(@.type=='Ready')].status}"); out != "True" {
					return fmt.Errorf("taints and readiness are %s", out)
				}
				if out := lease(t, c, "node-2"); strings.Contains(out, "mark") {
					return fmt.Errorf("its Lease is marked: %s", out)
				}
				return runsOnly(t, c, "node-2")
			})
			if old, fresh := records(t, dir, string(before.UID)), records(t, dir, string(after.UID)); old.last >= fresh.first {
				t.Errorf("the old pod ran until %.2f, the new one from %.2f on", old.last, fresh.first)
			} else {
				t.Logf("%.2f s between the old pod's last record and the new one's first", fresh.first-old.last)
			}
			if now := containerIDs(pods(t, c, "app=staying")); now != staying {
				t.Errorf("the pod that tolerates everything was stopped: %s, now %s", staying, now)
			}
			c.Kubectl(t, "delete", "statefulset/single", "--cascade=orphan")
			c.Kubectl(t, "delete", "pod/staying", "pod/single-0", "--grace-period=1")
		})
	}
}

// lease returns the annotations of a node's Lease.
func lease(t *testing.T, c *testcluster.Cluster, node string) string {
	t.Helper()
	return c.Kubectl(t, "get", "lease", "-n", "kube-node-lease", node, "-o", "jsonpath={.metadata.annotations}")
}

// replacement waits for another pod of the StatefulSet to run.
func replacement(t *testing.T, c *testcluster.Cluster, before corev1.Pod) corev1.Pod {
	t.Helper()
	var after corev1.Pod
	testcluster.Eventually(t, "the pod is replaced", func() error {
		for _, p := range pods(t, c, "app=single") {
			if p.UID != before.UID && isReady(p) {
				after = p
				return nil
			}
		}
		return fmt.Errorf("there is %+v", pods(t, c, "app=single"))
	})
	return after
}

package workloads

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/testcluster"
)

// fixture is the cluster that all parts share.
type fixture struct{ *testcluster.Cluster }

func TestWorkloads(t *testing.T) {
	t.Setenv("NAVARCH_NODE_MONITOR_GRACE_PERIOD", "15s")
	f := &fixture{testcluster.Start(t, testcluster.Options{Nodes: 3, SplitServices: true})}
	f.LoadBusybox(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a job counts exactly while controllers are killed", f.testExactJob},
		{"an autoscaler follows the processor", f.testAutoscaler},
		{"a statefulset keeps its data when a node is lost", f.testLostNode},
	} {
		if !t.Run(part.name, part.run) {
			return
		}
	}
}

// apply applies a manifest that runs busybox.
func (f *fixture) apply(t *testing.T, manifest string) {
	t.Helper()
	f.KubectlInput(t, strings.ReplaceAll(manifest, "IMAGE", testcluster.BusyboxImage), "apply", "-f", "-")
}

func (f *fixture) read(t *testing.T, into any, args ...string) {
	t.Helper()
	if err := json.Unmarshal([]byte(f.Kubectl(t, append(args, "-o", "json")...)), into); err != nil {
		t.Fatal(err)
	}
}

// completions is how many indexes the Job has, about a quarter of whose pods
// fail.
const completions = 200

const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  completions: 200
  parallelism: 12
  completionMode: Indexed
  backoffLimit: 10000
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: IMAGE
        command: [sh, -c, "exit $(( $(od -An -N1 -tu1 /dev/urandom) < 64 ))"]
`

func (f *fixture) testExactJob(t *testing.T) {
	f.apply(t, job)
	var j batchv1.Job
	kill := int32(0)
	testcluster.EventuallyWithin(t, 10*time.Minute, "the job ends", func() error {
		j = batchv1.Job{} // a number that is 0 is not in the answer
		f.read(t, &j, "get", "job", "sum")
		if done := j.Status.Succeeded; done >= kill && done < completions {
			f.Kill(t, "controller")
			kill = done + completions/8
		}
		for _, c := range j.Status.Conditions {
			if c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("its status is %+v", j.Status)
	})
	if j.Status.Succeeded != completions || j.Status.CompletedIndexes != fmt.Sprintf("0-%d", completions-1) || j.Status.Active != 0 {
		t.Errorf("the job's status is %+v", j.Status)
	}
	var pods corev1.PodList
	f.read(t, &pods, "get", "pods", "-l", "job-name=sum")
	succeeded, failed := make(map[string]int), int32(0)
	for _, pod := range pods.Items {
		if len(pod.Finalizers) > 0 {
			t.Errorf("pod %s still has finalizers %v", pod.Name, pod.Finalizers)
		}
		switch pod.Status.Phase {
		case corev1.PodSucceeded:
			succeeded[pod.Annotations[batchv1.JobCompletionIndexAnnotation]]++
		case corev1.PodFailed:
			failed++
		default:
			t.Errorf("pod %s is %s", pod.Name, pod.Status.Phase)
		}
	}
	if failed != j.Status.Failed || failed == 0 {
		t.Errorf("%d pods have failed, the job counts %d", failed, j.Status.Failed)
	}
	for index, n := range succeeded {
		if n != 1 {
			t.Errorf("index %s succeeded %d times", index, n)
		}
	}
	if len(succeeded) != completions {
		t.Errorf("%d indexes have a pod that succeeded", len(succeeded))
	}
	f.Kubectl(t, "delete", "job", "sum", "--cascade=foreground", "--timeout=120s")
}

// busy is a Deployment whose pods use all the processor they get while the
// ConfigMap says so.
const busy = `
apiVersion: v1
kind: ConfigMap
metadata: {name: load}
data: {work: "yes"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: IMAGE
        command: [sh, -c, 'while true; do case $(cat /load/work) in yes) i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done;; *) sleep 1;; esac; done']
        resources: {requests: {cpu: 50m}, limits: {cpu: 150m}}
        volumeMounts: [{name: load, mountPath: /load}]
      volumes: [{name: load, configMap: {name: load}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 3
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
`

func (f *fixture) testAutoscaler(t *testing.T) {
	f.apply(t, busy)
	f.awaitReady(t, "busy", "3")
	f.Kubectl(t, "patch", "configmap", "load", "--type=merge", "-p", `{"data":{"work":"no"}}`)
	f.awaitReady(t, "busy", "1")
	f.Kubectl(t, "delete", "deployment/busy", "hpa/busy", "configmap/load")
}

// scalingTime bounds how long it takes until a Deployment has followed the
// load: the figures of several minutes, each of which tells of the last.
const scalingTime = 5 * time.Minute

func (f *fixture) awaitReady(t *testing.T, deployment, want string) {
	t.Helper()
	testcluster.EventuallyWithin(t, scalingTime, deployment+" has "+want+" ready pods", func() error {
		got := f.Kubectl(t, "get", "deployment", deployment, "-o", "jsonpath={.spec.replicas} {.status.readyReplicas}")
		if got != want+" "+want {
			return fmt.Errorf("replicas and ready ones: %s; autoscaler: %s", got,
				f.Kubectl(t, "get", "hpa", deployment, "-o", "jsonpath={.status}"))
		}
		return nil
	})
}

const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: db}}}
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

// testLostNode cuts off the node of a StatefulSet's pod. Its data are there
// only, so the pod is not made anew elsewhere; when the node is back, so is the
// pod with what it had written, and the next version can be rolled out.
func (f *fixture) testLostNode(t *testing.T) {
	f.apply(t, set)
	f.Kubectl(t, "rollout", "status", "statefulset/db", "--timeout=120s")
	node := f.Kubectl(t, "get", "pod", "db-1", "-o", "jsonpath={.spec.nodeName}")
	f.CutOff(t, node)
	testcluster.Eventually(t, "the pod is evicted from the lost node", func() error {
		if f.Kubectl(t, "get", "pod", "db-1", "-o", "jsonpath={.metadata.deletionTimestamp}") == "" {
			return errors.New("it is not being deleted")
		}
		return nil
	})
	if got := f.Kubectl(t, "get", "pod", "db-1", "-o", "jsonpath={.spec.nodeName}"); got != node {
		t.Errorf("there is a second pod, on %s, while the first may run on %s", got, node)
	}
	f.Reconnect(t, node)
	testcluster.Eventually(t, "the pod is made anew where its data are", func() error {
		got := f.Kubectl(t, "get", "pod", "db-1", "-o", "jsonpath={.spec.nodeName} {.metadata.deletionTimestamp}", "--ignore-not-found")
		if strings.TrimSpace(got) != node {
			return fmt.Errorf("its node and deletion are %q", got)
		}
		out, err := f.KubectlCommand(t.Context(), "rollout", "status", "statefulset/db", "--timeout=10s").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	f.expectLog(t, "db-1", "db-1 by version ONE", "db-1 by version ONE")
	f.expectLog(t, "db-0", "db-0 by version ONE")

	f.apply(t, strings.ReplaceAll(set, "ONE", "TWO"))
	f.Kubectl(t, "rollout", "status", "statefulset/db", "--timeout=120s")
	f.expectLog(t, "db-1", "db-1 by version ONE", "db-1 by version ONE", "db-1 by version TWO")
	f.expectLog(t, "db-2", "db-2 by version ONE", "db-2 by version TWO")
}

func (f *fixture) expectLog(t *testing.T, pod string, want ...string) {
	t.Helper()
	if got := strings.TrimSpace(f.Kubectl(t, "exec", pod, "--", "cat", "/data/log")); got != strings.Join(want, "\n") {
		t.Errorf("%s has written:\n%s\nnot:\n%s", pod, got, strings.Join(want, "\n"))
	}
}

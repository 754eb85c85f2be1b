package autoscaling

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

const image = "test.local/load:1"

// scalingTime bounds how long a workload takes to get its size: several looks
// at its metrics, which are 15 seconds apart.
const scalingTime = 2 * time.Minute

// workload is a Deployment of one pod with metrics, a Service in front of it,
// and an autoscaler that may shrink it at once.
const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata:
      labels: {app: NAME}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9102"}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: IMAGE, readinessProbe: {httpGet: {port: 9102, path: /metrics}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME, annotations: {prometheus.io/scrape: "true"}}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 9102}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: NAME, annotations: {autoscaling.navarch.dev/external-metrics: exporter}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME}
  minReplicas: MIN
  maxReplicas: 5
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
  metrics: [METRIC]
---
`

// exporter tells of something outside.
const exporter = `
apiVersion: v1
kind: Pod
metadata: {name: exporter, labels: {app: exporter}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: IMAGE}]
---
apiVersion: v1
kind: Service
metadata: {name: exporter, annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9102"}}
spec: {selector: {app: exporter}, ports: [{port: 9102}]}
`

// TestScalesByExposedMetrics tells the first pod of each workload, or the
// exporter, how much there is to do: the workload grows until each pod has its
// share, and shrinks when nothing is left: to one pod or, where the metric is
// known without pods, to none.
func TestScalesByExposedMetrics(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 2})
	c.LoadProgram(t, image, "./load")
	c.KubectlInput(t, strings.ReplaceAll(exporter, "IMAGE", image), "apply", "-f", "-")
	workloads := map[string]struct{ metric, told, app, least string }{
		// A pod's gauge; the series of another queue must not count.
		"pods": {`{type: Pods, pods: {metric: {name: jobs_waiting, selector: {matchLabels: {queue: mail}}}, target: {type: AverageValue, averageValue: "10"}}}`, "jobs", "pods", "1"},
		// How fast a counter grows in all pods of a Service.
		"object":   {`{type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: object}, metric: {name: requests_total}, target: {type: AverageValue, averageValue: "10"}}}`, "rate", "object", "1"},
		"external": {`{type: External, external: {metric: {name: requests}, target: {type: AverageValue, averageValue: "10"}}}`, "rate", "exporter", "0"},
	}
	for name, w := range workloads {
		manifest := strings.NewReplacer("NAME", name, "IMAGE", image, "METRIC", w.metric, "MIN", w.least).Replace(workload)
		c.KubectlInput(t, manifest, "apply", "-f", "-")
	}
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/exporter", "--timeout=60s")
	for name, w := range workloads {
		c.Kubectl(t, "rollout", "status", "deployment/"+name, "--timeout=60s")
		tell(t, c, w.app, w.told, "25") // for two pods and a half
	}
	for name := range workloads {
		awaitSize(t, c, name, "3")
	}
	for _, w := range workloads {
		tell(t, c, w.app, w.told, "0")
	}
	for name, w := range workloads {
		awaitSize(t, c, name, w.least)
	}
	// What has been scaled to nothing comes back for work.
	tell(t, c, "exporter", "rate", "15")
	awaitSize(t, c, "external", "2")
	testcluster.Contains(t, "the events", c.Kubectl(t, "get", "events", "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`),
		"New size: 3; reason: pods metric jobs_waiting above target", "New size: 3; reason: Service metric requests_total above target",
		"New size: 0; reason: All metrics below target", "New size: 3; reason: external metric requests(<none>) above target", "New size: 1; reason: All metrics below target")
}

// tell sets what all pods of an app say.
func tell(t *testing.T, c *testcluster.Cluster, app, metric, value string) {
	t.Helper()
	for pod := range strings.FieldsSeq(c.Kubectl(t, "get", "pods", "-l", "app="+app, "-o", "name")) {
		c.Kubectl(t, "exec", pod, "--", "/load", "set", metric, value)
	}
}

func awaitSize(t *testing.T, c *testcluster.Cluster, name, want string) {
	t.Helper()
	testcluster.EventuallyWithin(t, scalingTime, name+" has "+want+" ready pods", func() error {
		got := c.Kubectl(t, "get", "deployment", name, "-o", "jsonpath={.spec.replicas} {.status.readyReplicas}")
		if got != want+" "+want && got+"0" != want+" "+want {
			return fmt.Errorf("replicas and ready ones: %s; autoscaler: %s", got,
				c.Kubectl(t, "get", "hpa", name, "-o", `jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}`))
		}
		return nil
	})
}

// Package trace_test follows a rollout through all six services by its trace.
package trace_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"navarch.dev/navarch/internal/testcluster"
	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

const rollout = `apiVersion: apps/v1
kind: Deployment
metadata: {name: traced}
spec:
  replicas: 2
  selector: {matchLabels: {app: traced}}
  template:
    metadata: {labels: {app: traced}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: ` + testcluster.BusyboxImage + `
        command: ["httpd", "-f", "-p", "8080", "-h", "/www"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: traced}
spec:
  selector: {app: traced}
  ports: [{port: 80, targetPort: 8080}]
`

// A rollout's trace:
//
//	gateway.create deployments
//	└── store.Create
//	    └── deployment.reconcile → store.Create → replicaset.reconcile → store.Create
//	        └── scheduler.schedule
//	            ├── scheduler.bind → store.Bind
//	            ├── agent.startPod: sandbox, CNI, volumes, image, container, ready
//	            └── endpointslice.reconcile → store.Create → proxy.program
func TestRolloutIsOneTrace(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	c.LoadBusybox(t)
	c.KubectlInput(t, rollout, "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/traced", "--timeout=120s")

	// Asked for right after the rollout, the trace has the last spans all the
	// same.
	var trace tracev1.GetTraceResponse
	if err := protojson.Unmarshal([]byte(c.Tool(t, "trace", "deployment/traced", "-o", "json")), &trace); err != nil {
		t.Fatal(err)
	}
	tree := newTree(trace.GetSpans())
	t.Logf("the trace:\n%s", c.Tool(t, "trace", "deployment/traced"))
	checkPaths(t, tree)
	checkServices(t, tree)
	checkOneRoot(t, tree)
	checkNothingFailed(t, tree)
	checkEachPodOnce(t, tree)
}

func checkPaths(t *testing.T, tree tree) {
	toPod := []string{"gateway.create deployments", "store.Create", "deployment.reconcile", "store.Create", "replicaset.reconcile", "store.Create", "scheduler.schedule"}
	for _, rest := range [][]string{
		{"scheduler.bind", "store.Bind"},
		{"agent.startPod", "sandbox.create"},
		{"agent.startPod", "cni.add"},
		{"agent.startPod", "volumes.setup"},
		{"agent.startPod", "image.ensure"},
		{"agent.startPod", "container.create"},
		{"agent.startPod", "container.start"},
		{"agent.startPod", "agent.podReady"},
		{"endpointslice.reconcile", "proxy.program"},
	} {
		path := slices.Concat(toPod, rest)
		if !tree.has(path) {
			t.Errorf("no span path %s", strings.Join(path, " → "))
		}
	}
}

func checkServices(t *testing.T, tree tree) {
	seen := make(map[string]bool)
	for _, s := range tree.spans {
		seen[s.GetService()] = true
	}
	for _, service := range []string{"gateway", "store", "controller", "scheduler", "agent", "proxy"} {
		if !seen[service] {
			t.Errorf("no span of %s in %d spans", service, len(tree.spans))
		}
	}
}

func checkOneRoot(t *testing.T, tree tree) {
	for _, s := range tree.spans {
		if tree.byID[s.GetParentSpanId()] == nil && !strings.HasPrefix(s.GetName(), "gateway.") {
			t.Errorf("span %s of %s has no parent in the trace", s.GetName(), s.GetService())
		}
	}
}

// Lost races are answered by reading again: they are no failures.
func checkNothingFailed(t *testing.T, tree tree) {
	for _, s := range tree.spans {
		if s.GetError() != "" {
			t.Errorf("span %s of %s failed: %s", s.GetName(), s.GetService(), s.GetError())
		}
	}
}

func checkEachPodOnce(t *testing.T, tree tree) {
	var pods int
	for _, start := range tree.spans {
		if start.GetName() != "agent.startPod" {
			continue
		}
		pods++
		for _, name := range []string{"sandbox.create", "cni.add", "volumes.setup", "image.ensure", "container.create", "container.start", "agent.podReady"} {
			var n int
			for _, s := range tree.spans {
				if s.GetName() == name && s.GetParentSpanId() == start.GetSpanId() {
					n++
				}
			}
			if n != 1 {
				t.Errorf("the start of pod %s has %d spans %s, want 1", start.GetAttributes()["k8s.pod.name"], n, name)
			}
		}
	}
	if pods != 2 {
		t.Errorf("%d pods were started, want 2", pods)
	}
}

type tree struct {
	byID  map[string]*tracev1.Span
	spans []*tracev1.Span
}

func newTree(spans []*tracev1.Span) tree {
	t := tree{byID: make(map[string]*tracev1.Span), spans: spans}
	for _, s := range spans {
		t.byID[s.GetSpanId()] = s
	}
	return t
}

// has says whether some span has ancestors whose names begin with the path's
// elements in order; spans between them do not count.
func (t tree) has(path []string) bool {
	for _, s := range t.spans {
		rest := len(path) - 1
		if !strings.HasPrefix(s.GetName(), path[rest]) {
			continue
		}
		for s != nil && rest >= 0 {
			if strings.HasPrefix(s.GetName(), path[rest]) {
				rest--
			}
			s = t.byID[s.GetParentSpanId()]
		}
		if rest < 0 {
			return true
		}
	}
	return false
}

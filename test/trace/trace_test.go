// Package trace_test follows a rollout through all six services by its trace.
package trace_test

import (
	"fmt"
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
//	        └── scheduler.schedule → agent.startPod → sandbox, CNI, container …
func TestRolloutIsOneTrace(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	c.LoadBusybox(t)
	c.KubectlInput(t, rollout, "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/traced", "--timeout=120s")

	var trace tracev1.GetTraceResponse
	services := []string{"gateway", "store", "controller", "scheduler", "agent", "proxy"}
	testcluster.Eventually(t, "the trace holds spans of all services", func() error {
		trace.Reset()
		if err := protojson.Unmarshal([]byte(c.Tool(t, "trace", "deployment/traced", "-o", "json")), &trace); err != nil {
			return err
		}
		seen := make(map[string]bool)
		for _, s := range trace.GetSpans() {
			seen[s.GetService()] = true
		}
		for _, service := range services {
			if !seen[service] {
				return fmt.Errorf("none of %s in %d spans", service, len(trace.GetSpans()))
			}
		}
		return nil
	})
	tree := newTree(trace.GetSpans())
	for _, path := range [][]string{
		{"gateway.", "store.Create", "deployment.reconcile", "store.Create", "replicaset.reconcile", "store.Create", "scheduler.schedule", "agent.startPod", "container.start"},
		{"agent.startPod", "sandbox.create"},
		{"agent.startPod", "cni.add"},
		{"agent.startPod", "container.create"},
	} {
		if !tree.has(path) {
			t.Errorf("no span path %s in\n%s", strings.Join(path, " → "), c.Tool(t, "trace", "deployment/traced"))
		}
	}
	var roots int
	for _, s := range trace.GetSpans() {
		if tree.byID[s.GetParentSpanId()] == nil {
			roots++
		}
	}
	if roots != 1 {
		t.Errorf("the trace has %d spans without a parent, want 1:\n%s", roots, c.Tool(t, "trace", "deployment/traced"))
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

// Package aggregation_test registers another API server, which runs in pods of
// a real cluster, and uses its API with kubectl.
package aggregation_test

import (
	"bufio"
	"context"
	"encoding/json"
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

const image = "navarch.test/widgetserver:v1"

const server = `apiVersion: v1
kind: ServiceAccount
metadata: {name: widgets}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: widgets-authentication-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: widgets, namespace: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: widgets-auth-delegator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: widgets, namespace: default}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: widgets}
spec:
  selector: {matchLabels: {app: widgets}}
  template:
    metadata: {labels: {app: widgets}}
    spec:
      serviceAccountName: widgets
      terminationGracePeriodSeconds: 1
      containers:
      - name: server
        image: ` + image + `
        args: [":8443"]
        ports: [{name: https, containerPort: 8443}]
        readinessProbe: {httpGet: {path: /healthz, port: https, scheme: HTTPS}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: widgets}
spec:
  selector: {app: widgets}
  ports: [{name: https, port: 443, targetPort: https}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.widgets.example.com}
spec:
  group: widgets.example.com
  version: v1
  service: {namespace: default, name: widgets}
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 1000
  versionPriority: 10
`

func TestAggregation(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{Nodes: 2})
	c.LoadProgram(t, image, "navarch.dev/navarch/test/aggregation/widgetserver")
	testcluster.Contains(t, "kubectl get apiservices", c.Kubectl(t, "get", "apiservices"), "v1.apps", "Local", "True")
	c.KubectlInput(t, server, "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=condition=Available", "apiservice/v1.widgets.example.com", "--timeout=40s")
	testcluster.Contains(t, "kubectl get apiservices", c.Kubectl(t, "get", "apiservice", "v1.widgets.example.com"), "default/widgets", "True")
	c.KubectlInput(t, `{"apiVersion": "widgets.example.com/v1", "kind": "Widget", "metadata": {"name": "bolt"}, "size": 3}`, "create", "-f", "-")
	testcluster.Contains(t, "kubectl get", c.Kubectl(t, "get", "wd"), "INCHES", "bolt", "3")
	testcluster.Contains(t, "kubectl explain", c.Kubectl(t, "explain", "widgets"), "Widget is a thing of some size.", "Size is in inches.")
	testcluster.Contains(t, "kubectl api-resources", c.Kubectl(t, "api-resources", "--api-group=widgets.example.com"), "widgets", "wd")
	testcluster.Contains(t, "kubectl get as a stranger", c.KubectlFails(t, "get", "widgets", "--as=stranger"), `User "stranger" cannot list resource "widgets"`)
	watch(t, c)
	c.Kubectl(t, "scale", "deployment/widgets", "--replicas=0")
	c.Kubectl(t, "wait", "--for=condition=Available=False", "apiservice/v1.widgets.example.com", "--timeout=1m")
	testcluster.Contains(t, "kubectl get apiservices", c.Kubectl(t, "get", "apiservice", "v1.widgets.example.com"), "False (MissingEndpoints)")
	testcluster.Contains(t, "kubectl get of an unavailable API", c.KubectlFails(t, "get", "--raw", "/apis/widgets.example.com/v1/widgets"), "Error from server (ServiceUnavailable): service unavailable")
	c.Kubectl(t, "get", "pods") // the rest of the API is as it was
}

// watch sees a widget that is made while kubectl watches.
func watch(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	command := c.KubectlCommand(ctx, "get", "--raw", "/apis/widgets.example.com/v1/namespaces/default/widgets?watch=1")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = command.Wait() }() // it was killed
	defer cancel()
	events := bufio.NewScanner(out)
	for _, name := range []string{"bolt", "nut"} {
		var event struct {
			Type   string
			Object struct{ Metadata struct{ Name string } }
		}
		if !events.Scan() || json.Unmarshal(events.Bytes(), &event) != nil || event.Object.Metadata.Name != name {
			t.Fatalf("the event is %s: %v", events.Text(), events.Err())
		}
		if name == "bolt" {
			c.KubectlInput(t, `{"apiVersion": "widgets.example.com/v1", "kind": "Widget", "metadata": {"name": "nut"}, "size": 1}`, "create", "-f", "-")
		}
	}
}

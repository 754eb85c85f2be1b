package kubectl_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/testcluster"
)

// scraper is a service account that may read metrics, as Prometheus has it, one
// that may not, one that may do what is not metrics, and a pod to be seen.
const scraper = `apiVersion: v1
kind: ServiceAccount
metadata: {name: scraper}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: stranger}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: scraper}
rules: [{apiGroups: [""], resources: [nodes/metrics, nodes/stats], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scraper}
subjects: [{kind: ServiceAccount, name: scraper, namespace: default}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operator}
rules: [{apiGroups: [""], resources: [nodes/proxy], verbs: [get, create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
---
apiVersion: v1
kind: Pod
metadata: {name: scraped}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: ` + testcluster.BusyboxImage + `, command: [sh, -c, "echo up; exec sleep 1000"], readinessProbe: {exec: {command: ["true"]}}, resources: {limits: {cpu: 500m, memory: 32Mi}}}
`

// nodeClient speaks to an agent's own port, as a client that has no certificate.
type nodeClient struct {
	http *http.Client
	base string
}

// newNodeClient finds a node as scrapers do, in the API.
func (s suite) newNodeClient(t *testing.T, node string) nodeClient {
	t.Helper()
	field := func(path string) string { return s.Kubectl(t, "get", "node", node, "-o", "jsonpath="+path) }
	address := field(`{.status.addresses[?(@.type=="InternalIP")].address}`)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.RESTConfig(t).CAData)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: certs.NodeServerName(node)}}
	t.Cleanup(transport.CloseIdleConnections)
	return nodeClient{
		http: &http.Client{Transport: transport},
		base: "https://" + net.JoinHostPort(address, field("{.status.daemonEndpoints.kubeletEndpoint.Port}")),
	}
}

// ask makes a request, with a bearer token if there is one.
func (c nodeClient) ask(t *testing.T, method, path, token string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.base+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// testNodePort reads of a node at its own port, where a kubelet is read, with a
// service account's token. It asks what the test of Kubernetes' feature
// NodeAuthenticator asks, and what Prometheus does.
func (s suite) testNodePort(t *testing.T) {
	s.KubectlInput(t, scraper, "apply", "-f", "-")
	t.Cleanup(func() { s.KubectlInput(t, scraper, "delete", "-f", "-", "--now") })
	s.Kubectl(t, "wait", "--for=condition=Ready", "pod/scraped", "--timeout=60s")
	node := s.newNodeClient(t, "node-1")
	token := func(account string) string { return strings.TrimSpace(s.Kubectl(t, "create", "token", account)) }
	stranger, reader := token("stranger"), token("scraper")
	for _, tt := range []struct {
		method, token string
		code          int
		body          string
	}{
		{"GET", "", 401, "Unauthorized"},
		{"HEAD", "", 401, ""},
		{"GET", "no-token", 401, "Unauthorized"},
		{"GET", stranger, 403, "Forbidden (user=system:serviceaccount:default:stranger, verb=get, resource=nodes, subresource(s)=[metrics])\n"},
		{"HEAD", stranger, 403, ""},
	} {
		if code, body := node.ask(t, tt.method, "/metrics", tt.token); code != tt.code || body != tt.body {
			t.Errorf("%s of /metrics with the token %q: %d %q, want %d %q", tt.method, tt.token, code, body, tt.code, tt.body)
		}
	}
	ofContainer := `\{container="c",.*id="/navarch/.*,image="` + regexp.QuoteMeta(testcluster.BusyboxImage) + `",name="[0-9a-f]+",namespace="default",pod="scraped"\} `
	for path, wants := range map[string][]string{
		"/metrics": {
			`(?m)^# TYPE navarch_rpc_handled_total counter$`, `(?m)^kubelet_running_pods [1-9]`, `(?m)^kubelet_running_containers\{container_state="running"\} [1-9]`,
			`(?m)^kubelet_node_name\{node="node-1"\} 1$`, `(?m)^kubelet_started_containers_total\{container_type="container"\} [1-9]`,
			`(?m)^kubelet_pod_start_duration_seconds_count [1-9]`, `(?m)^kubelet_runtime_operations_total\{operation_type="start_container"\} [1-9]`,
			`(?m)^kubelet_http_requests_total\{long_running="false",method="GET",path="metrics",server_type="readwrite"\} [1-9]`,
			`(?m)^kubelet_certificate_manager_client_ttl_seconds [1-9]`, `(?m)^process_resident_memory_bytes [1-9]`,
		},
		"/metrics/resource": {`(?m)^container_memory_working_set_bytes\{container="c",namespace="default",pod="scraped"\} [1-9]`},
		"/metrics/cadvisor": {
			`(?m)^container_cpu_usage_seconds_total` + ofContainer + `\d`, `(?m)^container_memory_working_set_bytes` + ofContainer + `[1-9]`,
			`(?m)^container_spec_cpu_quota` + ofContainer + `50000 `, `(?m)^container_spec_memory_limit_bytes` + ofContainer + `3\.3554432e\+07 `,
			`(?m)^container_network_receive_packets_total\{.*interface="eth0".*namespace="default",pod="scraped"\} \d`,
		},
		"/metrics/probes": {`(?m)^prober_probe_total\{container="c",namespace="default",pod="scraped",pod_uid=".+",probe_type="Readiness",result="successful"\} [1-9]`},
		"/stats/summary":  {`"nodeName":"node-1"`, `"podRef":\{"name":"scraped"`, `"name":"eth0","rxBytes":\d`},
	} {
		testcluster.Eventually(t, "the page "+path+" is shown to whom it may be", func() error {
			code, body := node.ask(t, "GET", path, reader)
			for _, want := range wants {
				if code != 200 || !regexp.MustCompile(want).MatchString(body) {
					return fmt.Errorf("%d without %s: %.3000s", code, want, body)
				}
			}
			return nil
		})
	}
	s.operate(t, node, token("operator"))
	if code, body := node.ask(t, "GET", "/pods", reader); code != 403 || !strings.Contains(body, "subresource(s)=[pods proxy]") {
		t.Errorf("/pods for who may read metrics: %d %s", code, body)
	}
}

// operate does what takes the right to nodes/proxy, of a kubelet or of the API's
// proxy: it looks into a pod and runs commands there.
func (s suite) operate(t *testing.T, node nodeClient, token string) {
	t.Helper()
	for _, tt := range []struct{ method, path, holds string }{
		{"GET", "/healthz?verbose", "[+]syncloop ok\n"},
		{"GET", "/pods", `"name":"scraped"`},
		{"GET", "/runningpods/", `"name":"scraped","namespace":"default"`},
		{"GET", "/configz", `"kubeletconfig"`},
		{"GET", "/containerLogs/default/scraped/c?tailLines=1", "up\n"},
		{"POST", "/run/default/scraped/c?cmd=echo+so", "so\n"},
	} {
		testcluster.Eventually(t, "the page "+tt.path+" is shown to whom it may be", func() error {
			if code, body := node.ask(t, tt.method, tt.path, token); code != 200 || !strings.Contains(body, tt.holds) {
				return fmt.Errorf("%d without %q: %.1000s", code, tt.holds, body)
			}
			return nil
		})
	}
	if page := s.Kubectl(t, "get", "--raw", "/api/v1/nodes/node-1/proxy/containerLogs/default/scraped/c"); page != "up\n" {
		t.Errorf("the log at the API is %q", page)
	}
	config := &rest.Config{Host: node.base, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{
		CAData: s.RESTConfig(t).CAData, ServerName: certs.NodeServerName("node-1"),
	}}
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", node.base+"/exec/default/scraped/c?command=cat&input=1&output=1")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("there and back"), Stdout: &out}); err != nil || out.String() != "there and back" {
		t.Errorf("exec: %q, %v", out.String(), err)
	}
}

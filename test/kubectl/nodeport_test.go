package kubectl_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/testcluster"
)

// scraper is a service account that may read metrics, as Prometheus has it, and
// one that may not.
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
	t.Cleanup(func() { s.KubectlInput(t, scraper, "delete", "-f", "-") })
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
	for path, want := range map[string]string{
		"/metrics":          "# TYPE navarch_rpc_handled_total counter",
		"/metrics/resource": "# TYPE node_cpu_usage_seconds_total counter",
		"/stats/summary":    `"nodeName":"node-1"`,
	} {
		testcluster.Eventually(t, "the page "+path+" is shown to whom it may be", func() error {
			if code, body := node.ask(t, "GET", path, reader); code != 200 || !strings.Contains(body, want) {
				return fmt.Errorf("%d without %q: %.300s", code, want, body)
			}
			return nil
		})
	}
	if code, body := node.ask(t, "GET", "/pods", reader); code != 403 || !strings.Contains(body, "subresource(s)=[pods proxy]") {
		t.Errorf("/pods for who may read metrics: %d %s", code, body)
	}
}

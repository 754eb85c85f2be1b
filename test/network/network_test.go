package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/internal/testcluster"
)

// TestNetwork runs everything on one cluster: what changes it comes last.
func TestNetwork(t *testing.T) {
	f := start(t)
	for _, part := range []struct {
		name string
		test func(*fixture, *testing.T)
	}{
		{"workloads", (*fixture).testWorkloads},
		{"pods", (*fixture).testPods},
		{"world", (*fixture).testWorld},
		{"services", (*fixture).testServices},
		{"node ports", (*fixture).testNodePorts},
		{"host ports", (*fixture).testHostPorts},
		{"no endpoints", (*fixture).testNoEndpoints},
		{"service CIDRs", (*fixture).testServiceCIDRs},
		{"names", (*fixture).testNames},
		{"readiness", (*fixture).testReadiness},
		{"latency", (*fixture).testLatency},
		{"killed proxy", (*fixture).testKilledProxy},
		{"rollout", (*fixture).testRollout},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(f, t) })
	}
}

func (f *fixture) testWorkloads(t *testing.T) {
	on := make(map[string]bool)
	for _, p := range f.pods {
		if p.Labels["app"] == "echo" {
			on[p.Spec.NodeName] = true
		}
	}
	if got := slices.Sorted(maps.Keys(on)); len(got) != 3 {
		t.Errorf("the DaemonSet has pods on %v only", got)
	}
	for _, name := range []string{"db-0", "db-1"} {
		if _, ok := f.pods[name]; !ok {
			t.Errorf("the StatefulSet has no pod %s", name)
		}
	}
	f.Kubectl(t, "wait", "--for=condition=Complete", "job/once", "--timeout=60s")
	f.Kubectl(t, "wait", "--for=jsonpath={.status.lastSuccessfulTime}", "cronjob/tick", "--timeout=60s")
	f.Kubectl(t, "delete", "cronjob/tick")
}

func (f *fixture) testPods(t *testing.T) {
	clientIP := f.ip(t, "client-1")
	for _, node := range slices.Sorted(maps.Keys(f.nodes)) {
		server := f.podOn(t, "echo", node)
		if got, want := f.in(t, "client-1", "get", "http://"+server.Status.PodIP+":8080"), server.Name+" "+clientIP; got != want {
			t.Errorf("pod on node-1 to pod on %s: %q, want %q", node, got, want)
		}
		f.in(t, "client-1", "dial", f.nodes[node]+":10250")
	}
	for _, url := range []string{"https://kubernetes.default.svc/version", "https://" + f.serviceIP(t, "kubernetes") + "/version"} {
		if got := f.in(t, "client-1", "get", url); !strings.Contains(got, "gitVersion") {
			t.Errorf("%s answers %q", url, got)
		}
	}
}

func (f *fixture) testWorld(t *testing.T) {
	for _, pod := range []string{"client-1", "client-2", "other/stranger"} {
		if got, want := f.in(t, pod, "get", "http://"+worldAddress), "world "+hostInWorld; got != want {
			t.Errorf("from %s: %q, want %q", pod, got, want)
		}
	}
}

func (f *fixture) testServices(t *testing.T) {
	ip := f.serviceIP(t, "echo")
	f.wantAll(t, f.in(t, "client-1", "get", "http://"+ip, "60"), "echo", f.ip(t, "client-1"))
	f.wantAll(t, f.in(t, "client-2", "get", "http://echo", "60"), "echo", f.ip(t, "client-2"))

	answers := strings.Fields(f.in(t, "client-1", "get", "http://echo-sticky", "30"))
	for i := 2; i < len(answers); i += 2 {
		if answers[i] != answers[0] {
			t.Fatalf("affinity: answered by %s, then by %s", answers[0], answers[i])
		}
	}
	if got := f.in(t, "client-1", "udp", ip+":81"); !strings.HasPrefix(got, "echo-") || !strings.HasSuffix(got, " "+f.ip(t, "client-1")) {
		t.Errorf("UDP: %q", got)
	}
	// A pod that reaches itself must not see its own address, which it would
	// answer without the translation back.
	self := strings.Fields(f.in(t, "db-0", "get", "http://single"))
	if len(self) != 2 || self[0] != "db-0" || self[1] == f.ip(t, "db-0") {
		t.Errorf("hairpin: %v", self)
	}
	if got, want := f.in(t, "db-1", "get", "http://single"), "db-0 "+f.ip(t, "db-1"); got != want {
		t.Errorf("to the only backend on another node: %q, want %q", got, want)
	}
	f.eventuallyIn(t, "client-1", "world "+hostInWorld, "get", "http://handmade")
}

// wantAll checks that all pods of a set have answered, to one client.
func (f *fixture) wantAll(t *testing.T, answers, app, client string) {
	t.Helper()
	seen := make(map[string]int)
	for line := range strings.Lines(answers) {
		name, from, _ := strings.Cut(strings.TrimSpace(line), " ")
		seen[name]++
		if client != "" && from != client {
			t.Errorf("%s saw the client %s, want %s", name, from, client)
		}
	}
	for _, p := range f.pods {
		if p.Labels["app"] == app && seen[p.Name] == 0 {
			t.Errorf("%s was never chosen: %v", p.Name, seen)
		}
	}
}

func (f *fixture) testNodePorts(t *testing.T) {
	// The policy is for clients from outside: a pod that asks its own node is
	// led to other nodes, too.
	for pod, node := range map[string]string{"client-1": "node-1", "client-2": "node-2", "other/stranger": "node-3"} {
		if got := f.in(t, pod, "get", "http://"+f.nodes[node]+":30081"); !strings.HasPrefix(got, "db-0 ") {
			t.Errorf("from a pod to the local port of its node %s: %q", node, got)
		}
	}
	home := f.pods["db-0"].Spec.NodeName
	for name, address := range f.nodes {
		var answers []string
		for range 40 {
			answers = append(answers, fetch(t, "http://"+address+":30080"))
		}
		f.wantAll(t, strings.Join(answers, "\n"), "echo", "")
		if got := f.in(t, "client-1", "get", "http://"+address+":30080"); !strings.HasPrefix(got, "echo-") {
			t.Errorf("from a pod to %s: %q", name, got)
		}
		if got := f.in(t, "client-1", "udp", address+":30080"); !strings.HasPrefix(got, "echo-") {
			t.Errorf("from a pod to %s over UDP: %q", name, got)
		}
		// Local: on the node that has a backend it sees the client's own address;
		// the others do not answer.
		if name == home {
			got := strings.Fields(fetch(t, "http://"+address+":30081"))
			if len(got) != 2 || got[0] != "db-0" || slices.Contains(slices.Collect(maps.Values(f.nodes)), got[1]) {
				t.Errorf("local port of the backend's node: %v, want the host's own address", got)
			}
			continue
		}
		conn, err := net.DialTimeout("tcp", address+":30081", 300*time.Millisecond)
		if err == nil {
			_ = conn.Close()
			t.Errorf("the local port of %s answers without a backend there", name)
		}
	}
}

func (f *fixture) testHostPorts(t *testing.T) {
	at := f.nodes["node-2"] + ":8099"
	if got := fetch(t, "http://"+at); !strings.HasPrefix(got, "second ") {
		t.Errorf("from the host: %q", got)
	}
	for _, pod := range []string{"client-1", "client-2", "other/stranger"} {
		if got := f.in(t, pod, "get", "http://"+at); !strings.HasPrefix(got, "second ") {
			t.Errorf("from %s: %q", pod, got)
		}
	}
	if got := f.in(t, "client-1", "udp", at); !strings.HasPrefix(got, "second ") {
		t.Errorf("over UDP: %q", got)
	}
}

func (f *fixture) testNoEndpoints(t *testing.T) {
	for _, to := range []string{f.serviceIP(t, "nobody") + ":80", f.nodes["node-1"] + ":30082"} {
		if _, err := f.try(t, "client-1", "dial", to); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("from a pod to %s: %v, want a refusal", to, err)
		}
	}
	_, err := net.DialTimeout("tcp", f.nodes["node-2"]+":30082", 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("from the host: %v, want a refusal", err)
	}
}

// An endpoint that is not ready is taken out of the Service and of its names,
// and comes back.
func (f *fixture) testReadiness(t *testing.T) {
	var all []string
	for name := range f.nodes {
		all = append(all, f.podOn(t, "echo", name).Status.PodIP)
	}
	slices.Sort(all)
	out := f.podOn(t, "echo", "node-3")
	rest := slices.DeleteFunc(slices.Clone(all), func(ip string) bool { return ip == out.Status.PodIP })
	f.in(t, "client-1", "get", "http://"+out.Status.PodIP+":8080/set-unready?true")
	f.eventuallyIn(t, "client-1", strings.Join(rest, "\n"), "lookup", "a", "echo-headless")
	if got := f.in(t, "client-1", "get", "http://echo", "30"); strings.Contains(got, out.Name) {
		t.Error("a pod that is not ready is still chosen")
	}
	f.in(t, "client-1", "get", "http://"+out.Status.PodIP+":8080/set-unready?false")
	f.eventuallyIn(t, "client-1", strings.Join(all, "\n"), "lookup", "a", "echo-headless")
}

// How soon a new Service is reachable through a node.
func (f *fixture) testLatency(t *testing.T) {
	services := f.Clientset(t).CoreV1().Services("default")
	var took []time.Duration
	for i := range 5 {
		port := int32(30090 + i)
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("fresh-%d", i)},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "echo"},
				Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http"), NodePort: port}},
			},
		}
		begin := time.Now()
		if _, err := services.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for {
			conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", f.nodes["node-1"], port), time.Second)
			if err == nil {
				_ = conn.Close()
				break
			}
			if time.Since(begin) > time.Minute {
				t.Fatalf("a new Service is not reachable: %v", err)
			}
		}
		took = append(took, time.Since(begin).Round(100*time.Microsecond))
	}
	slices.Sort(took)
	t.Logf("Service created -> reachable: median %v of %v", took[len(took)/2], took)
}

// Traffic goes on while a node's proxy is killed and started again, and
// changes made meanwhile are carried out.
func (f *fixture) testKilledProxy(t *testing.T) {
	l := f.startLoad(t, "client-1", "http://"+f.serviceIP(t, "echo"))
	f.Kill(t, "proxy-node-1")
	f.Kubectl(t, "expose", "service/echo", "--name=after", "--port=80", "--target-port=8080")
	f.eventuallyIn(t, "client-1", "ok", "get", "http://after/ok")
	if requests, failures, text := l.stop(t); requests < 10 || failures > 0 {
		t.Errorf("while the proxy was killed: %s", text)
	}
}

// A rolling update loses no request where pods are ready before they are used,
// be it that they end a moment after they are told to or at once.
func (f *fixture) testRollout(t *testing.T) {
	for _, name := range []string{"web", "hasty"} {
		l := f.startLoad(t, "client-1", "http://"+f.serviceIP(t, name))
		f.Kubectl(t, "rollout", "restart", "deployment/"+name)
		f.Kubectl(t, "rollout", "status", "deployment/"+name, "--timeout=120s")
		// The old pods have not ended yet.
		testcluster.Eventually(t, "only new pods are left", func() error {
			if names := strings.Fields(f.Kubectl(t, "get", "pods", "-l", "app="+name, "-o", "name")); len(names) != 3 {
				return fmt.Errorf("there are %v", names)
			}
			return nil
		})
		_, failures, text := l.stop(t)
		if failures > 0 {
			t.Errorf("a rolling update of %s lost requests: %s", name, text)
		}
	}
}

// fetch asks from the host.
func fetch(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Errorf("from the host: %v", err)
		return ""
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Errorf("from the host: %v", err)
	}
	return strings.TrimSpace(string(body))
}

package grpcurl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

const pod = `apiVersion: v1
kind: Pod
metadata: {name: seen, labels: {app: seen}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: ` + testcluster.BusyboxImage + `
    command: ["sleep", "1000000"]
    ports: [{containerPort: 8080, name: http}]
    resources: {limits: {memory: 32Mi}}
`

// endpoint is a process and the name in its certificate.
type endpoint struct{ address, serverName string }

// endpoints finds the processes of a cluster of one node.
func endpoints(t *testing.T, c *testcluster.Cluster) (controlPlane, agent, proxy endpoint) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, "cluster.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ports struct{ StorePort, AgentPort, ProxyPort int }
	if err := json.Unmarshal(data, &ports); err != nil {
		t.Fatal(err)
	}
	node := c.Kubectl(t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	at := func(host string, port int, service string) endpoint {
		return endpoint{net.JoinHostPort(host, strconv.Itoa(port)), service + ".navarch.internal"}
	}
	return at("127.0.0.1", ports.StorePort, "store"), at(node, ports.AgentPort, "agent"), at(node, ports.ProxyPort, "proxy")
}

// command is grpcurl with the local user's certificate.
func command(ctx context.Context, c *testcluster.Cluster, e endpoint, flags []string, args ...string) *exec.Cmd {
	pki := func(file string) string { return filepath.Join(c.Dir, "pki", file) }
	all := slices.Concat([]string{
		"-cacert", pki("ca.crt"), "-cert", pki("admin.crt"), "-key", pki("admin.key"), "-servername", e.serverName,
	}, flags, []string{e.address}, args)
	return exec.CommandContext(ctx, testcluster.Binary("tools/grpcurl"), all...)
}

func grpcurl(t *testing.T, c *testcluster.Cluster, e endpoint, flags []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := command(ctx, c, e, flags, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("grpcurl %s %s: %v\n%s", e.address, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func TestGrpcurlSeesEverything(t *testing.T) {
	if _, err := os.Stat(testcluster.Binary("tools/grpcurl")); err != nil {
		t.Fatalf("%v: run 'make grpcurl'", err)
	}
	c := testcluster.Start(t, testcluster.Options{})
	c.LoadBusybox(t)
	c.KubectlInput(t, pod, "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/seen", "--timeout=120s")
	controlPlane, agent, proxy := endpoints(t, c)

	for _, process := range []struct {
		name     string
		at       endpoint
		services []string
	}{
		{"control plane", controlPlane, []string{
			"navarch.store.v1.StoreService", "navarch.scheduler.v1.SchedulerService",
			"navarch.controller.v1.ControllerService", "navarch.trace.v1.TraceService",
		}},
		{"agent", agent, []string{"navarch.node.v1.NodeService"}},
		{"proxy", proxy, []string{"navarch.proxy.v1.ProxyService"}},
	} {
		t.Run(process.name, func(t *testing.T) { describes(t, c, process.at, process.services) })
	}
	t.Run("get", func(t *testing.T) { printsPod(t, c, controlPlane) })
	t.Run("list", func(t *testing.T) { listsPods(t, c, controlPlane) })
	t.Run("watch", func(t *testing.T) { watchesPods(t, c, controlPlane) })
	t.Run("calls", func(t *testing.T) { callsServices(t, c, controlPlane, agent, proxy) })
}

// describes checks that a process lists its services, describes each with all
// its methods and messages, and is healthy.
func describes(t *testing.T, c *testcluster.Cluster, e endpoint, services []string) {
	listed := strings.Fields(grpcurl(t, c, e, nil, "list"))
	for _, service := range append([]string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}, services...) {
		if !slices.Contains(listed, service) {
			t.Errorf("%s is not among the services %v", service, listed)
		}
	}
	for _, service := range services {
		if out := grpcurl(t, c, e, nil, "describe", service); !strings.Contains(out, service+" is a service:") {
			t.Errorf("describe %s:\n%s", service, out)
		}
		for method := range strings.FieldsSeq(grpcurl(t, c, e, nil, "list", service)) {
			if out := grpcurl(t, c, e, nil, "describe", method); !strings.Contains(out, method+" is a method:") {
				t.Errorf("describe %s:\n%s", method, out)
			}
		}
	}
	if out := grpcurl(t, c, e, nil, "describe", "k8s.io.api.core.v1.Pod"); !strings.Contains(out, ".k8s.io.api.core.v1.PodSpec spec = 2;") {
		t.Errorf("describe k8s.io.api.core.v1.Pod:\n%s", out)
	}
	if out := grpcurl(t, c, e, nil, "grpc.health.v1.Health/Check"); !strings.Contains(out, `"SERVING"`) {
		t.Errorf("health: %s", out)
	}
}

// seenPod is what the test wants of a pod that grpcurl printed field by field.
type seenPod struct {
	Type     string `json:"@type"`
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		NodeName   string
		Containers []struct {
			Name, Image string
			Command     []string
			Ports       []struct {
				Name          string
				ContainerPort int
			}
			Resources struct {
				Limits map[string]struct{ String string }
			}
		}
	}
	Status struct{ Phase string }
}

func (p seenPod) check() error {
	switch {
	case p.Type != "type.googleapis.com/k8s.io.api.core.v1.Pod":
		return fmt.Errorf("type %q", p.Type)
	case p.Metadata.Name != "seen" || p.Metadata.Namespace != "default" || p.Metadata.Labels["app"] != "seen":
		return fmt.Errorf("metadata %+v", p.Metadata)
	case p.Spec.NodeName == "" || len(p.Spec.Containers) != 1:
		return fmt.Errorf("spec %+v", p.Spec)
	case p.Status.Phase != "Running":
		return fmt.Errorf("status %+v", p.Status)
	}
	main := p.Spec.Containers[0]
	if main.Image != testcluster.BusyboxImage || !slices.Equal(main.Command, []string{"sleep", "1000000"}) ||
		len(main.Ports) != 1 || main.Ports[0].ContainerPort != 8080 {
		return fmt.Errorf("container %+v", main)
	}
	return nil
}

func printsPod(t *testing.T, c *testcluster.Cluster, store endpoint) {
	const request = `{"resource":{"version":"v1","resource":"pods"},"namespace":"default","name":"seen"}`
	out := grpcurl(t, c, store, []string{"-d", request}, "navarch.store.v1.StoreService/Get")
	var resp struct{ Object struct{ Object seenPod } }
	if err := json.Unmarshal([]byte(out), &resp); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := resp.Object.Object.check(); err != nil {
		t.Errorf("the pod: %v\n%s", err, out)
	}
}

func listsPods(t *testing.T, c *testcluster.Cluster, store endpoint) {
	const request = `{"resource":{"version":"v1","resource":"pods"},"namespace":"default","labelSelector":"app=seen"}`
	decoder := json.NewDecoder(strings.NewReader(grpcurl(t, c, store, []string{"-d", request}, "navarch.store.v1.StoreService/List")))
	var pods []seenPod
	for decoder.More() {
		var message struct {
			Objects struct{ Objects []struct{ Object seenPod } }
		}
		if err := decoder.Decode(&message); err != nil {
			t.Fatal(err)
		}
		for _, o := range message.Objects.Objects {
			pods = append(pods, o.Object)
		}
	}
	if len(pods) != 1 {
		t.Fatalf("%d pods were listed, want 1", len(pods))
	}
	if err := pods[0].check(); err != nil {
		t.Errorf("the pod: %v", err)
	}
}

// watchesPods follows a watch: the present pod, then a change of it.
func watchesPods(t *testing.T, c *testcluster.Cluster, store endpoint) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const request = `{"resource":{"version":"v1","resource":"pods"},"namespace":"default","fieldSelector":"metadata.name=seen"}`
	cmd := command(ctx, c, store, []string{"-d", request}, "navarch.store.v1.StoreService/Watch")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	decoder := json.NewDecoder(stdout)
	next := func(eventType string) seenPod {
		t.Helper()
		for {
			var message struct {
				Events struct {
					Events []struct {
						Type   string
						Object struct{ Object seenPod }
					}
				}
			}
			if err := decoder.Decode(&message); err != nil {
				t.Fatalf("wait for %s: %v", eventType, err)
			}
			for _, e := range message.Events.Events {
				if e.Type == eventType {
					return e.Object.Object
				}
			}
		}
	}
	if err := next("TYPE_ADDED").check(); err != nil {
		t.Errorf("the pod that was there: %v", err)
	}
	c.Kubectl(t, "label", "pod", "seen", "color=red")
	if changed := next("TYPE_MODIFIED"); changed.Metadata.Labels["color"] != "red" {
		t.Errorf("the changed pod has labels %v", changed.Metadata.Labels)
	}
}

// callsServices makes one call of each of the other services.
func callsServices(t *testing.T, c *testcluster.Cluster, controlPlane, agent, proxy endpoint) {
	for _, call := range []struct {
		at                    endpoint
		request, method, want string
	}{
		{controlPlane, `{"namespace":"default","name":"seen"}`, "navarch.scheduler.v1.SchedulerService/Explain", `"nodeName"`},
		{controlPlane, `{}`, "navarch.controller.v1.ControllerService/ListControllers", `"deployment"`},
		{agent, `{}`, "navarch.node.v1.NodeService/ListPods", `"seen"`},
		{agent, `{}`, "navarch.node.v1.NodeService/ListImages", testcluster.BusyboxImage},
		{proxy, `{}`, "navarch.proxy.v1.ProxyService/ListServices", `"kubernetes"`},
	} {
		if out := grpcurl(t, c, call.at, []string{"-d", call.request}, call.method); !strings.Contains(out, call.want) {
			t.Errorf("%s does not hold %s:\n%s", call.method, call.want, out)
		}
	}
}

// Without a certificate of the cluster nobody learns anything.
func TestGrpcurlWithoutACertificateSeesNothing(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	for _, e := range func() []endpoint { a, b, d := endpoints(t, c); return []endpoint{a, b, d} }() {
		cmd := exec.CommandContext(t.Context(), testcluster.Binary("tools/grpcurl"), "-max-time", "2", "-connect-timeout", "2",
			"-cacert", filepath.Join(c.Dir, "pki", "ca.crt"), "-servername", e.serverName, e.address, "list")
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("%s answered a caller without a certificate:\n%s", e.serverName, out)
		}
	}
}

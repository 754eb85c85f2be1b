//go:build linux

package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	proxyv1 "navarch.dev/navarch/proto/navarch/proxy/v1"
	"navarch.dev/navarch/services/proxy"
	"navarch.dev/navarch/services/proxy/nettest"
	"navarch.dev/navarch/services/proxy/nftables"
	"navarch.dev/navarch/services/store/storetest"
)

const (
	clusterIP = "10.96.0.7"
	dnsIP     = "10.96.0.10"
	web1      = "10.244.0.11"
	web2      = "10.244.0.12"
)

// fixture is a node with two pods that serve and one that asks, a Store, and a
// proxy on the node.
type fixture struct {
	t                        *testing.T
	node, client, web1, web2 *nettest.Namespace
	store                    *client.Client
	cfg                      proxy.Config
	api                      proxyv1.ProxyServiceClient
	spans                    *tracetest.InMemoryExporter
	stop                     func()
	conn                     grpc.ClientConnInterface
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{
		t: t, node: nettest.New(t, "node"), client: nettest.New(t, "client"),
		web1: nettest.New(t, "web-1"), web2: nettest.New(t, "web-2"), spans: tracetest.NewInMemoryExporter(),
	}
	f.node.Sysctl("net/ipv4/conf/all/route_localnet", "0") // a namespace begins with the machine's
	f.node.Bridge("cni0", "10.244.0.1/24")
	outside := nettest.New(t, "outside")
	f.node.Connect(outside)
	f.node.Address("outside", "192.168.7.1/24")
	f.node.DefaultRoute("192.168.7.2")
	f.node.Plug("cni0", f.web1, web1+"/24", "10.244.0.1", true)
	f.node.Plug("cni0", f.web2, web2+"/24", "10.244.0.1", true)
	f.node.Plug("cni0", f.client, "10.244.0.20/24", "10.244.0.1", true)
	f.web1.Serve("0.0.0.0:8080")
	f.web2.Serve("0.0.0.0:8080")
	store := storetest.New(t, storetest.WithTelemetry(traced("store", f.spans)))
	f.conn = store.Conn(identity.Service(identity.Proxy))
	f.store = store.Client(storetest.Admin())
	f.cfg = proxy.DefaultConfig()
	f.cfg.ClusterID, f.cfg.Node, f.cfg.NetNS = "test", "node", f.node.Path()
	f.cfg.ResolvConf = resolvConf(t, "127.0.0.1")
	f.start()
	return f
}

// start runs a proxy until the test ends, or until f.stop is called.
func (f *fixture) start() {
	f.t.Helper()
	p, err := proxy.New(f.cfg, traced("proxy", f.spans), f.conn)
	if err != nil {
		f.t.Fatal(err)
	}
	channel := &inprocgrpc.Channel{}
	p.Register(channel)
	f.api = proxyv1.NewProxyServiceClient(channel)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stopped := false
	f.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("the proxy ended: %v", err)
		}
	}
	f.t.Cleanup(f.stop)
	select {
	case <-p.Ready():
	case err := <-done:
		stopped = true
		f.t.Fatalf("the proxy ended at start: %v", err)
	}
}

func traced(service string, exporter sdktrace.SpanExporter) telemetry.Set {
	set := telemetry.Discard(service)
	set.Traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	return set
}

func resolvConf(t *testing.T, servers ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	var text strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&text, "nameserver %s\n", s)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// web makes the Service default/web over TCP and UDP.
func (f *fixture) web() {
	f.t.Helper()
	f.webAt(clusterIP)
}

func (f *fixture) webAt(clusterIP string) {
	f.t.Helper()
	f.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: clusterIP, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30080},
				{Name: "echo", Port: 80, Protocol: corev1.ProtocolUDP, NodePort: 30080},
			},
		},
	})
}

func webSlice(ips ...string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-a", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)},
			{Name: new("echo"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolUDP)},
		},
	}
	slice.Endpoints = endpoints(ips...)
	return slice
}

func endpoints(ips ...string) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for _, ip := range ips {
		out = append(out, discoveryv1.Endpoint{
			Addresses: []string{ip}, NodeName: new("node"),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "pod-" + ip},
		})
	}
	return out
}

func (f *fixture) create(obj kinds.Object) {
	f.t.Helper()
	if err := f.store.Create(f.t.Context(), obj); err != nil {
		f.t.Fatal(err)
	}
}

// watch returns the routes of default/web as they change.
func (f *fixture) watch() func(want string) {
	f.t.Helper()
	stream, err := f.api.WatchBackends(f.t.Context(), &proxyv1.WatchBackendsRequest{Namespace: "default", Service: "web"})
	if err != nil {
		f.t.Fatal(err)
	}
	state := map[string]string{"http": "unknown", "echo": "unknown"}
	// until reads changes until both ports have the wanted backends.
	return func(want string) {
		f.t.Helper()
		for state["http"] != want || state["echo"] != want {
			event, err := stream.Recv()
			if err != nil {
				f.t.Fatalf("waiting for backends %q: %v", want, err)
			}
			var addresses []string
			for _, b := range event.GetService().GetBackends() {
				addresses = append(addresses, b.GetAddress())
			}
			state[event.GetService().GetPortName()] = strings.Join(addresses, " ")
			if event.GetRemoved() {
				state[event.GetService().GetPortName()] = "removed"
			}
		}
	}
}

func (f *fixture) ask(network, want string) {
	f.t.Helper()
	got, err := f.client.Ask(network, clusterIP+":80")
	if err != nil {
		f.t.Fatalf("%s: %v", network, err)
	}
	if got.Server != want {
		f.t.Errorf("%s: answered by %s, want %s", network, got.Server, want)
	}
}

func TestFollowsServices(t *testing.T) {
	f := newFixture(t)
	until := f.watch()
	f.web()
	until("")
	if _, err := f.client.Ask("tcp", clusterIP+":80"); err == nil {
		t.Error("a Service without endpoints was reached")
	}
	slice := webSlice(web1)
	f.create(slice)
	until(web1 + ":8080")
	f.ask("tcp", "web-1")
	f.ask("udp", "web-1")

	slice.Endpoints = endpoints(web2)
	if err := f.store.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	until(web2 + ":8080")
	f.ask("tcp", "web-2")

	f.stop()
	f.ask("tcp", "web-2") // the kernel goes on
	f.start()
	f.ask("tcp", "web-2")

	until = f.watch()
	until(web2 + ":8080")
	if err := f.store.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until("removed")
	if _, err := f.client.Ask("tcp", clusterIP+":80"); err == nil {
		t.Error("a deleted Service was reached")
	}
}

func TestAnswersLoadBalancers(t *testing.T) {
	f := newFixture(t)
	until := f.watch()
	f.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, HealthCheckNodePort: 32000,
			Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30080},
				{Name: "echo", Port: 80, Protocol: corev1.ProtocolUDP, NodePort: 30080},
			},
		},
	})
	until("")
	if got := f.healthAt("10.244.0.1:32000"); got != http.StatusServiceUnavailable {
		t.Errorf("without endpoints: %d", got)
	}
	f.create(webSlice(web1))
	until(web1 + ":8080")
	if got := f.healthAt("10.244.0.1:32000"); got != http.StatusOK {
		t.Errorf("with an endpoint: %d", got)
	}
}

// healthAt asks as a load balancer does and returns the code of the answer.
func (f *fixture) healthAt(address string) int {
	f.t.Helper()
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		var dialer net.Dialer
		err = f.client.Do(func() error {
			conn, err = dialer.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, "http://"+address, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := (&http.Transport{DialContext: dial, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

func TestFollowsServiceCIDRs(t *testing.T) {
	const other = "203.0.113.7"
	ctx := t.Context()
	f := newFixture(t)
	until := f.watch()
	more := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"203.0.113.0/24"}}}
	f.create(more)
	more.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	if err := f.store.UpdateStatus(ctx, more); err != nil {
		t.Fatal(err)
	}
	f.webAt(other)
	f.create(webSlice(web1))
	until(web1 + ":8080")
	for _, network := range []string{"tcp", "udp"} {
		got, err := f.client.Ask(network, other+":80")
		if want := (nettest.Answer{Server: "web-1", Client: "10.244.0.20"}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", network, got, err)
		}
	}
	// What no Service has is refused once the range is known.
	for {
		_, err := f.client.Ask("tcp", "203.0.113.9:80")
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"7.113.0.203.in-addr.arpa": "NOERROR", "9.113.0.203.in-addr.arpa": "NXDOMAIN"} {
		resp, err := f.api.Resolve(ctx, &proxyv1.ResolveRequest{Name: name, Type: "PTR"})
		if err != nil || resp.GetRcode() != want {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
}

// TestUDPClientMovesOn keeps one socket open, whose connection the kernel
// would otherwise lead to the backend that is gone for ever.
func TestUDPClientMovesOn(t *testing.T) {
	f := newFixture(t)
	until := f.watch()
	f.web()
	slice := webSlice(web1)
	f.create(slice)
	until(web1 + ":8080")
	for _, address := range []string{clusterIP + ":80", "192.168.7.1:30080"} {
		conn, err := f.client.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for i, backend := range []string{web1, web2, web1} {
			slice.Endpoints = endpoints(backend)
			if err := f.store.Update(t.Context(), slice); err != nil {
				t.Fatal(err)
			}
			until(backend + ":8080")
			got, err := nettest.Talk(conn, "udp")
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"web-1", "web-2", "web-1"}[i]; got.Server != want {
				t.Errorf("%s: answered by %s, want %s", address, got.Server, want)
			}
		}
	}
}

// TestComesBack removes the table as another program's flush would.
func TestComesBack(t *testing.T) {
	f := newFixture(t)
	until := f.watch()
	f.web()
	f.create(webSlice(web1))
	until(web1 + ":8080")
	table := nftables.New(nftables.Options{Name: "navarch-proxy-test-node", NetNS: f.node.FD()})
	if err := table.Delete(); err != nil {
		t.Fatal(err)
	}
	for {
		got, err := f.client.Ask("tcp", clusterIP+":80")
		if err == nil {
			if got.Server != "web-1" {
				t.Errorf("answered by %s", got.Server)
			}
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestListAndResolve(t *testing.T) {
	f := newFixture(t)
	until := f.watch()
	f.web()
	f.create(webSlice(web1))
	until(web1 + ":8080")
	list, err := f.api.ListServices(t.Context(), &proxyv1.ListServicesRequest{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list.GetServices(), func(s *proxyv1.ServiceRoute) bool { return s.GetPortName() == "http" })
	if i < 0 {
		t.Fatalf("no route of port http in %v", list)
	}
	got := list.GetServices()[i]
	if got.GetNodePort() != 30080 || got.GetPort() != 80 || got.GetSessionAffinity() != "None" ||
		got.GetBackends()[0].GetTarget() != "Pod default/pod-"+web1 || got.GetBackends()[0].GetNodeName() != "node" {
		t.Errorf("route: %v", got)
	}
	resolved, err := f.api.Resolve(t.Context(), &proxyv1.ResolveRequest{Name: "web", Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"web.default.svc.cluster.local.\t5\tIN\tA\t" + clusterIP}
	if diff := cmp.Diff(want, resolved.GetAnswers()); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
}

// TestNamesFromPod asks the name server by its cluster address, over UDP and
// TCP, from a pod and from the node.
func TestNamesFromPod(t *testing.T) {
	f := newFixture(t)
	f.namesWork()
}

// TestPort53Taken runs where another server has port 53 of every address.
func TestPort53Taken(t *testing.T) {
	f := newFixture(t)
	f.stop()
	var other net.PacketConn
	err := f.node.Do(func() (err error) { other, err = net.ListenPacket("udp4", "0.0.0.0:53"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	f.start()
	f.namesWork()
}

func (f *fixture) namesWork() {
	f.t.Helper()
	until := f.watch()
	f.web()
	until("")
	for _, from := range []*nettest.Namespace{f.client, f.node} {
		for _, network := range []string{"udp", "tcp"} {
			conn, err := from.Dial(network, dnsIP+":53")
			if err != nil {
				f.t.Fatal(err)
			}
			question := new(mdns.Msg)
			question.SetQuestion("web.default.svc.cluster.local.", mdns.TypeA)
			answer, _, err := new(mdns.Client).ExchangeWithConn(question, &mdns.Conn{Conn: conn})
			if err != nil {
				f.t.Fatalf("%s over %s: %v", from.Name, network, err)
			}
			if len(answer.Answer) != 1 || answer.Answer[0].(*mdns.A).A.String() != clusterIP {
				f.t.Errorf("%s over %s: %v", from.Name, network, answer)
			}
			_ = conn.Close()
		}
	}
}

// TestTraceReachesProxy follows the trace of a slice's change.
func TestTraceReachesProxy(t *testing.T) {
	f := newFixture(t)
	until := f.watch()
	f.web()
	until("")
	f.spans.Reset()
	f.create(webSlice(web1))
	until(web1 + ":8080")
	spans := f.spans.GetSpans()
	created := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.Name == "store.Create" })
	if created < 0 {
		t.Fatal("the Store made no span store.Create")
	}
	want := spans[created].SpanContext
	if !slices.ContainsFunc(spans, func(s tracetest.SpanStub) bool {
		return s.Name == "proxy.program" && s.Parent.SpanID() == want.SpanID() && s.Parent.TraceID() == want.TraceID()
	}) {
		t.Error("no span proxy.program below that of the slice's creation")
	}
}

func TestCleanup(t *testing.T) {
	f := newFixture(t)
	until := f.watch()
	f.web()
	until("")
	f.stop()
	if err := proxy.Cleanup(t.Context(), f.cfg, telemetry.Discard("proxy").Log); err != nil {
		t.Fatal(err)
	}
	names, err := nftables.Names(f.node.FD())
	if err != nil || len(names) != 0 {
		t.Errorf("tables left: %v, %v", names, err)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}; !slices.Equal(f.node.Addresses("lo"), want) {
		t.Errorf("addresses of lo: %v", f.node.Addresses("lo"))
	}
	if got := f.node.GetSysctl("net/ipv4/conf/all/route_localnet"); got != "0" {
		t.Errorf("route_localnet is %s", got)
	}
	if err := proxy.Cleanup(t.Context(), f.cfg, telemetry.Discard("proxy").Log); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*proxy.Config)
		want   string
	}{
		{"fine", func(*proxy.Config) {}, ""},
		{"no cluster", func(c *proxy.Config) { c.ClusterID = "" }, "--cluster-id"},
		{"no node", func(c *proxy.Config) { c.Node = "" }, "--node-name"},
		{"bad prefix", func(c *proxy.Config) { c.ServiceCIDR = "10.96" }, "--service-cidr"},
		{"IPv6 prefix", func(c *proxy.Config) { c.PodCIDR = "fd00::/64" }, "--pod-cidr"},
		{"DNS elsewhere", func(c *proxy.Config) { c.DNSAddress = "10.1.1.1" }, "--dns-address"},
		{"bit", func(c *proxy.Config) { c.MasqueradeBit = 32 }, "--masquerade-bit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := proxy.DefaultConfig()
			c.ClusterID, c.Node = "c", "n"
			tt.change(&c)
			err := c.Validate()
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

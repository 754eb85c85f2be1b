package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The zone of the tests here:
//
//	web.default    10.96.0.7, ports http 80/tcp and 53/udp without a name
//	db.default     headless: db-0 10.244.0.5, 10.244.1.6 (no hostname), db-2 10.244.1.7 not ready; port pg 5432/tcp
//	early.default  headless, publishes what is not ready: 10.244.1.8
//	none.default   headless, without endpoints
//	out.default    an alias of example.org
//	in.other       an alias of web.default
//	loop.other     an alias of itself
func testZone() *Zone {
	z := NewZone("cluster.local")
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	headless := corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}
	early := headless
	early.PublishNotReadyAddresses = true
	alias := func(target string) corev1.ServiceSpec {
		return corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: target}
	}
	z.Set(ServiceOf(&corev1.Service{ObjectMeta: meta("default", "web"), Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7", "fd00:96::7"},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Port: 53, Protocol: corev1.ProtocolUDP}},
	}}, nil))
	ports := []discoveryv1.EndpointPort{{Name: new("pg"), Port: new(int32(5432))}}
	z.Set(ServiceOf(&corev1.Service{ObjectMeta: meta("default", "db"), Spec: headless}, []*discoveryv1.EndpointSlice{
		{AddressType: discoveryv1.AddressTypeIPv4, Ports: ports, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.5"}, Hostname: new("db-0")},
			{Addresses: []string{"10.244.1.6"}},
		}},
		{AddressType: discoveryv1.AddressTypeIPv4, Ports: ports, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.1.6"}}, // moving from one slice to the other
			{Addresses: []string{"10.244.1.7"}, Hostname: new("db-2"), Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
		}},
	}))
	z.Set(ServiceOf(&corev1.Service{ObjectMeta: meta("default", "early"), Spec: early}, []*discoveryv1.EndpointSlice{
		{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.8"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}}}},
	}))
	z.Set(ServiceOf(&corev1.Service{ObjectMeta: meta("default", "none"), Spec: headless}, nil))
	z.Set(ServiceOf(&corev1.Service{ObjectMeta: meta("default", "out"), Spec: alias("example.org")}, nil))
	z.Set(ServiceOf(&corev1.Service{ObjectMeta: meta("other", "in"), Spec: alias("web.default.svc.cluster.local.")}, nil))
	z.Set(ServiceOf(&corev1.Service{ObjectMeta: meta("other", "loop"), Spec: alias("loop.other.svc.cluster.local")}, nil))
	return z
}

// upstreamFunc answers for names beyond the cluster.
type upstreamFunc func(Query) (*mdns.Msg, error)

func (f upstreamFunc) Exchange(_ context.Context, q Query) (*mdns.Msg, error) { return f(q) }

// oneAddress knows the address of example.org, and nothing else.
func oneAddress(q Query) (*mdns.Msg, error) {
	m := new(mdns.Msg)
	m.SetQuestion(q.Name, q.Qtype)
	switch {
	case q.Name == "broken.example.":
		return nil, errors.New("no answer")
	case q.Name != "example.org.":
		m.Rcode = mdns.RcodeNameError
	case q.Qtype == mdns.TypeA:
		rr, err := mdns.NewRR("example.org. 60 IN A 203.0.113.5")
		m.Answer = []mdns.RR{rr}
		return m, err
	}
	return m, nil
}

func testServer(t testing.TB) *Server {
	t.Helper()
	s, err := NewServer(Options{
		Zone: testZone(), Upstream: upstreamFunc(oneAddress), Address: netip.MustParseAddr("10.96.0.10"),
		Owned: func() []netip.Prefix {
			return []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.0/16")}
		},
		Synced: func() bool { return true }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func question(name string, qtype uint16) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetQuestion(name, qtype)
	return m
}

// texts writes records as "TYPE rest", sorted.
func texts(rrs []mdns.RR) []string {
	var out []string
	for _, rr := range rrs {
		fields := strings.SplitN(rr.String(), "\t", 5)
		out = append(out, fields[3]+" "+fields[4])
	}
	slices.Sort(out)
	return out
}

func TestAnswers(t *testing.T) {
	const soa = "SOA"
	tests := []struct {
		name  string
		qtype uint16
		rcode int
		want  []string
	}{
		{"web.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.96.0.7"}},
		{"WEB.Default.SVC.cluster.Local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.96.0.7"}},
		{"web.default.svc.cluster.local.", mdns.TypeAAAA, mdns.RcodeSuccess, []string{"AAAA fd00:96::7"}},
		{"web.default.svc.cluster.local.", mdns.TypeMX, mdns.RcodeSuccess, nil},
		{"_http._tcp.web.default.svc.cluster.local.", mdns.TypeSRV, mdns.RcodeSuccess, []string{"SRV 0 100 80 web.default.svc.cluster.local."}},
		{"_http._tcp.web.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, nil},
		{"_http._udp.web.default.svc.cluster.local.", mdns.TypeSRV, mdns.RcodeNameError, nil},
		{"_._udp.web.default.svc.cluster.local.", mdns.TypeSRV, mdns.RcodeNameError, nil},
		{"_tcp.web.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, nil},
		{"db.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.244.0.5", "A 10.244.1.6"}},
		{"db.default.svc.cluster.local.", mdns.TypeAAAA, mdns.RcodeSuccess, nil},
		{"db-0.db.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.244.0.5"}},
		{"10-244-1-6.db.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.244.1.6"}},
		{"db-2.db.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"_pg._tcp.db.default.svc.cluster.local.", mdns.TypeSRV, mdns.RcodeSuccess, []string{
			"SRV 0 50 5432 10-244-1-6.db.default.svc.cluster.local.", "SRV 0 50 5432 db-0.db.default.svc.cluster.local.",
		}},
		{"early.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.244.1.8"}},
		{"none.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, nil},
		{"out.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 203.0.113.5", "CNAME example.org."}},
		{"out.default.svc.cluster.local.", mdns.TypeCNAME, mdns.RcodeSuccess, []string{"CNAME example.org."}},
		{"in.other.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.96.0.7", "CNAME web.default.svc.cluster.local."}},
		{"nope.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"web.nope.svc.cluster.local.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"web.cluster.local.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"default.svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, nil},
		{"nope.svc.cluster.local.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"svc.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, nil},
		{"a.b.c.d.web.default.svc.cluster.local.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"10-244-3-4.default.pod.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.244.3.4"}},
		{"fd00--1.default.pod.cluster.local.", mdns.TypeAAAA, mdns.RcodeSuccess, []string{"AAAA fd00::1"}},
		{"web-0.default.pod.cluster.local.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"dns-version.cluster.local.", mdns.TypeTXT, mdns.RcodeSuccess, []string{`TXT "1.1.0"`}},
		{"cluster.local.", mdns.TypeNS, mdns.RcodeSuccess, []string{"NS ns.dns.cluster.local."}},
		{"ns.dns.cluster.local.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 10.96.0.10"}},
		{"7.0.96.10.in-addr.arpa.", mdns.TypePTR, mdns.RcodeSuccess, []string{"PTR web.default.svc.cluster.local."}},
		{"5.0.244.10.in-addr.arpa.", mdns.TypePTR, mdns.RcodeSuccess, []string{"PTR db-0.db.default.svc.cluster.local."}},
		{"9.9.244.10.in-addr.arpa.", mdns.TypePTR, mdns.RcodeNameError, nil},
		{"7.0." + strings.Repeat("0.", 21) + "6.9.0.0.0.0.d.f.ip6.arpa.", mdns.TypePTR, mdns.RcodeNameError, nil},
		{"example.org.", mdns.TypeA, mdns.RcodeSuccess, []string{"A 203.0.113.5"}},
		{"example.com.", mdns.TypeA, mdns.RcodeNameError, nil},
		{"broken.example.", mdns.TypeA, mdns.RcodeServerFailure, nil},
	}
	s := testServer(t)
	for _, tt := range tests {
		t.Run(tt.name+" "+mdns.TypeToString[tt.qtype], func(t *testing.T) {
			got := s.Respond(t.Context(), question(tt.name, tt.qtype))
			if got.Rcode != tt.rcode {
				t.Errorf("code %s, want %s", mdns.RcodeToString[got.Rcode], mdns.RcodeToString[tt.rcode])
			}
			if diff := cmp.Diff(tt.want, texts(got.Answer)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			denied := len(tt.want) == 0 && got.Authoritative
			if hasSOA := len(got.Ns) == 1 && got.Ns[0].Header().Rrtype == mdns.TypeSOA; denied != hasSOA {
				t.Errorf("%s in the authority section: %v, want %v", soa, hasSOA, denied)
			}
			for _, rr := range got.Answer {
				if rr.Header().Name != tt.name && len(got.Answer) == 1 {
					t.Errorf("the record is of %s", rr.Header().Name)
				}
			}
		})
	}
}

func TestSRVCarriesAddresses(t *testing.T) {
	got := testServer(t).Respond(t.Context(), question("_pg._tcp.db.default.svc.cluster.local.", mdns.TypeSRV))
	if diff := cmp.Diff([]string{"A 10.244.0.5", "A 10.244.1.6"}, texts(got.Extra)); diff != "" {
		t.Errorf("additional records (-want +got):\n%s", diff)
	}
}

func TestAliasLoopEnds(t *testing.T) {
	got := testServer(t).Respond(t.Context(), question("loop.other.svc.cluster.local.", mdns.TypeA))
	if got.Rcode != mdns.RcodeServerFailure {
		t.Errorf("code %s", mdns.RcodeToString[got.Rcode])
	}
}

func TestDeleteForgets(t *testing.T) {
	s := testServer(t)
	s.opts.Zone.Delete("default", "web")
	s.opts.Zone.Delete("default", "web")
	for _, q := range []*mdns.Msg{
		question("web.default.svc.cluster.local.", mdns.TypeA), question("7.0.96.10.in-addr.arpa.", mdns.TypePTR),
	} {
		if got := s.Respond(t.Context(), q); got.Rcode != mdns.RcodeNameError {
			t.Errorf("%s: code %s", q.Question[0].Name, mdns.RcodeToString[got.Rcode])
		}
	}
	if !s.opts.Zone.hasNamespace("default") {
		t.Error("the namespace is forgotten while it has Services")
	}
}

// TestDeniesNothingBeforeSync: a client must not believe that a Service does
// not exist because the proxy has just started.
func TestDeniesNothingBeforeSync(t *testing.T) {
	s := testServer(t)
	s.opts.Synced = func() bool { return false }
	if got := s.Respond(t.Context(), question("nope.default.svc.cluster.local.", mdns.TypeA)); got.Rcode != mdns.RcodeServerFailure {
		t.Errorf("code %s", mdns.RcodeToString[got.Rcode])
	}
	if got := s.Respond(t.Context(), question("example.org.", mdns.TypeA)); len(got.Answer) != 1 {
		t.Errorf("another's name: %v", got)
	}
}

func TestRefusals(t *testing.T) {
	with := func(change func(*mdns.Msg)) *mdns.Msg {
		m := question("web.default.svc.cluster.local.", mdns.TypeA)
		change(m)
		return m
	}
	tests := []struct {
		name  string
		req   *mdns.Msg
		rcode int
	}{
		{"update", with(func(m *mdns.Msg) { m.Opcode = mdns.OpcodeUpdate }), mdns.RcodeNotImplemented},
		{"no question", with(func(m *mdns.Msg) { m.Question = nil }), mdns.RcodeFormatError},
		{"two questions", with(func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) }), mdns.RcodeFormatError},
		{"an answer", with(func(m *mdns.Msg) { m.Response = true }), mdns.RcodeFormatError},
		{"class CHAOS", with(func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }), mdns.RcodeRefused},
		{"zone transfer", with(func(m *mdns.Msg) { m.Question[0].Qtype = mdns.TypeAXFR }), mdns.RcodeRefused},
		{"EDNS version 1", with(func(m *mdns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), mdns.RcodeBadVers},
	}
	s := testServer(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := s.Respond(t.Context(), tt.req)
			if got.Rcode != tt.rcode || len(got.Answer) != 0 {
				t.Errorf("got %v", got)
			}
		})
	}
}

// listen runs the server on a port of the loopback link.
func listen(t *testing.T, s *Server) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, packets, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String()
}

// TestTruncation has a Service with more addresses than a datagram holds.
func TestTruncation(t *testing.T) {
	s := testServer(t)
	big := &Service{Namespace: "default", Name: "big"}
	for i := range 200 {
		big.Endpoints = append(big.Endpoints, Endpoint{Host: fmt.Sprint(i), Addr: netip.AddrFrom4([4]byte{10, 244, 9, byte(i)})})
	}
	s.opts.Zone.Set(big)
	address := listen(t, s)
	tests := []struct {
		name, network string
		edns          uint16
		truncated     bool
		// most is the largest allowed size.
		most int
	}{
		{"plain UDP", "udp", 0, true, 512},
		{"EDNS", "udp", 4096, true, maxUDPSize},
		{"EDNS below the least", "udp", 100, true, 512},
		{"TCP", "tcp", 0, false, 65535},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := question("big.default.svc.cluster.local.", mdns.TypeA)
			if tt.edns != 0 {
				q.SetEdns0(tt.edns, false)
			}
			got, _, err := (&mdns.Client{Net: tt.network, UDPSize: 4096}).ExchangeContext(t.Context(), q, address)
			if err != nil {
				t.Fatal(err)
			}
			got.Compress = true // as it was sent
			if got.Truncated != tt.truncated || got.Len() > tt.most {
				t.Errorf("truncated %v, %d bytes", got.Truncated, got.Len())
			}
			if !tt.truncated && len(got.Answer) != len(big.Endpoints) {
				t.Errorf("%d answers", len(got.Answer))
			}
			if (got.IsEdns0() != nil) != (tt.edns != 0) {
				t.Errorf("EDNS in the answer: %v", got.IsEdns0())
			}
		})
	}
}

// FuzzRespond feeds any bytes that may come from the network.
func FuzzRespond(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "_pg._tcp.db.default.svc.cluster.local.", "7.0.96.10.in-addr.arpa.", "1-2-3-4.x.pod.cluster.local.", ".", `\.svc.cluster.local.`} {
		for _, qtype := range []uint16{mdns.TypeA, mdns.TypeSRV, mdns.TypePTR, mdns.TypeANY} {
			packed, err := question(name, qtype).Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed)
		}
	}
	s := testServer(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		req := new(mdns.Msg)
		if req.Unpack(data) != nil {
			return
		}
		resp := s.Respond(t.Context(), req)
		resp.Truncate(datagramSize(req))
		packed, err := resp.Pack()
		if err != nil {
			t.Fatalf("the answer to %v cannot be sent: %v", req, err)
		}
		if len(packed) > maxUDPSize {
			t.Errorf("the answer to %v has %d bytes", req, len(packed))
		}
		if resp.Id != req.Id || !resp.Response {
			t.Errorf("the answer to %v is %v", req, resp)
		}
	})
}

// BenchmarkRespond answers in a zone of 5,000 Services.
func BenchmarkRespond(b *testing.B) {
	s := testServer(b)
	for i := range 5000 {
		s.opts.Zone.Set(&Service{Namespace: fmt.Sprint("ns", i%50), Name: fmt.Sprint("svc", i), ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.1.1")}})
	}
	q := question("svc4949.ns49.svc.cluster.local.", mdns.TypeA)
	b.ReportAllocs()
	for b.Loop() {
		if r := s.Respond(b.Context(), q); len(r.Answer) != 1 {
			b.Fatal(r)
		}
	}
}

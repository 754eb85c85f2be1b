package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// resolver is a server that the host would use. All of them listen on one port
// of different addresses, as in a resolv.conf.
type resolver struct {
	asked  atomic.Int32
	answer func(*resolver, *mdns.Msg) *mdns.Msg
}

func (r *resolver) handle(tcp bool) mdns.HandlerFunc {
	return func(w mdns.ResponseWriter, req *mdns.Msg) {
		r.asked.Add(1)
		resp := r.answer(r, req)
		if resp == nil {
			return
		}
		if !tcp {
			resp.Truncate(512)
		}
		_ = w.WriteMsg(resp)
	}
}

// serveAt runs the resolver; port 0 is any. It returns the port.
func (r *resolver) serveAt(t *testing.T, ip string, port int) int {
	t.Helper()
	listener, err := net.Listen("tcp4", net.JoinHostPort(ip, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*mdns.Server{{Listener: listener, Handler: r.handle(true)}, {PacketConn: packets, Handler: r.handle(false)}} {
		go func() { _ = s.ActivateAndServe() }()
	}
	t.Cleanup(func() { _ = listener.Close(); _ = packets.Close() })
	return listener.Addr().(*net.TCPAddr).Port
}

// newTestForwarder asks the addresses at the port in their order.
func newTestForwarder(t *testing.T, port int, addresses ...string) *Forwarder {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "nameserver " + strings.Join(addresses, "\nnameserver ") + "\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f := NewForwarder(path, []netip.Addr{netip.MustParseAddr("10.96.0.10")}, slog.New(slog.DiscardHandler))
	f.resolvers.port = fmt.Sprint(port)
	return f
}

func query(name string) Query {
	return Query{Question: mdns.Question{Name: name, Qtype: mdns.TypeA, Qclass: mdns.ClassINET}}
}

// addresses answers with n addresses.
func addresses(n int, ttl uint32) func(*resolver, *mdns.Msg) *mdns.Msg {
	return func(_ *resolver, req *mdns.Msg) *mdns.Msg {
		resp := new(mdns.Msg)
		resp.SetReply(req)
		for i := range n {
			resp.Answer = append(resp.Answer, &mdns.A{
				Hdr: mdns.RR_Header{Name: req.Question[0].Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: ttl},
				A:   net.IPv4(203, 0, 113, byte(i)),
			})
		}
		return resp
	}
}

func code(rcode int) func(*resolver, *mdns.Msg) *mdns.Msg {
	return func(_ *resolver, req *mdns.Msg) *mdns.Msg {
		return new(mdns.Msg).SetRcode(req, rcode)
	}
}

func TestForwardKeepsAnswers(t *testing.T) {
	r := &resolver{answer: addresses(1, 60)}
	f := newTestForwarder(t, r.serveAt(t, "127.0.0.1", 0), "127.0.0.1")
	for _, name := range []string{"example.org.", "EXAMPLE.org."} {
		answer, err := f.Exchange(t.Context(), query(name))
		if err != nil || len(answer.Answer) != 1 {
			t.Fatalf("got %v, %v", answer, err)
		}
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the resolver was asked %d times", n)
	}
}

func TestForwardLargeAnswer(t *testing.T) {
	r := &resolver{answer: addresses(200, 60)}
	f := newTestForwarder(t, r.serveAt(t, "127.0.0.1", 0), "127.0.0.1")
	answer, err := f.Exchange(t.Context(), query("example.org."))
	if err != nil || len(answer.Answer) != 200 {
		t.Fatalf("got %v, %v", answer, err)
	}
}

func TestForwardAsksTheNext(t *testing.T) {
	for _, rcode := range []int{mdns.RcodeServerFailure, mdns.RcodeRefused} {
		broken, works := &resolver{answer: code(rcode)}, &resolver{answer: addresses(1, 60)}
		port := broken.serveAt(t, "127.0.0.2", 0)
		works.serveAt(t, "127.0.0.3", port)
		// Nobody listens on the first address; the cluster's own is left out.
		f := newTestForwarder(t, port, "10.96.0.10", "127.0.0.9", "127.0.0.2", "127.0.0.3")
		answer, err := f.Exchange(t.Context(), query("example.org."))
		if err != nil || len(answer.Answer) != 1 {
			t.Fatalf("got %v, %v", answer, err)
		}
	}
}

func TestForwardToNobody(t *testing.T) {
	f := newTestForwarder(t, 53, "10.96.0.10")
	if _, err := f.Exchange(t.Context(), query("example.org.")); err == nil {
		t.Error("a question was answered by nobody")
	}
	f = NewForwarder(filepath.Join(t.TempDir(), "none"), nil, slog.New(slog.DiscardHandler))
	if _, err := f.Exchange(t.Context(), query("example.org.")); err == nil {
		t.Error("a question was answered by nobody")
	}
}

// TestForwardOnce asks one question many times while it is under way.
func TestForwardOnce(t *testing.T) {
	const clients = 20
	joined := make(chan struct{})
	r := &resolver{}
	r.answer = func(r *resolver, req *mdns.Msg) *mdns.Msg {
		<-joined
		return addresses(1, 0)(r, req)
	}
	f := newTestForwarder(t, r.serveAt(t, "127.0.0.1", 0), "127.0.0.1")
	var wait sync.WaitGroup
	var started sync.WaitGroup
	started.Add(clients)
	for range clients {
		wait.Go(func() {
			started.Done()
			if _, err := f.Exchange(context.Background(), query("example.org.")); err != nil {
				t.Errorf("exchange: %v", err)
			}
		})
	}
	started.Wait()
	close(joined)
	wait.Wait()
	if n := r.asked.Load(); n >= clients {
		t.Errorf("the resolver was asked %d times for %d questions", n, clients)
	}
}

// TestForwardLoopEnds has a resolver that asks the forwarder itself.
func TestForwardLoopEnds(t *testing.T) {
	var forwarder atomic.Pointer[Forwarder]
	asked := make(chan error, 1)
	r := &resolver{answer: func(_ *resolver, req *mdns.Msg) *mdns.Msg {
		_, err := forwarder.Load().Exchange(context.Background(), Query{Question: req.Question[0]})
		asked <- err
		return nil
	}}
	f := newTestForwarder(t, r.serveAt(t, "127.0.0.1", 0), "127.0.0.1")
	f.timeout = 20 * time.Millisecond
	forwarder.Store(f)
	if answer, err := f.Exchange(t.Context(), query("loop.example.")); err == nil {
		t.Errorf("got %v", answer)
	}
	if err := <-asked; err == nil {
		t.Error("the resolver had an answer from the loop")
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the resolver was asked %d times", n)
	}
}

func TestCacheLifetimes(t *testing.T) {
	soa := &mdns.SOA{Hdr: mdns.RR_Header{Name: "example.", Rrtype: mdns.TypeSOA, Ttl: 3600}, Minttl: 300}
	tests := []struct {
		name   string
		answer *mdns.Msg
		want   time.Duration
	}{
		{"short", answerOf(mdns.RcodeSuccess, 7), 7 * time.Second},
		{"long", answerOf(mdns.RcodeSuccess, 86400), maxPositive},
		{"zero", answerOf(mdns.RcodeSuccess, 0), 0},
		{"denial", &mdns.Msg{MsgHdr: mdns.MsgHdr{Rcode: mdns.RcodeNameError}, Ns: []mdns.RR{soa}}, maxNegative},
		{"denial without authority", &mdns.Msg{MsgHdr: mdns.MsgHdr{Rcode: mdns.RcodeNameError}}, 0},
		{"failure", &mdns.Msg{MsgHdr: mdns.MsgHdr{Rcode: mdns.RcodeServerFailure}, Ns: []mdns.RR{soa}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lifetime(tt.answer); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func answerOf(rcode int, ttl uint32) *mdns.Msg {
	m := addresses(1, ttl)(nil, question("example.org.", mdns.TypeA))
	m.Rcode = rcode
	return m
}

func TestCacheAges(t *testing.T) {
	c, q, start := newAnswerCache(), query("example.org."), time.Unix(1000, 0)
	c.put(q, answerOf(mdns.RcodeSuccess, 20), start)
	got, ok := c.get(q, start.Add(15*time.Second))
	if !ok || got.Answer[0].Header().Ttl != 5 {
		t.Errorf("after 15s: %v, %v", got, ok)
	}
	if _, ok := c.get(q, start.Add(20*time.Second)); ok {
		t.Error("an answer is kept beyond its time")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c, now := newAnswerCache(), time.Unix(1000, 0)
	for i := range maxCached + 100 {
		c.put(query(fmt.Sprint(i, ".")), answerOf(mdns.RcodeSuccess, 20), now)
	}
	if len(c.entries) > maxCached {
		t.Errorf("%d answers are kept", len(c.entries))
	}
}

func TestResolvConfChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(server string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte("nameserver "+server+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(1000, 0)
	write("192.0.2.1", now)
	r := newResolvConf(path, nil)
	for i, want := range []string{"192.0.2.1:53", "192.0.2.1:53", "192.0.2.2:53"} {
		got, err := r.addresses(now)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("read %d: %v, %v, want %s", i, got, err, want)
		}
		if i == 0 {
			write("192.0.2.2", now.Add(time.Minute))
		} else {
			now = now.Add(recheck)
		}
	}
}

package healthcheck

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// node listens on loopback, whatever the port, and remembers where.
type node struct {
	addresses map[uint16]string
	closed    map[uint16]bool
	refuses   bool
}

// watched is a listener that tells when it is closed.
type watched struct {
	net.Listener
	onClose func()
}

func (p watched) Close() error {
	p.onClose()
	return p.Listener.Close()
}

func (n *node) listen(ctx context.Context, number uint16) (net.Listener, error) {
	if n.refuses {
		return nil, errors.New("in use")
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.addresses[number] = l.Addr().String()
	return watched{l, func() { n.closed[number] = true }}, nil
}

func (n *node) ask(t *testing.T, port uint16) (code int, body, weight string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.addresses[port]+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header.Get("X-Load-Balancing-Endpoint-Weight")
}

func TestResponder(t *testing.T) {
	n := &node{addresses: make(map[uint16]string), closed: make(map[uint16]bool)}
	var healthy atomic.Bool
	healthy.Store(true)
	r := New(n.listen, healthy.Load, slog.New(slog.DiscardHandler))
	defer r.Close()
	set := func(s *Service) {
		t.Helper()
		if err := r.Set(t.Context(), "ns/web", s); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(port uint16, code int, weight, body string) {
		t.Helper()
		if gotCode, gotBody, gotWeight := n.ask(t, port); gotCode != code || body != "" && gotBody != body || gotWeight != weight {
			t.Errorf("answered %d, weight %q: %s", gotCode, gotWeight, gotBody)
		}
	}
	set(&Service{Namespace: "ns", Name: "web", Port: 1, Endpoints: 2})
	expect(1, http.StatusOK, "2", `{"service":{"namespace":"ns","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}`)
	healthy.Store(false)
	expect(1, http.StatusServiceUnavailable, "2", `{"service":{"namespace":"ns","name":"web"},"localEndpoints":2,"serviceProxyHealthy":false}`)
	healthy.Store(true)
	set(&Service{Namespace: "ns", Name: "web", Port: 1})
	expect(1, http.StatusServiceUnavailable, "0", `{"service":{"namespace":"ns","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true}`)

	set(&Service{Namespace: "ns", Name: "web", Port: 2, Endpoints: 1})
	expect(2, http.StatusOK, "1", "")
	if !n.closed[1] || n.closed[2] {
		t.Errorf("after another port: closed are %v", n.closed)
	}
	set(nil)
	if !n.closed[2] {
		t.Error("without a Service, its port is still open")
	}
	set(nil) // that there is none is nothing new

	n.refuses = true
	if err := r.Set(t.Context(), "ns/web", &Service{Port: 3}); err == nil {
		t.Error("a port that is in use was listened at")
	}
	n.refuses = false
	set(&Service{Namespace: "ns", Name: "web", Port: 3, Endpoints: 1})
	expect(3, http.StatusOK, "1", "")
}

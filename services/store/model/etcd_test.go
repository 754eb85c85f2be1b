package model_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"

	"navarch.dev/navarch/services/store/backend/etcd"
)

func openEtcd(t *testing.T, cfg etcd.Config) *etcd.Backend {
	t.Helper()
	b, err := etcd.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func external(address string) etcd.Config {
	cfg := etcd.DefaultConfig()
	cfg.Endpoints = []string{"http://" + address}
	return cfg
}

// serveEtcd runs an etcd that listens, and returns where.
func serveEtcd(t *testing.T) string {
	t.Helper()
	cfg := etcd.DefaultConfig()
	cfg.Dir = t.TempDir()
	ec := etcd.ServerConfig(cfg, slog.New(slog.DiscardHandler))
	ec.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	e, err := embed.StartEtcd(ec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		t.Fatal(err)
	}
	return e.Clients[0].Addr().String()
}

// proxy passes connections on, until it cuts them.
type proxy struct {
	listener net.Listener
	target   string
	copying  sync.WaitGroup

	mu   sync.Mutex // guards live
	live map[net.Conn]struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, live: make(map[net.Conn]struct{})}
	p.copying.Go(p.accept)
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		far, err := d.DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.keep(near, far)
		p.copying.Go(func() { p.pass(near, far) })
		p.copying.Go(func() { p.pass(far, near) })
	}
}

func (p *proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.live[c] = struct{}{}
	}
}

func (p *proxy) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // that it ends is all there is to know
	_, _ = from.Close(), to.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, from)
}

// cut breaks every connection; new ones are taken.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.live {
		_ = c.Close()
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
	p.copying.Wait()
}

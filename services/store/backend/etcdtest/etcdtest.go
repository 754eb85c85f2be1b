// Package etcdtest gives tests an etcd that is outside of the Store, and
// connections to it that break.
package etcdtest

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

// Serve runs an etcd that listens until the test ends, and returns where.
func Serve(t *testing.T) string {
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

// Config returns the settings with which a Store uses the etcd at an address.
func Config(address string) etcd.Config {
	cfg := etcd.DefaultConfig()
	cfg.Endpoints = []string{"http://" + address}
	return cfg
}

// Proxy passes connections on, until it cuts them.
type Proxy struct {
	listener net.Listener
	target   string
	copying  sync.WaitGroup

	mu   sync.Mutex // guards the fields below
	live map[net.Conn]struct{}
	dark bool
}

// NewProxy returns a proxy to an address. Close ends it.
func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, live: make(map[net.Conn]struct{})}
	p.copying.Go(p.accept)
	return p
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		far, err := d.DialContext(context.Background(), "tcp", p.target)
		if err != nil || !p.keep(near, far) {
			_ = near.Close()
			if far != nil {
				_ = far.Close()
			}
			continue
		}
		p.copying.Go(func() { p.pass(near, far) })
		p.copying.Go(func() { p.pass(far, near) })
	}
}

// keep notes connections that live, unless none may.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if !p.dark {
			p.live[c] = struct{}{}
		}
	}
	return !p.dark
}

func (p *Proxy) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // that it ends is all there is to know
	_, _ = from.Close(), to.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, from)
}

// Cut breaks every connection; new ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.live {
		_ = c.Close()
	}
}

// Dark breaks every connection and takes no new ones (true), or takes them again.
func (p *Proxy) Dark(dark bool) {
	p.mu.Lock()
	p.dark = dark
	p.mu.Unlock()
	if dark {
		p.Cut()
	}
}

// Close ends the proxy and all connections.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.Cut()
	p.copying.Wait()
}

package etcd_test

import (
	"log/slog"
	"net/url"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"

	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/backendtest"
	"navarch.dev/navarch/services/store/backend/etcd"
)

// An external etcd is reached over the network, see package direct.
func TestConformanceExternal(t *testing.T) {
	t.Parallel()
	cfg := etcd.DefaultConfig()
	cfg.Endpoints = []string{"http://" + serveEtcd(t)}
	b, err := etcd.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	backendtest.Run(t, func(*testing.T) backend.Backend { return b })
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

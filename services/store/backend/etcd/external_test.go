package etcd_test

import (
	"log/slog"
	"testing"

	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/backendtest"
	"navarch.dev/navarch/services/store/backend/etcd"
	"navarch.dev/navarch/services/store/backend/etcdtest"
)

// An external etcd is reached over the network, see package direct.
func TestConformanceExternal(t *testing.T) {
	t.Parallel()
	b, err := etcd.Open(t.Context(), etcdtest.Config(etcdtest.Serve(t)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	backendtest.Run(t, func(*testing.T) backend.Backend { return b })
}

package model_test

import (
	"log/slog"
	"testing"

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

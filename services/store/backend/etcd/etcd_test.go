package etcd_test

import (
	"errors"
	"log/slog"
	"testing"

	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/backendtest"
	"navarch.dev/navarch/services/store/backend/etcd"
)

func open(t testing.TB, dir string) *etcd.Backend {
	t.Helper()
	cfg := etcd.DefaultConfig()
	cfg.Dir = dir
	b, err := etcd.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	b := open(t, t.TempDir())
	t.Cleanup(func() { _ = b.Close() })
	backendtest.Run(t, func(*testing.T) backend.Backend { return b })
}

// Whoever watches learns that the backend is closed.
func TestCloseEndsWatches(t *testing.T) {
	b := open(t, t.TempDir())
	r, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a", Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	var got error
	for batch := range b.Watch(t.Context(), "/a", r.Revision) {
		if len(batch.Events) == 1 {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		got = batch.Err
	}
	if !errors.Is(got, backend.ErrUnavailable) {
		t.Errorf("the watch ended with %v, want ErrUnavailable", got)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	r, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a", Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	defer func() { _ = b.Close() }()
	kv, err := b.Get(t.Context(), "/a", 0)
	if err != nil || kv == nil || string(kv.Value) != "v" || kv.Revision != r.Revision {
		t.Errorf("after a restart: %+v, %v", kv, err)
	}
}

func BenchmarkRevision(b *testing.B) {
	e := open(b, b.TempDir())
	defer func() { _ = e.Close() }()
	for b.Loop() {
		if _, err := e.Revision(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// Who reads, or asks for the revision, after the backend is closed learns so.
func TestClosed(t *testing.T) {
	b := open(t, t.TempDir())
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Revision(t.Context()); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("the revision is asked for: %v, want ErrUnavailable", err)
	}
	if _, err := b.Get(t.Context(), "/a", 0); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("a key is read: %v, want ErrUnavailable", err)
	}
}

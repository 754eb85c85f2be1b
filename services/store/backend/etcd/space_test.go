package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"navarch.dev/navarch/services/store/backend"
)

func openEmbedded(t *testing.T, quota int64) *Backend {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Dir, cfg.QuotaBytes = t.TempDir(), quota
	b, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func put(t *testing.T, b *Backend, key string, size int) error {
	t.Helper()
	_, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: key, Value: make([]byte, size), Expect: backend.Any})
	return err
}

// A quota that is used up stays so until something is deleted and compacted, and
// then the file is shrunk and the alarm lifted.
func TestQuotaIsUsedUpAndFreed(t *testing.T) {
	b := openEmbedded(t, 64<<20)
	compact := func() {
		t.Helper()
		revision, err := b.Revision(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Compact(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
	}
	// The file grows in large steps: it may be shrunk a few times before what is
	// stored takes all of the quota.
	written, full := 0, false
	for ; written < 200 && !full; written++ {
		err := put(t, b, fmt.Sprintf("/k%d", written), 1<<20)
		if err == nil {
			continue
		}
		if !errors.Is(err, backend.ErrNoSpace) {
			t.Fatalf("a write beyond the quota fails with %v", err)
		}
		compact()
		full = errors.Is(put(t, b, "/small", 1), backend.ErrNoSpace)
	}
	if !full {
		t.Fatal("the quota was never used up")
	}
	for i := range written / 3 {
		if _, err := b.Commit(t.Context(), backend.Op{Type: backend.Delete, Key: fmt.Sprintf("/k%d", i), Expect: backend.Any}); err != nil {
			t.Fatalf("a deletion fails with %v", err)
		}
	}
	compact()
	if err := put(t, b, "/small", 1); err != nil {
		t.Errorf("after a third was deleted, a write fails with %v", err)
	}
}

func TestDiskIsNearlyFull(t *testing.T) {
	b := openEmbedded(t, 64<<20)
	if err := put(t, b, "/there", 1); err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	ops := map[string]backend.Op{
		"put":    {Type: backend.Put, Key: "/there", Value: []byte("v"), Expect: backend.Any},
		"urgent": {Type: backend.Put, Key: "/there", Value: []byte("v"), Expect: backend.Any, Urgent: true},
		"check":  {Type: backend.Check, Key: "/there", Expect: backend.Any},
		"delete": {Type: backend.Delete, Key: "/gone", Expect: backend.Any},
	}
	for _, tt := range []struct {
		free    uint64
		refused map[string]bool
	}{
		{200 * mib, nil},
		{95 * mib, map[string]bool{"put": true}},
		{31 * mib, map[string]bool{"put": true, "urgent": true}},
		{0, map[string]bool{"put": true, "urgent": true}},
		{96 * mib, nil},
	} {
		b.server.room.free = func(string) (uint64, error) { return tt.free, nil }
		for name, op := range ops {
			_, err := b.Commit(t.Context(), op)
			if tt.refused[name] != errors.Is(err, backend.ErrNoSpace) || !tt.refused[name] && err != nil {
				t.Errorf("with %d MiB free, %s ends with %v", tt.free/mib, name, err)
			}
		}
		if _, err := b.Get(t.Context(), "/there", 0); err != nil {
			t.Errorf("with %d MiB free, a read fails with %v", tt.free/mib, err)
		}
	}
	b.server.room.free = func(string) (uint64, error) { return 0, nil }
	if err := b.Compact(context.Background(), 2); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("without space, a compaction ends with %v", err)
	}
	b.server.room.free = func(string) (uint64, error) { return 0, errors.New("no such disk") }
	if err := put(t, b, "/there", 1); err != nil {
		t.Errorf("with a disk that tells nothing, a write fails with %v", err)
	}
}

func TestFreeSpace(t *testing.T) {
	if free, err := freeSpace(t.TempDir()); err != nil || free == 0 {
		t.Errorf("a disk in use has %d bytes free, %v", free, err)
	}
	if _, err := freeSpace("/no/such/folder"); err == nil {
		t.Error("a folder that is not there has a disk")
	}
}

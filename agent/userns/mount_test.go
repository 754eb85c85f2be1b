package userns_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/userns"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

// TestBind: what is root's at the source is the range's first user's at the target,
// and the other way around for what is made there by that user.
func TestBind(t *testing.T) {
	needRoot(t)
	source, target := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(filepath.Join(source, "f"), 0, 1000); err != nil {
		t.Fatal(err)
	}
	r := userns.Range{First: 3 * userns.Unit, Length: userns.Unit}
	if err := r.Bind(source, target); err != nil {
		if errors.Is(err, userns.ErrNoMapping) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
	info, err := os.Stat(filepath.Join(target, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != r.First || s.Gid != r.First+1000 {
		t.Errorf("the owner is %d:%d, want %d:%d", s.Uid, s.Gid, r.First, r.First+1000)
	}
	if err := os.Lchown(filepath.Join(target, "f"), int(r.First)+7, int(r.First)+8); err != nil {
		t.Fatal(err)
	}
	if info, err = os.Stat(filepath.Join(source, "f")); err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 7 || s.Gid != 8 {
		t.Errorf("the owner became %d:%d, want 7:8", s.Uid, s.Gid)
	}
}

// TestProbe: a filesystem that cannot translate IDs is told from others.
func TestProbe(t *testing.T) {
	needRoot(t)
	if err := userns.Probe("/proc"); !errors.Is(err, userns.ErrNoMapping) {
		t.Errorf("/proc: %v, want ErrNoMapping", err)
	}
	if err := userns.Probe(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestPassable: the folder that is closed is named.
func TestPassable(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := userns.Passable(filepath.Join(closed, "below")); err != nil {
		t.Errorf("nothing is closed: %v", err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	err := userns.Passable(filepath.Join(closed, "below"))
	if err == nil || !strings.Contains(err.Error(), "may not pass through the folder "+closed+" (mode 0700)") {
		t.Errorf("got %v", err)
	}
}

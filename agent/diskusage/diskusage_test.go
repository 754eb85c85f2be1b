package diskusage

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOf(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Sync(); err != nil { // blocks are counted once they are there
			t.Fatal(err)
		}
	}
	write("a", 1<<20)
	write("sub/b", 1<<20)
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "sub", "again")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr", filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	hole, err := os.Create(filepath.Join(dir, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	if err := hole.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	got, err := Of(dir)
	if err != nil || got.Bytes < 2<<20 || got.Bytes > 2<<20+1<<18 || got.Inodes != 6 {
		t.Errorf("usage = %+v, %v; want two MiB and a little in six inodes", got, err)
	}
	if got, err := Of(filepath.Join(dir, "absent")); got != (Usage{}) || err != nil {
		t.Errorf("usage of nothing = %+v, %v", got, err)
	}
}

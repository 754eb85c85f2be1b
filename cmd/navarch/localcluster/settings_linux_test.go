package localcluster

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHostSettings(t *testing.T) {
	dir := t.TempDir()
	on, off := filepath.Join(dir, "on"), filepath.Join(dir, "off")
	h := hostSettings{note: filepath.Join(dir, "note"), paths: []string{on, off, filepath.Join(dir, "missing")}}
	write := func(path, value string) {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(on, "1\n")
	write(off, "0\n")
	// Two clusters come, each changing the settings, then the last one goes.
	for range 2 {
		if err := h.remember(); err != nil {
			t.Fatal(err)
		}
		write(on, "1\n")
		write(off, "1\n")
	}
	for range 2 { // the second time there is nothing to do
		if err := h.restore(); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{on: "1\n", off: "0"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", filepath.Base(path), got, err, want)
		}
	}
	if _, err := os.Stat(h.note); !os.IsNotExist(err) {
		t.Errorf("the note is left: %v", err)
	}
}

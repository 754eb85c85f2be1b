package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplacing(t *testing.T) {
	for name, write := range map[string]func(string, []byte, os.FileMode) error{"Write": Write, "Replace": Replace} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			for _, want := range []struct {
				content string
				mode    os.FileMode
			}{{"a first and longer content", 0o600}, {"second", 0o644}, {"", 0o400}} {
				if err := write(path, []byte(want.content), want.mode); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				if err != nil || string(got) != want.content {
					t.Fatalf("the file holds %q (%v), want %q", got, err, want.content)
				}
				info, err := os.Stat(path)
				if err != nil || info.Mode() != want.mode {
					t.Fatalf("the file's mode is %v (%v), want %v", info.Mode(), err, want.mode)
				}
			}
			onlyEntry(t, dir, "file")
		})
	}
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("content"), 0o600); err == nil {
		t.Error("a folder was replaced by a file")
	}
	onlyEntry(t, dir, "folder")
	if err := Write(filepath.Join(dir, "absent", "file"), nil, 0o600); err == nil {
		t.Error("a file was written into a folder that does not exist")
	}
}

func onlyEntry(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != want {
		t.Errorf("the folder holds %v, want only %s", entries, want)
	}
}

// Package looptest makes block devices of files, for tests of what is done with
// real ones.
package looptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// New returns a loop device, all zeros, that is so many bytes large, and the file
// behind it. Both go with the test. Where the machine makes no such devices, as
// without root's rights, the test is skipped.
func New(t testing.TB, size int64) (device, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Skipf("this machine makes no loop devices: %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil { //nolint:noctx // the test's context has ended
			t.Errorf("detach %s: %v: %s", device, err, out)
		}
	})
	return device, file
}

// Enlarge makes a device of New larger.
func Enlarge(t testing.TB, device, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "losetup", "--set-capacity", device).CombinedOutput(); err != nil {
		t.Fatalf("tell %s its size: %v: %s", device, err, out)
	}
}

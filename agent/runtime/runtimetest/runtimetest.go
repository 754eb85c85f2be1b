// Package runtimetest makes what tests need to run real containers: a Runtime in a
// temporary folder, and a root filesystem with busybox.
package runtimetest

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/telemetry"
)

// Busybox is where Debian's busybox-static installs its program.
const Busybox = "/bin/busybox"

// BinDir is where runc and the CNI plugins are: $NAVARCH_BIN_DIR, or bin in the
// module's root. It skips the test if runc is not there or the user is not root.
func BinDir(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running containers needs root")
	}
	dir := os.Getenv("NAVARCH_BIN_DIR")
	if dir == "" {
		dir = filepath.Join(moduleRoot(t), "bin")
	}
	if _, err := os.Stat(filepath.Join(dir, "runc")); err != nil {
		t.Skipf("no runc: %v (built by make, or set NAVARCH_BIN_DIR)", err)
	}
	return dir
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}

// BuildShim builds navarch-shim, from the go build cache as a rule, and returns
// its path. Where building takes long, $NAVARCH_TEST_SHIM is one that is built.
func BuildShim(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("NAVARCH_TEST_SHIM"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "navarch-shim")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/navarch-shim")
	cmd.Dir = moduleRoot(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build navarch-shim: %v\n%s", err, output)
	}
	return path
}

// Config returns the configuration of a Runtime whose state and cgroups go with
// the test.
func Config(t testing.TB) runtime.Config {
	t.Helper()
	cfg := runtime.DefaultConfig()
	cfg.RuncPath = filepath.Join(BinDir(t), "runc")
	cfg.ShimPath = BuildShim(t)
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	cfg.CgroupParent = "navarch/test-" + rand.Text()[:10]
	return cfg
}

// Open opens a Runtime as a starting agent does, and at the test's end removes all
// of it that is left.
func Open(t testing.TB, cfg runtime.Config) *runtime.Runc {
	t.Helper()
	r, err := runtime.New(cfg, telemetry.Discard("agent"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cleanUp(t, r, cfg) })
	return r
}

func cleanUp(t testing.TB, r *runtime.Runc, cfg runtime.Config) {
	ctx := context.Background()
	sandboxes, err := r.ListSandboxes(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, sandbox := range sandboxes {
		if err := r.RemoveSandbox(ctx, sandbox.Spec.UID); err != nil {
			t.Error(err)
		}
	}
	_ = r.Close()
	if err := runtime.RemoveCgroups(cfg.CgroupParent); err != nil {
		t.Error(err)
	}
}

// RootFS makes a root filesystem with busybox and two users.
func RootFS(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(Busybox)
	if err != nil {
		t.Skipf("no static busybox: %v (Debian: busybox-static)", err)
	}
	write(t, filepath.Join(dir, "bin/busybox"), program, 0o755)
	for _, applet := range []string{"sh", "cat", "echo", "sleep", "id", "tty", "stty", "true", "false", "hostname", "seq",
		"kill", "dd", "touch", "test", "ps", "ls", "grep", "mount", "env", "head", "tail", "yes"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n"), 0o644)
	write(t, filepath.Join(dir, "etc/group"), []byte("root:x:0:\napp:x:1001:\nextra:x:2000:app\n"), 0o644)
	return dir
}

func write(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}

package localcluster_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"navarch.dev/navarch/internal/busybox"
	"navarch.dev/navarch/internal/testcluster"
)

// manual is a cluster whose `up` and `down` a test calls itself.
type manual struct{ dir, gateway string }

func newManual(t *testing.T) *manual {
	t.Helper()
	dir, err := os.MkdirTemp("", "navarch-test-")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &manual{dir: dir, gateway: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, testcluster.Binary("navarch"), "down", "--purge", "--data-dir", dir).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	return m
}

func (m *manual) command(t *testing.T, verb string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, testcluster.Binary("navarch"), append([]string{verb, "--data-dir", m.dir}, args...)...)
}

func (m *manual) up(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return m.command(t, "up", append([]string{"--gateway-listen", m.gateway}, args...)...)
}

func (m *manual) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, testcluster.Binary("kubectl"),
		append([]string{"--kubeconfig", filepath.Join(m.dir, "kubeconfig")}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// foreground starts `up` and returns when it says that it is ready.
func (m *manual) foreground(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := m.up(t)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if !strings.HasPrefix(line, "ready in ") {
		t.Fatalf("up printed %q (%v)", line, err)
	}
	return cmd
}

// programs lists the pids of processes with exactly this command line.
func programs(t *testing.T, args ...string) []string {
	t.Helper()
	var found []string
	for _, path := range globs(t, "/proc/[0-9]*/cmdline") {
		data, err := os.ReadFile(path)
		if err == nil && string(bytes.TrimRight(data, "\x00")) == strings.Join(args, "\x00") {
			found = append(found, filepath.Base(filepath.Dir(path)))
		}
	}
	return found
}

func TestPodsOutliveTheServices(t *testing.T) {
	m := newManual(t)
	services := m.foreground(t)
	image := filepath.Join(t.TempDir(), "busybox.tar")
	if err := busybox.WriteImage(image); err != nil {
		t.Fatal(err)
	}
	if out, err := m.command(t, "image", "load", image).CombinedOutput(); err != nil {
		t.Fatalf("image load: %v\n%s", err, out)
	}
	m.kubectl(t, "run", "sleeper", "--image="+testcluster.BusyboxImage, "--command", "--", "sleep", "7654321")
	m.kubectl(t, "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
	const status = `jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.startTime}`
	before := m.kubectl(t, "get", "pod", "sleeper", "-o", status)
	running := programs(t, "sleep", "7654321")
	if len(running) != 1 {
		t.Fatalf("processes of the pod: %v, want one", running)
	}

	refuses(t, m.up(t), 1, "a cluster is running on the data folder "+m.dir+" already")
	refuses(t, m.up(t, "--detach"), 1, "a cluster is running on the data folder "+m.dir+" already")

	if err := services.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := services.Wait(); err != nil {
		t.Errorf("up ended with %v after SIGINT", err)
	}
	if left := ownServices(t, m.dir); len(left) > 0 {
		t.Errorf("services run on after SIGINT: %q", left)
	}
	if now := programs(t, "sleep", "7654321"); len(now) != 1 || now[0] != running[0] {
		t.Errorf("processes of the pod while the services are down: %v, want %v", now, running)
	}

	refuses(t, m.up(t, "--nodes", "2"), 1, "holds a cluster of 1 node(s), not 2")
	if out, err := m.command(t, "up", "--detach").CombinedOutput(); err != nil {
		t.Fatalf("up again: %v\n%s", err, out)
	}
	m.kubectl(t, "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
	if after := m.kubectl(t, "get", "pod", "sleeper", "-o", status); after != before {
		t.Errorf("the pod is %s, want %s", after, before)
	}
	m.kubectl(t, "exec", "sleeper", "--", "true")
	if now := programs(t, "sleep", "7654321"); len(now) != 1 || now[0] != running[0] {
		t.Errorf("processes of the pod after up: %v, want %v", now, running)
	}
}

// ownServices lists the running services of a data folder; the pods' shims are
// none.
func ownServices(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	for _, command := range processes(t) {
		if strings.Contains(command, dir+"/pki/") {
			found = append(found, command)
		}
	}
	return found
}

func TestFailedStartLeavesNothing(t *testing.T) {
	before := look(t)
	t.Run("up", func(t *testing.T) {
		for _, detach := range []string{"--detach=true", "--detach=false"} {
			m := newManual(t)
			// The Store's data cannot be where a file is.
			if err := os.WriteFile(filepath.Join(m.dir, "etcd"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			refuses(t, m.up(t, "--nodes", "2", detach), 1, "control-plane stopped while the cluster was starting")
			if left := ownServices(t, m.dir); len(left) > 0 {
				t.Errorf("services run on after up failed: %q", left)
			}
		}
	})
	compare(t, before, look(t))
}

func TestUpRefusesMachinesThatLackWhatItNeeds(t *testing.T) {
	bin, err := os.MkdirTemp("", "navarch-test-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(bin) }()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(bin, "navarch")
	data, err := os.ReadFile(testcluster.Binary("navarch"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("root", func(t *testing.T) {
		for _, args := range [][]string{{"up"}, {"up", "--detach"}, {"down"}} {
			cmd := exec.CommandContext(t.Context(), program, append(args, "--data-dir", filepath.Join(bin, "data"))...)
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			refuses(t, cmd, 1, "root is required")
		}
	})
	t.Run("overlayfs", func(t *testing.T) {
		filesystems := filepath.Join(t.TempDir(), "filesystems")
		if err := os.WriteFile(filesystems, []byte("nodev\ttmpfs\n\text4\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		script := `mount --bind "$1" /proc/filesystems && exec "$2" up --data-dir "$3"`
		cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", script, "sh",
			filesystems, testcluster.Binary("navarch"), filepath.Join(t.TempDir(), "data"))
		refuses(t, cmd, 1, "the kernel lacks overlayfs")
	})
}

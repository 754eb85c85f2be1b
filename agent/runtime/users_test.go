package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
	"navarch.dev/navarch/agent/userns"
)

var podUsers = userns.Range{First: 5 * userns.Unit, Length: userns.Unit}

// startUsersNode is startNode with a sandbox that has users of its own, who may come
// to its root filesystem.
func startUsersNode(t *testing.T, sandbox runtime.SandboxSpec) *node {
	t.Helper()
	// The pod's own tmpfs has to be translated too, which kernels before 6.3 cannot.
	if err := userns.Probe("/dev/shm"); errors.Is(err, userns.ErrNoMapping) {
		t.Skip(err)
	}
	sandbox.Users = &podUsers
	n := startNode(t, runtimetest.Config(t), sandbox)
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := podUsers.Bind(n.rootfs, root); errors.Is(err, userns.ErrNoMapping) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n.rootfs = root
	return n
}

// TestUsers: what containers of a pod with users of its own see and may do.
func TestUsers(t *testing.T) {
	n := startUsersNode(t, runtime.SandboxSpec{
		Hostname: "users", Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"},
		DNS: runtime.DNS{Servers: []string{"10.96.0.10"}},
	})
	data := t.TempDir()
	if err := os.Chmod(data, 0o700); err != nil {
		t.Fatal(err)
	}
	app := int64(1000)
	tests := []struct {
		name, script, want string
		change             func(*runtime.ContainerSpec)
	}{
		{"users", "cat /proc/self/uid_map; id -u", "         0     327680      65536\n0\n", nil},
		{"groups", "cat /proc/self/gid_map; id -g", "         0     327680      65536\n0\n", nil},
		{"host name", "hostname", "users\n", nil},
		{"sysctls", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced", "80\n1\n", nil},
		{"a volume that is root's", "touch /data/f; ls -ln /data | tail -n 1 | grep -c ' 0 *0 '", "1\n", nil},
		{"the pod's files", "ls -ln /etc/resolv.conf | grep -c ' 0 *0 '; echo x > /dev/shm/f; ls -ln /dev/shm/f | grep -c ' 0 *0 '", "1\n1\n", nil},
		{"output that is opened again", "echo x > /dev/stdout", "x\n", nil},
		{"errors that are opened again", "echo x > /dev/stderr", "x\n", nil},
		{"output of another user", "echo x > /dev/stdout; id -u", "x\n1000\n", func(s *runtime.ContainerSpec) { s.Security.RunAsUser = &app }},
		{"the usual capabilities", "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb\n", nil},
		{"all capabilities", "mount -t tmpfs x /tmp && echo mounted", "mounted\n", func(s *runtime.ContainerSpec) { s.Security.Privileged = true }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := n.spec(strings.ReplaceAll(tt.name, " ", "-"), tt.script)
			spec.Mounts = []runtime.Mount{{HostPath: data, ContainerPath: "/data"}}
			if tt.change != nil {
				tt.change(&spec)
			}
			if got := n.output(spec); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if info, err := os.Stat(filepath.Join(data, "f")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("on the disk the file is %+v, %v", info, err)
	}
}

// TestUsersExec: commands run in the container's namespaces, a new Runtime finds the
// pod's users again, and a mount that cannot be made for them is an error.
func TestUsersExec(t *testing.T) {
	n := startUsersNode(t, runtime.SandboxSpec{ShareProcessNamespace: true})
	id := n.start(n.spec("main", "sleep 1000"))
	var out bytes.Buffer
	code, err := n.Exec(t.Context(), id, runtime.ExecOptions{
		Command: []string{"/bin/sh", "-c", "cat /proc/self/uid_map; echo x > /dev/stdout"}, Stdout: &out,
	})
	if want := "         0     327680      65536\nx\n"; err != nil || code != 0 || out.String() != want {
		t.Errorf("exec: code %d, %v, %q, want %q", code, err, out.String(), want)
	}
	status, err := n.ContainerStatus(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	sandbox, err := n.SandboxStatus(t.Context(), podUID)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"user", "net", "ipc", "uts", "pid"} {
		if a, b := namespaceOf(t, status.Pid, name), namespaceOf(t, sandbox.PausePid, name); a != b || a == namespaceOf(t, os.Getpid(), name) {
			t.Errorf("the %s namespace is %s, that of the sandbox %s", name, a, b)
		}
	}
	spec := n.spec("sys", "true")
	spec.Mounts = []runtime.Mount{{HostPath: "/sys", ContainerPath: "/host"}}
	if err := n.CreateContainer(t.Context(), podUID, spec); err == nil || !strings.Contains(err.Error(), "idmap") {
		t.Errorf("a mount of /sys: %v", err)
	}
	if err := n.RemoveSandbox(context.Background(), podUID); err != nil {
		t.Error(err)
	}
}

func namespaceOf(t *testing.T, pid int, name string) string {
	t.Helper()
	link, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", name))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

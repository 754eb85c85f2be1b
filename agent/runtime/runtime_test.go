package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
)

// node is a Runtime with one sandbox, "pod".
type node struct {
	*runtime.Runc
	t      testing.TB
	rootfs string
	logs   string
}

const podUID = "pod"

func startNode(t testing.TB, cfg runtime.Config, sandbox runtime.SandboxSpec) *node {
	t.Helper()
	n := &node{Runc: runtimetest.Open(t, cfg), t: t, rootfs: runtimetest.RootFS(t), logs: t.TempDir()}
	sandbox.UID = podUID
	if err := n.CreateSandbox(t.Context(), sandbox); err != nil {
		t.Fatal(err)
	}
	return n
}

// spec is a container that runs a shell script.
func (n *node) spec(name, script string) runtime.ContainerSpec {
	return runtime.ContainerSpec{
		ID: runtime.NewID(), Name: name, RootFS: n.rootfs, LogPath: filepath.Join(n.logs, name+".log"),
		Command: []string{"/bin/sh", "-c", script},
	}
}

func (n *node) start(spec runtime.ContainerSpec) string {
	n.t.Helper()
	if err := n.CreateContainer(n.t.Context(), podUID, spec); err != nil {
		n.t.Fatal(err)
	}
	if err := n.StartContainer(n.t.Context(), spec.ID); err != nil {
		n.t.Fatal(err)
	}
	return spec.ID
}

// run runs a container to its end.
func (n *node) run(spec runtime.ContainerSpec) runtime.ContainerStatus {
	n.t.Helper()
	status, err := n.WaitExit(withLimit(n.t), n.start(spec))
	if err != nil {
		n.t.Fatal(err)
	}
	return status
}

// output runs a container and returns what it printed.
func (n *node) output(spec runtime.ContainerSpec) string {
	n.t.Helper()
	n.run(spec)
	return logText(n.t, spec.LogPath)
}

// logText is the text of a log's lines.
func logText(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 {
			t.Fatalf("malformed log line %q", line)
		}
		text.WriteString(fields[3])
	}
	return text.String()
}

func withLimit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestContainerLife(t *testing.T) {
	tests := []struct {
		name   string
		script string
		want   runtime.ContainerStatus
	}{
		{"success", "exit 0", runtime.ContainerStatus{ExitCode: 0, Reason: runtime.ReasonCompleted}},
		{"failure", "exit 3", runtime.ContainerStatus{ExitCode: 3, Reason: runtime.ReasonError}},
		{"signal", "kill -9 $$", runtime.ContainerStatus{ExitCode: 137, Signal: 9, Reason: runtime.ReasonError}},
		{"message", "echo -n bye >/dev/termination-log; exit 1",
			runtime.ContainerStatus{ExitCode: 1, Reason: runtime.ReasonError, TerminationMessage: "bye"}},
	}
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := n.spec(tt.name, "trap '' TERM; "+tt.script)
			spec.TerminationMessagePath = "/dev/termination-log"
			if tt.name == "signal" {
				spec.Command = []string{"/bin/sh", "-c", "sleep 1000 & wait"}
				id := n.start(spec)
				if err := n.SignalContainer(t.Context(), id, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				compareExit(t, waitExit(t, n, id), tt.want)
				return
			}
			compareExit(t, n.run(spec), tt.want)
		})
	}
}

func waitExit(t *testing.T, n *node, id string) runtime.ContainerStatus {
	t.Helper()
	status, err := n.WaitExit(withLimit(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func compareExit(t *testing.T, got, want runtime.ContainerStatus) {
	t.Helper()
	if got.State != runtime.StateExited || got.ExitCode != want.ExitCode || got.Signal != want.Signal ||
		got.Reason != want.Reason || got.TerminationMessage != want.TerminationMessage {
		t.Errorf("exit = %d signal %d %s %q, want %d signal %d %s %q", got.ExitCode, got.Signal, got.Reason,
			got.TerminationMessage, want.ExitCode, want.Signal, want.Reason, want.TerminationMessage)
	}
	if got.StartedAt.IsZero() || got.FinishedAt.Before(got.StartedAt) {
		t.Errorf("started %v, finished %v", got.StartedAt, got.FinishedAt)
	}
}

func TestWhatAContainerSees(t *testing.T) {
	netns := filepath.Join(t.TempDir(), "netns")
	if err := runtime.NewNetNS(netns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = runtime.DeleteNetNS(netns) })
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{
		Hostname: "web-0", NetNSPath: netns, Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"},
		DNS: runtime.DNS{Servers: []string{"10.96.0.10"}, Searches: []string{"a.svc", "svc"}, Options: []string{"ndots:5"}},
	})
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "file"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, script, want string
		change             func(*runtime.ContainerSpec)
	}{
		{name: "hostname", script: "hostname; cat /etc/hostname; echo $HOSTNAME", want: "web-0\nweb-0\nweb-0\n"},
		{name: "resolver", script: "cat /etc/resolv.conf", want: "search a.svc svc\nnameserver 10.96.0.10\noptions ndots:5\n"},
		{name: "network", script: "cat /proc/net/dev | grep -c :", want: "1\n"},
		{name: "sysctl", script: "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", want: "80\n"},
		{name: "process one", script: "echo $$", want: "1\n"},
		{name: "root", script: "id -u", want: "0\n"},
		{name: "image user", script: "id", want: "uid=1000(app) gid=1001(app) groups=1001(app),2000(extra)\n",
			change: func(s *runtime.ContainerSpec) { s.Image.User = "app" }},
		{name: "pod's user", script: "id -u; id -g; id -G", want: "1234\n77\n77 88\n",
			change: func(s *runtime.ContainerSpec) {
				s.Image.User = "app"
				s.Security.RunAsUser, s.Security.RunAsGroup = new(int64(1234)), new(int64(77))
				s.Security.SupplementalGroups = []int64{88}
			}},
		{name: "environment", script: "echo $A $B", want: "pod image\n", change: func(s *runtime.ContainerSpec) {
			s.Image.Env = []string{"A=image", "B=image"}
			s.Env = []runtime.EnvVar{{Name: "A", Value: "pod"}}
		}},
		{name: "working directory", script: "echo $PWD", want: "/new/dir\n",
			change: func(s *runtime.ContainerSpec) { s.WorkingDir = "/new/dir" }},
		{name: "volume", script: "cat /data/file; touch /data/x 2>/dev/null || echo ' read-only'", want: "from the host read-only\n",
			change: func(s *runtime.ContainerSpec) {
				s.Mounts = []runtime.Mount{{HostPath: host, ContainerPath: "/data", ReadOnly: true}}
			}},
		{name: "read-only root", script: "touch /x 2>/dev/null || echo refused", want: "refused\n",
			change: func(s *runtime.ContainerSpec) { s.Security.ReadOnlyRootFS = true }},
		{name: "capabilities", script: "grep CapEff /proc/self/status", want: "CapEff:\t00000000a80425fb\n"},
		{name: "no capabilities", script: "grep CapEff /proc/self/status", want: "CapEff:\t0000000000000400\n",
			change: func(s *runtime.ContainerSpec) {
				s.Security.DropCapabilities, s.Security.AddCapabilities = []string{"ALL"}, []string{"NET_BIND_SERVICE"}
			}},
		{name: "privileged", script: "grep -c a80425fb /proc/self/status; test -w /proc/sys/kernel/hostname && echo open", want: "0\nopen\n",
			change: func(s *runtime.ContainerSpec) { s.Security.Privileged = true }},
		{name: "seccomp", script: "grep Seccomp: /proc/self/status", want: "Seccomp:\t2\n",
			change: func(s *runtime.ContainerSpec) { s.Security.Seccomp = runtime.SeccompRuntimeDefault }},
		{name: "arguments", want: "one two\n", change: func(s *runtime.ContainerSpec) {
			s.Command, s.Args, s.Image.Entrypoint, s.Image.Cmd = nil, []string{"one", "two"}, []string{"/bin/echo"}, []string{"x"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := n.spec(strings.ReplaceAll(tt.name, " ", "-"), tt.script)
			if tt.change != nil {
				tt.change(&spec)
			}
			if got := n.output(spec); got != tt.want {
				t.Errorf("output %q, want %q", got, tt.want)
			}
		})
	}
}

func TestInvalidContainers(t *testing.T) {
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{})
	tests := []struct {
		name   string
		change func(*runtime.ContainerSpec)
		want   string
	}{
		{"no command", func(s *runtime.ContainerSpec) { s.Command = nil }, "no command specified"},
		{"unknown user", func(s *runtime.ContainerSpec) { s.Image.User = "nobody-here" }, "nobody-here"},
		{"root though not wanted", func(s *runtime.ContainerSpec) { s.Security.RunAsNonRoot = true }, "will run as root"},
		{"name though a number is needed", func(s *runtime.ContainerSpec) { s.Security.RunAsNonRoot, s.Image.User = true, "app" }, "non-numeric"},
		{"unknown capability", func(s *runtime.ContainerSpec) { s.Security.AddCapabilities = []string{"FLY"} }, "FLY"},
		{"missing program", func(s *runtime.ContainerSpec) { s.Command = []string{"/no/such"} }, "no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := n.spec("c", "true")
			tt.change(&spec)
			err := n.CreateContainer(t.Context(), podUID, spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if _, err := n.ContainerStatus(t.Context(), spec.ID); !errors.Is(err, runtime.ErrNotFound) {
				t.Errorf("after the failure: %v, want not found", err)
			}
		})
	}
}

func TestOOMKilled(t *testing.T) {
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{})
	spec := n.spec("hog", "x=0123456789abcdef; while true; do x=$x$x; done")
	spec.Resources.MemoryLimit = 16 << 20
	status := n.run(spec)
	if !status.OOMKilled || status.Reason != runtime.ReasonOOMKilled || status.ExitCode != 137 {
		t.Errorf("status %+v", status)
	}
}

func TestUsageAndUpdate(t *testing.T) {
	cfg := runtimetest.Config(t)
	n := startNode(t, cfg, runtime.SandboxSpec{Resources: runtime.Resources{CPUShares: 512, MemoryLimit: 64 << 20}})
	spec := n.spec("busy", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done >&2; sleep 1000")
	spec.Resources = runtime.Resources{MemoryLimit: 32 << 20, CPUQuota: runtime.QuotaForMilliCPU(1500), PidsLimit: 100}
	id := n.start(spec)
	usage, err := n.ContainerUsage(t.Context(), id)
	if err != nil || usage.CPUNanoseconds == 0 || usage.Pids == 0 {
		t.Errorf("usage %+v, %v", usage, err)
	}
	if usage, err := n.SandboxUsage(t.Context(), podUID); err != nil || usage.CPUNanoseconds == 0 {
		t.Errorf("sandbox usage %+v, %v", usage, err)
	}
	if err := n.UpdateContainerResources(t.Context(), id, runtime.Resources{MemoryLimit: 48 << 20}, map[string]string{"a": "b"}); err != nil {
		t.Error(err)
	}
	if err := n.AnnotateContainer(t.Context(), id, map[string]string{"c": "d"}); err != nil {
		t.Error(err)
	}
	if err := n.UpdateSandboxResources(t.Context(), podUID, runtime.Resources{MemoryLimit: 128 << 20}); err != nil {
		t.Error(err)
	}
	want := runtime.Resources{MemoryLimit: 48 << 20, CPUQuota: runtime.QuotaForMilliCPU(1500), PidsLimit: 100}
	next := runtimetest.Open(t, cfg) // the next agent knows what was changed
	status, err := next.ContainerStatus(t.Context(), id)
	if err != nil || status.Spec.Resources != want || status.Spec.Annotations["a"] != "b" || status.Spec.Annotations["c"] != "d" {
		t.Errorf("the container has %+v and %v, want %+v: %v", status.Spec.Resources, status.Spec.Annotations, want, err)
	}
	wantPod := runtime.Resources{CPUShares: 512, MemoryLimit: 128 << 20}
	if sandbox, err := next.SandboxStatus(t.Context(), podUID); err != nil || sandbox.Spec.Resources != wantPod {
		t.Errorf("the sandbox has %+v, want %+v: %v", sandbox.Spec.Resources, wantPod, err)
	}
}

func TestExec(t *testing.T) {
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{})
	id := n.start(n.spec("main", "sleep 1000"))
	tests := []struct {
		name, stdin, stdout, stderr string
		command                     []string
		tty                         bool
		code                        int
	}{
		{name: "output", command: []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 7"}, stdout: "out\n", stderr: "err\n", code: 7},
		{name: "input", command: []string{"/bin/cat"}, stdin: "hello", stdout: "hello"},
		{name: "terminal", command: []string{"/bin/sh", "-c", "tty >/dev/null && echo $TERM; exit 2"}, tty: true, stdout: "xterm\r\n", code: 2},
		{name: "much output", command: []string{"/bin/sh", "-c", "seq 1 100000 | tail -n 1"}, stdout: "100000\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			opts := runtime.ExecOptions{Command: tt.command, TTY: tt.tty, Stdout: &stdout, Stderr: &stderr}
			if tt.stdin != "" {
				opts.Stdin = strings.NewReader(tt.stdin)
			}
			code, err := n.Exec(withLimit(t), id, opts)
			if err != nil {
				t.Fatal(err)
			}
			if code != tt.code || stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
			}
		})
	}
	t.Run("missing program", func(t *testing.T) {
		if _, err := n.Exec(withLimit(t), id, runtime.ExecOptions{Command: []string{"nothing"}}); err == nil ||
			!strings.Contains(err.Error(), "not found") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(withLimit(t))
		out := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
		_, err := n.Exec(ctx, id, runtime.ExecOptions{Command: []string{"/bin/sh", "-c", "echo x; sleep 1000"}, Stdout: out})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestExecResize(t *testing.T) {
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{})
	id := n.start(n.spec("main", "sleep 1000"))
	resize := make(chan runtime.TerminalSize, 1)
	resize <- runtime.TerminalSize{Width: 101, Height: 33}
	var out bytes.Buffer
	_, err := n.Exec(withLimit(t), id, runtime.ExecOptions{
		Command: []string{"/bin/sh", "-c", `while [ "$(stty size 2>/dev/null)" != "33 101" ]; do :; done; stty size`},
		TTY:     true, Stdout: &out, Resize: resize,
	})
	if err != nil || out.String() != "33 101\r\n" {
		t.Errorf("output %q, %v", out.String(), err)
	}
}

func TestAttach(t *testing.T) {
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{})
	spec := n.spec("echo", "read line; echo got $line; read line; echo got $line")
	spec.Stdin, spec.StdinOnce = true, true
	id := n.start(spec)
	var out bytes.Buffer
	err := n.Attach(withLimit(t), id, runtime.AttachOptions{Stdin: strings.NewReader("one\ntwo\n"), Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if want := "got one\ngot two\n"; out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
}

func TestSharedProcessNamespace(t *testing.T) {
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{ShareProcessNamespace: true})
	n.start(n.spec("first", "exec sleep 1234"))
	got := n.output(n.spec("second", "grep -c . /proc/1/comm; ls /proc/1/root 2>&1; cat /proc/[0-9]*/cmdline | grep -c 1234"))
	if want := "1\nls: /proc/1/root: Permission denied\n1\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

func TestTargetedContainerSharesProcesses(t *testing.T) {
	n := startNode(t, runtimetest.Config(t), runtime.SandboxSpec{})
	apart := n.start(n.spec("apart", "exec sleep 4321"))
	target := n.start(n.spec("target", "exec sleep 1234"))
	debug := n.spec("debug", "tr '\\0' ' ' </proc/1/cmdline; echo; cat /proc/[0-9]*/cmdline | grep -c 4[3]21")
	debug.TargetID = target
	if got, want := n.output(debug), "sleep 1234 \n0\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if err := n.SignalContainer(t.Context(), apart, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := n.WaitExit(withLimit(t), apart); err != nil {
		t.Fatal(err)
	}
	late := n.spec("late", "true")
	late.TargetID = apart
	if err := n.CreateContainer(t.Context(), podUID, late); !errors.Is(err, runtime.ErrNotRunning) {
		t.Errorf("error = %v, want %v", err, runtime.ErrNotRunning)
	}
}

func TestRemoveSandboxLeavesNothing(t *testing.T) {
	cfg := runtimetest.Config(t)
	n := startNode(t, cfg, runtime.SandboxSpec{})
	n.start(n.spec("a", "sleep 1000"))
	n.run(n.spec("b", "true"))
	before, err := n.SandboxStatus(t.Context(), podUID)
	if err != nil || !before.Ready {
		t.Fatalf("before: %+v, %v", before, err)
	}
	for range 2 {
		if err := n.RemoveSandbox(t.Context(), podUID); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range []int{before.PausePid, before.ShimPid} {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil && isOurs(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	for _, pattern := range []string{filepath.Join(cfg.StateDir, "pods", "*"), filepath.Join(cfg.StateDir, "runc", "*"),
		filepath.Join("/sys/fs/cgroup", "*", cfg.CgroupParent, "pod*")} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// isOurs tells a shim or pause process from one that reuses its number.
func isOurs(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && (bytes.Contains(data, []byte("navarch-shim")) || bytes.Contains(data, []byte("/pause")))
}

package runtime_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
	"navarch.dev/navarch/agent/shim"
	"navarch.dev/navarch/internal/telemetry"
)

// agentEnv makes the test program play the agent that is killed: it holds the
// state folder and cgroup parent, separated by a line break.
const agentEnv = "NAVARCH_TEST_AGENT"

func TestMain(m *testing.M) {
	if args := os.Getenv(agentEnv); args != "" {
		if err := playAgent(strings.Split(args, "\n")); err != nil {
			fmt.Println("agent:", err)
			os.Exit(1)
		}
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

const crashLines = 20000

// playAgent starts a pod that logs fast and one that exits while no agent is there.
func playAgent(args []string) error {
	cfg := runtime.DefaultConfig()
	cfg.StateDir, cfg.CgroupParent, cfg.RuncPath, cfg.ShimPath = args[0], args[1], args[2], args[3]
	cfg.LogMaxBytes, cfg.LogMaxFiles = 256<<10, 100
	r, err := runtime.New(cfg, telemetry.Discard("agent"))
	if err != nil {
		return err
	}
	ctx := contextOfProcess()
	if err := r.CreateSandbox(ctx, runtime.SandboxSpec{UID: podUID}); err != nil {
		return err
	}
	spec := runtime.ContainerSpec{
		ID: "logger", Name: "logger", RootFS: args[4], LogPath: filepath.Join(args[5], "logger.log"),
		Command: []string{"/bin/sh", "-c", fmt.Sprintf("seq 1 %d; exit 42", crashLines)},
	}
	if err := r.CreateContainer(ctx, podUID, spec); err != nil {
		return err
	}
	if err := r.StartContainer(ctx, spec.ID); err != nil {
		return err
	}
	fmt.Println("started")
	return nil
}

// TestKilledAgent: an agent is killed while a container logs; the next one finds
// every line, and the exit code.
func TestKilledAgent(t *testing.T) {
	cfg := runtimetest.Config(t)
	rootfs, logDir := runtimetest.RootFS(t), t.TempDir()
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), agentEnv+"="+strings.Join(
		[]string{cfg.StateDir, cfg.CgroupParent, cfg.RuncPath, cfg.ShimPath, rootfs, logDir}, "\n"))
	stdout, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 256)
	n, _ := stdout.Read(said)
	_ = agent.Process.Kill()
	_ = agent.Wait()
	if got := string(said[:n]); got != "started\n" {
		t.Fatalf("agent said %q", got)
	}

	r := runtimetest.Open(t, cfg)
	status, err := r.WaitExit(withLimit(t), "logger")
	if err != nil {
		t.Fatal(err)
	}
	if status.ExitCode != 42 || status.Spec.Name != "logger" {
		t.Errorf("status %+v", status)
	}
	var want strings.Builder
	for line := range crashLines {
		fmt.Fprintln(&want, line+1)
	}
	if got := allLogText(t, filepath.Join(logDir, "logger.log")); got != want.String() {
		t.Errorf("%d bytes of log, want %d: a line was lost", len(got), want.Len())
	}
	if sandbox, err := r.SandboxStatus(t.Context(), podUID); err != nil || !sandbox.Ready {
		t.Errorf("sandbox %+v, %v", sandbox, err)
	}
}

// allLogText is logText of the rotated files too.
func allLogText(t *testing.T, path string) string {
	t.Helper()
	rotated, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Fatal(err)
	}
	if len(rotated) == 0 {
		t.Error("the log was not rotated")
	}
	slices.Sort(rotated)
	var text bytes.Buffer
	for _, file := range append(rotated, path) {
		text.WriteString(logText(t, file))
	}
	return text.String()
}

// TestHangingShim: an agent that finds a shim which hangs goes on without it, has
// its news when it answers, and ends it with its pod if it does not.
func TestHangingShim(t *testing.T) {
	hanging := func(t *testing.T, script string) (r *runtime.Runc, id string, pid, shimPid int) {
		cfg := runtimetest.Config(t)
		n := startNode(t, cfg, runtime.SandboxSpec{})
		id = n.start(n.spec("main", script))
		container, err := n.ContainerStatus(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		sandbox, err := n.SandboxStatus(t.Context(), podUID)
		if err != nil {
			t.Fatal(err)
		}
		_ = n.Close()
		if err := syscall.Kill(sandbox.ShimPid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(sandbox.ShimPid, syscall.SIGCONT) })
		cfg.AnswerTime = time.Second
		return runtimetest.Open(t, cfg), id, container.Pid, sandbox.ShimPid
	}
	t.Run("answers later", func(t *testing.T) {
		r, id, pid, shimPid := hanging(t, "sleep 1000")
		if status, err := r.ContainerStatus(t.Context(), id); err != nil || status.State != runtime.StateRunning {
			t.Errorf("status %+v, %v", status, err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(shimPid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		status, err := r.WaitExit(withLimit(t), id)
		if err != nil || status.ExitCode != 137 || status.Reason == runtime.ReasonUnknown {
			t.Errorf("status %+v, %v", status, err)
		}
	})
	t.Run("its container is ended", func(t *testing.T) {
		r, id, pid, _ := hanging(t, "sleep 1000")
		_ = r.SignalContainer(t.Context(), id, syscall.SIGTERM) // cannot be told, which is no error of the caller's
		status, err := r.WaitExit(withLimit(t), id)
		if err != nil || status.Reason != runtime.ReasonUnknown {
			t.Errorf("status %+v, %v", status, err)
		}
		if process, err := shim.Identify(pid); err == nil && process.Alive() {
			t.Errorf("process %d still runs", pid)
		}
	})
	t.Run("its pod is removed", func(t *testing.T) {
		r, _, pid, _ := hanging(t, "sleep 1000")
		if err := r.RemoveSandbox(t.Context(), podUID); err != nil {
			t.Error(err)
		}
		if process, err := shim.Identify(pid); err == nil && process.Alive() {
			t.Errorf("process %d still runs", pid)
		}
	})
}

// TestKilledShim: with the shim, the containers are lost; they are reported as
// failed, with a reason, and the pod can be removed.
func TestKilledShim(t *testing.T) {
	tests := []struct {
		name string
		// restart: the agent is not there when the shim is killed.
		restart bool
	}{{"seen at once", false}, {"found later", true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := runtimetest.Config(t)
			events := make(chan runtime.Event, 10)
			cfg.OnEvent = func(event runtime.Event) { events <- event }
			n := startNode(t, cfg, runtime.SandboxSpec{})
			id := n.start(n.spec("main", "sleep 1000"))
			running, err := n.ContainerStatus(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			sandbox, err := n.SandboxStatus(t.Context(), podUID)
			if err != nil {
				t.Fatal(err)
			}
			r := n.Runc
			if tt.restart {
				_ = n.Close()
			}
			if err := syscall.Kill(sandbox.ShimPid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if tt.restart {
				r = runtimetest.Open(t, cfg)
			}
			status, err := r.WaitExit(withLimit(t), id)
			if err != nil {
				t.Fatal(err)
			}
			if status.Reason != runtime.ReasonUnknown || status.ExitCode != 137 || !strings.Contains(status.Message, "shim died") {
				t.Errorf("status %+v", status)
			}
			if process, err := shim.Identify(running.Pid); err == nil && process.Alive() {
				t.Errorf("process %d still runs", running.Pid)
			}
			if event := <-events; event.PodUID != podUID {
				t.Errorf("event %+v", event)
			}
			if after, err := r.SandboxStatus(t.Context(), podUID); err != nil || after.Ready {
				t.Errorf("sandbox %+v, %v", after, err)
			}
			if err := r.RemoveSandbox(t.Context(), podUID); err != nil {
				t.Error(err)
			}
		})
	}
}

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"navarch.dev/navarch/internal/atomicfile"
)

const (
	// restartDelay doubles with each death of a process, up to maxRestartDelay;
	// a process that ran for healthyTime starts over.
	restartDelay    = 100 * time.Millisecond
	maxRestartDelay = 10 * time.Second
	healthyTime     = 30 * time.Second
	// stopTime is how long a process may take to stop before it is killed.
	stopTime = 8 * time.Second
)

// processSpec is one process that the supervisor keeps running.
type processSpec struct {
	name string
	args []string
	// node is whose process it is; empty is the control plane's.
	node string
	// namespace is the network namespace to start it in; empty is the host's.
	namespace string
}

// keepRunning starts the process and starts it again whenever it dies, until
// ctx ends; then it asks it to stop. It returns an error only if the process
// fails at its first start, before ready says that the cluster has been up.
func keepRunning(ctx context.Context, log *slog.Logger, l Layout, spec processSpec, ready <-chan struct{}) error {
	delay := restartDelay
	for ctx.Err() == nil {
		started := time.Now()
		err := runOnce(ctx, log, l, spec)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was stopped
		}
		if !isClosed(ready) {
			return fmt.Errorf("%s stopped while the cluster was starting: %s (see %s)", spec.name, lastWords(l.Log(spec.name), err), l.Log(spec.name))
		}
		if time.Since(started) > healthyTime {
			delay = restartDelay
		}
		log.WarnContext(ctx, "process died", "process", spec.name, "error", err, "restart", delay)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, maxRestartDelay)
	}
	return nil
}

// lastWords returns what a process that failed said last, or how it ended.
func lastWords(log string, err error) string {
	data, rerr := os.ReadFile(log)
	if rerr != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if words, ok := strings.CutPrefix(lines[len(lines)-1], "navarch: "); ok {
		return words
	}
	return err.Error()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// runOnce runs the process until it ends by itself or ctx does.
func runOnce(ctx context.Context, log *slog.Logger, l Layout, spec processSpec) error {
	logFile, err := os.OpenFile(l.Log(spec.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { _ = logFile.Close() }()
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, executable, spec.args...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	// A child that outlives its supervisor would be run twice.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	ended := make(chan error, 1)
	go func() {
		// The parent-death signal comes when the thread that started the child
		// ends, and the thread decides the child's network namespace. So it is
		// this goroutine's alone, and ends with it.
		runtime.LockOSThread()
		ended <- startAndWait(ctx, cmd, log, l, spec)
	}()
	return <-ended
}

func startAndWait(ctx context.Context, cmd *exec.Cmd, log *slog.Logger, l Layout, spec processSpec) error {
	if spec.namespace != "" {
		handle, err := netns.GetFromPath(spec.namespace)
		if err != nil {
			return fmt.Errorf("open the network namespace %s: %w", spec.namespace, err)
		}
		defer func() { _ = handle.Close() }()
		if err := netns.Set(handle); err != nil {
			return fmt.Errorf("enter the network namespace %s: %w", spec.namespace, err)
		}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", spec.name, err)
	}
	pid := []byte(strconv.Itoa(cmd.Process.Pid) + "\n")
	if err := atomicfile.Write(l.PidFile(spec.name), pid, 0o644); err != nil {
		// A disk that is full must not be what keeps the process from running. It
		// ends with this one anyway.
		log.WarnContext(ctx, "the process's pid is not noted", "process", spec.name, "pid", cmd.Process.Pid, "error", err)
	}
	defer func() { _ = os.Remove(l.PidFile(spec.name)) }()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", spec.name, err)
	}
	return errEnded
}

// errEnded says that a process ended by itself, without an error.
var errEnded = errors.New("it ended by itself")

// stopSupervisor asks the supervisor of the data folder to stop and waits until
// it has. None running is no error.
func stopSupervisor(ctx context.Context, l Layout) error {
	data, err := os.ReadFile(l.PidFile("up"))
	if err != nil {
		return nil //nolint:nilerr // No pid file: no supervisor has been running.
	}
	unlock, err := lockFile(l.Lock(), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		unlock() // the supervisor died without removing its pid
		return nil
	}
	if !errors.Is(err, errLocked) {
		return err
	}
	var pid int
	if _, err := fmt.Sscan(string(data), &pid); err != nil || pid <= 1 {
		return fmt.Errorf("the supervisor's pid in %s is not a pid: %q", l.PidFile("up"), data)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the supervisor, process %d: %w", pid, err)
	}
	return waitForLock(ctx, l)
}

// waitForLock waits until the supervisor has given its lock back.
func waitForLock(ctx context.Context, l Layout) error {
	got := make(chan error, 1)
	go func() {
		unlock, err := lockFile(l.Lock(), unix.LOCK_EX)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the supervisor to stop: %w", ctx.Err())
	}
}

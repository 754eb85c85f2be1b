package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopStrays ends the processes of the cluster that a killed supervisor has
// left: they have been asked to stop when it died, but may not be done with it.
// The caller holds the cluster's lock.
func stopStrays(ctx context.Context, l Layout) error {
	files, err := filepath.Glob(l.PidFile("*"))
	if err != nil {
		return fmt.Errorf("list the processes: %w", err)
	}
	var errs []error
	for _, file := range files {
		if file != l.PidFile("up") {
			errs = append(errs, stopStray(ctx, l, file))
		}
		errs = append(errs, removeFile(file))
	}
	return errors.Join(errs...)
}

func stopStray(ctx context.Context, l Layout, pidFile string) error {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return nil // It is gone meanwhile.
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return nil // a pid file that was cut short
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // There is no such process.
	}
	defer func() { _ = unix.Close(process) }()
	// The pid may be another program's by now. Once the handle is open, what
	// is true of the pid is true of the handle.
	if !belongsTo(pid, l) {
		return nil
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(process, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
		if ended, err := waitForEnd(ctx, process, stopTime); ended || err != nil {
			return err
		}
	}
	return fmt.Errorf("stop process %d: it has not ended", pid)
}

// belongsTo says whether a process was started for the cluster of a data
// folder: all have its certificates' folder on their command line.
func belongsTo(pid int, l Layout) bool {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(command, []byte(l.PKI()+string(filepath.Separator)))
}

// waitForEnd waits until the process of a handle has ended, and says whether
// it has within the bound.
func waitForEnd(ctx context.Context, process int, bound time.Duration) (bool, error) {
	const step = 100 * time.Millisecond // how soon the end of ctx is seen
	for waited := time.Duration(0); waited < bound; waited += step {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(step.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("wait for a process to end: %w", err)
		}
		if n > 0 {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, fmt.Errorf("wait for a process to end: %w", ctx.Err())
		}
	}
	return false, nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a file of the last run: %w", err)
	}
	return nil
}

package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"navarch.dev/navarch/agent/shim"
)

// stdio are the standard streams given to a program; nil is /dev/null.
type stdio [3]*os.File

// runc runs the program runc. Its paths are relative to the shim's folder, which
// is the working directory, or absolute.
type runc struct {
	path, root string
	reaper     *reaper
	null       *os.File
}

// run runs runc to its end. A failure is told in runc's own words, which it
// writes to the log.
func (r *runc) run(logPath string, streams stdio, args ...string) error {
	argv := append([]string{"runc", "--root", r.root, "--log", logPath, "--log-format", "json"}, args...)
	before := sizeOf(logPath)
	_, exit, err := r.reaper.start(r.path, argv, &syscall.ProcAttr{Files: r.files(streams), Env: os.Environ()})
	if err != nil {
		return err
	}
	status := <-exit
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	if message := lastError(logPath, before); message != "" {
		return errors.New(message)
	}
	code, _ := exitCode(status)
	return fmt.Errorf("runc %s: exit status %d", args[0], code)
}

func (r *runc) files(streams stdio) []uintptr {
	files := make([]uintptr, len(streams))
	for i, f := range streams {
		if f == nil {
			f = r.null
		}
		files[i] = f.Fd()
	}
	return files
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// lastError returns the last error that runc wrote to its log after offset.
func lastError(path string, offset int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(offset, 0); err != nil {
		return ""
	}
	message := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			message = entry.Msg
		}
	}
	return message
}

// readPid reads a pid file.
func readPid(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read pid: %w", err)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil {
		return 0, fmt.Errorf("read pid: %w", err)
	}
	return pid, nil
}

// release lets a created container run. runc leaves it blocked opening the fifo
// for writing; reading the fifo is all that "runc start" does then, and doing it
// here saves running the program. The fifo's absence is what marks the container
// as running to runc.
func (r *runc) release(id string, ended <-chan struct{}) error {
	path := filepath.Join(r.root, id, "exec.fifo")
	opened := make(chan error, 1)
	go func() { opened <- readFifo(path) }()
	select {
	case err := <-opened:
		return err
	case <-ended:
	}
	// The main process died: end the blocked open by being the writer oneself.
	if w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
		_ = w.Close()
	}
	if err := <-opened; err != nil {
		return errors.New("the container ended before it was started")
	}
	return nil
}

func readFifo(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open exec fifo: %w", err)
	}
	defer func() { _ = f.Close() }()
	if n, err := f.Read(make([]byte, 1)); n == 0 {
		return fmt.Errorf("read exec fifo: %w", err)
	}
	return os.Remove(path)
}

// oomKills reads how many processes of the cgroup the kernel killed for memory:
// the files of both cgroup versions say "oom_kill N".
func oomKills(cgroup string) int {
	for _, name := range []string{"memory.events", "memory.oom_control"} {
		data, err := os.ReadFile(filepath.Join(cgroup, name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(count))
				return n
			}
		}
	}
	return 0
}

// killAll kills what is left in a cgroup. Forks may race with the reading, so it
// is read until it is empty or does not change.
func killAll(cgroup string) {
	for range 100 {
		data, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
		if err != nil || len(data) == 0 {
			return
		}
		for pid := range strings.FieldsSeq(string(data)) {
			killPid(pid)
		}
	}
}

func killPid(text string) {
	pid, err := strconv.Atoi(text)
	if err != nil {
		return
	}
	process, err := shim.Identify(pid)
	if err != nil {
		return
	}
	_ = process.Kill()
}

package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Identify returns the identity of a running process.
func Identify(pid int) (ProcessID, error) {
	start, _, err := statOf(pid)
	return ProcessID{Pid: pid, StartTime: start}, err
}

// Alive tells whether the process runs: it exists, is the same one and is no zombie.
func (p ProcessID) Alive() bool {
	if p.Pid <= 0 {
		return false
	}
	start, state, err := statOf(p.Pid)
	return err == nil && start == p.StartTime && state != 'Z' && state != 'X'
}

// isGone says that opening a process failed because there is none of that number: it
// has been reaped, is just being (EINVAL), or the number is now a thread's (EINVAL;
// ENOENT from Linux 6.15 on).
func isGone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)
}

// Kill sends SIGKILL to the process if it is still the same one.
func (p ProcessID) Kill() error { return p.Signal(unix.SIGKILL) }

// Signal sends a signal to the process if it is still the same one. A pidfd keeps
// the number from being reused between the check and the signal.
func (p ProcessID) Signal(signal unix.Signal) error {
	if p.Pid <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.Pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.Pid, err)
	}
	return nil
}

// Wait blocks until the process is gone; it need not be a child.
func (p ProcessID) Wait() error {
	if p.Pid <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.Pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	for p.Alive() {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == nil || !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return nil
}

// statOf reads the start time and the state of a process. The command's name,
// in parentheses, may hold anything; the fields are counted after its end.
func statOf(pid int) (start uint64, state byte, err error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("stat of process %d has no name", pid)
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("stat of process %d has %d fields", pid, len(fields))
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0], err
}

// WriteFileAtomic writes value as JSON under a temporary name and renames it. It
// does not sync: the state describes processes, which a power loss ends too. Where
// there is no room for a second file, the one that is there is overwritten: that a
// container has ended must be told all the same. A reader who comes at that moment
// may find it undecodable.
func WriteFileAtomic(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	err = os.WriteFile(temporary, data, 0o600)
	if err == nil {
		return os.Rename(temporary, path)
	}
	_ = os.Remove(temporary) // the error that matters is known
	if errors.Is(err, unix.ENOSPC) && overwrite(path, data) == nil {
		return nil
	}
	return err
}

// overwrite replaces the content of a file that is there, in one write, and where
// its blocks are.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		data = append(data, bytes.Repeat([]byte(" "), max(int(info.Size())-len(data), 0))...)
		_, err = f.WriteAt(data, 0)
	}
	return errors.Join(err, f.Close())
}

// ReadFile decodes a JSON file.
func ReadFile(path string, value any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

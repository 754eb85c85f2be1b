package server

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for all children of the shim. Besides the ones it started itself
// (runc), these are the containers' main processes, which become its children
// when the runc that made them exits, and of which it learns only then.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
	// adopting counts the callers that are about to learn a child's number. While
	// there are any, the exits of unknown children are kept for them.
	adopting int
	unknown  map[int]syscall.WaitStatus
}

// newReaper makes the process a child subreaper and begins to wait.
func newReaper() (*reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a child subreaper: %w", err)
	}
	r := &reaper{waiting: map[int]chan syscall.WaitStatus{}, unknown: map[int]syscall.WaitStatus{}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for range signals {
			r.collect()
		}
	}()
	return r, nil
}

// collect takes the status of all children that have ended.
func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.deliver(pid, status)
	}
}

func (r *reaper) deliver(pid int, status syscall.WaitStatus) {
	if exit, ok := r.waiting[pid]; ok {
		delete(r.waiting, pid)
		exit <- status
		return
	}
	if r.adopting > 0 {
		r.unknown[pid] = status
	}
}

// start runs a program. The lock keeps its exit from being collected before
// anyone waits for it.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", path, err)
	}
	return pid, r.waitLocked(pid), nil
}

// startIn is start with the child born in another network namespace.
func (r *reaper) startIn(netns, path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	if netns == "" {
		return r.start(path, argv, attr)
	}
	type result struct {
		pid  int
		exit <-chan syscall.WaitStatus
		err  error
	}
	started := make(chan result)
	go func() {
		// Never unlocked: the thread, which is in the wrong namespace, ends with the
		// goroutine.
		runtime.LockOSThread()
		if err := enterNetNS(netns); err != nil {
			started <- result{err: err}
			return
		}
		pid, exit, err := r.start(path, argv, attr)
		started <- result{pid, exit, err}
	}()
	r0 := <-started
	return r0.pid, r0.exit, r0.err
}

func enterNetNS(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

// adopt is held by a caller from before a child it does not know may end until it
// has called wait for it.
func (r *reaper) adopt() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.adopting++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.adopting--; r.adopting == 0 {
			clear(r.unknown)
		}
	}
}

// wait returns where the exit of an adopted child arrives.
func (r *reaper) wait(pid int) <-chan syscall.WaitStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waitLocked(pid)
}

func (r *reaper) waitLocked(pid int) <-chan syscall.WaitStatus {
	exit := make(chan syscall.WaitStatus, 1)
	if status, ok := r.unknown[pid]; ok {
		delete(r.unknown, pid)
		exit <- status
		return exit
	}
	r.waiting[pid] = exit
	return exit
}

// exitCode is the status in a shell's terms: 128+signal for a killed process.
func exitCode(status syscall.WaitStatus) (code, signal int) {
	if status.Signaled() {
		return 128 + int(status.Signal()), int(status.Signal())
	}
	return status.ExitStatus(), 0
}

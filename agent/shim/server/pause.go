package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/shim"
)

// PauseCommand is the program's first argument that makes it a pause process.
const PauseCommand = "pause"

// pauseUser is nobody's: the pause process has no rights at all.
const pauseUser = 65535

// pausePipe is the descriptor of the pause process's socket to the shim: it says
// there that it is ready, or why not, and ends when the shim's end is closed.
const pausePipe = 3

// pause is the process that holds the pod's namespaces.
type pause struct {
	process shim.ProcessID
	// hold keeps the process alive as long as it is open, that is, as long as
	// the shim is.
	hold *os.File
	exit <-chan syscall.WaitStatus
}

// startPause makes the namespaces by starting a process in them.
func startPause(r *reaper, cfg shim.Config) (*pause, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the pause process's socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "pause"), os.NewFile(uintptr(pair[1]), "pause")
	defer func() { _ = theirs.Close() }()
	pid, exit, err := startPauseProcess(r, cfg, theirs)
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	_ = theirs.Close()
	if err := awaitReady(ours); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start the pause process: %w", err)
	}
	process, err := shim.Identify(pid)
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("identify the pause process: %w", err)
	}
	return &pause{process: process, hold: ours, exit: exit}, nil
}

func startPauseProcess(r *reaper, cfg shim.Config, socket *os.File) (int, <-chan syscall.WaitStatus, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = null.Close() }()
	hostname := ""
	if cfg.NewUTS {
		hostname = cfg.Hostname
	}
	return r.startIn(cfg.NetNSPath, "/proc/self/exe", []string{"/pause", PauseCommand, hostname}, &syscall.ProcAttr{
		Env:   []string{"GOMAXPROCS=1"},
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), socket.Fd()},
		Sys:   pauseAttributes(cfg),
	})
}

// pauseAttributes are the namespaces. In a user namespace the process is root, and
// no longer the node's root, until it gives that up as well.
func pauseAttributes(cfg shim.Config) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: cloneFlags(cfg)}
	if cfg.Users != nil {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings, attr.GidMappings = cfg.Users.Mappings(), cfg.Users.Mappings()
		attr.GidMappingsEnableSetgroups = true
		attr.Credential = &syscall.Credential{}
	}
	return attr
}

// cloneFlags has a mount namespace too, in which the process gives up all files.
func cloneFlags(cfg shim.Config) uintptr {
	flags := uintptr(unix.CLONE_NEWNS)
	for flag, wanted := range map[uintptr]bool{
		unix.CLONE_NEWUTS: cfg.NewUTS, unix.CLONE_NEWIPC: cfg.NewIPC, unix.CLONE_NEWPID: cfg.NewPID, unix.CLONE_NEWNET: cfg.NewNet,
	} {
		if wanted {
			flags |= flag
		}
	}
	return flags
}

// awaitReady reads "ok", or an error's text up to the end.
func awaitReady(socket *os.File) error {
	answer := make([]byte, 512)
	n, err := socket.Read(answer)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case n == 0:
		return errors.New("it ended at once")
	case string(answer[:n]) != "ok":
		return errors.New(string(answer[:n]))
	}
	return nil
}

// RunPause is the pause process. It sets the host name, gives up its files and
// rights, and waits until the shim ends or a signal comes. As process 1 of a
// shared PID namespace it reaps orphans.
func RunPause(hostname string) error {
	socket := os.NewFile(pausePipe, "shim")
	if err := confine(hostname); err != nil {
		_, _ = io.WriteString(socket, err.Error())
		return err
	}
	if _, err := io.WriteString(socket, "ok"); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = socket.Read(make([]byte, 1))
		close(ended)
	}()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for {
		select {
		case <-ended:
			return nil
		case s := <-signals:
			if s != syscall.SIGCHLD {
				return nil
			}
			reapAll()
		}
	}
}

func reapAll() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// confine leaves the process nothing that a container sharing its PID namespace
// could reach by way of /proc/1: an empty root, no user, no capabilities.
func confine(hostname string) error {
	if hostname != "" {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", hostname, err)
		}
	}
	if err := emptyRoot(); err != nil {
		return err
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("give up new privileges: %w", errno)
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("give up groups: %w", err)
	}
	if err := syscall.Setgid(pauseUser); err != nil {
		return fmt.Errorf("give up the group: %w", err)
	}
	if err := syscall.Setuid(pauseUser); err != nil {
		return fmt.Errorf("give up the user: %w", err)
	}
	return nil
}

// emptyRoot replaces the root by an empty, read-only filesystem. It is mounted
// over /proc, which every system has.
func emptyRoot() error {
	const at = "/proc"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("pause", at, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k"); err != nil {
		return fmt.Errorf("mount an empty root: %w", err)
	}
	if err := unix.Chdir(at); err != nil {
		return fmt.Errorf("enter the empty root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// containerFile is a path in a container's bundle.
func containerFile(id, name string) string { return filepath.Join(shim.ContainersDir, id, name) }

// validID tells whether id is safe as a file name.
func validID(id string) bool {
	return id != "" && !strings.HasPrefix(id, ".") && !strings.ContainsAny(id, "/\x00")
}

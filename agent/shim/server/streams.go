package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/userns"
)

// streams are both ends of a process's standard streams.
type streams struct {
	theirs         stdio
	stdin          *os.File // to the process
	stdout, stderr *os.File // from the process
	tty            *os.File // all three, if the process has a terminal
	listener       *net.UnixListener
}

// newStreams makes pipes, or with a terminal the socket by which runc will hand
// over the terminal's master. They are for a pod whose users have the IDs of owner,
// if it has some of its own.
func newStreams(tty, stdin bool, consolePath string, owner *userns.Range) (*streams, error) {
	s := &streams{}
	if tty {
		_ = os.Remove(consolePath)
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: consolePath, Net: "unix"})
		if err != nil {
			return nil, fmt.Errorf("listen for the terminal: %w", err)
		}
		s.listener = listener
		return s, nil
	}
	if err := errors.Join(s.openPipes(stdin), s.give(owner)); err != nil {
		s.closeTheirs()
		s.closeOurs()
		return nil, err
	}
	return s, nil
}

// give makes pipes the pod's own root's: what a program opens again as /dev/stdout
// must not be that of a user whom its namespace does not know. runc then gives
// them to the user that the process runs as.
func (s *streams) give(owner *userns.Range) error {
	if owner == nil {
		return nil
	}
	for _, f := range s.theirs {
		if f == nil {
			continue
		}
		if err := f.Chown(int(owner.First), int(owner.First)); err != nil {
			return fmt.Errorf("give a pipe to the pod: %w", err)
		}
	}
	return nil
}

func (s *streams) openPipes(stdin bool) (err error) {
	if stdin {
		if s.theirs[0], s.stdin, err = os.Pipe(); err != nil {
			return fmt.Errorf("make a pipe: %w", err)
		}
	}
	if s.stdout, s.theirs[1], err = os.Pipe(); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	if s.stderr, s.theirs[2], err = os.Pipe(); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	return nil
}

// receiveTerminal takes the terminal that runc has sent by now.
func (s *streams) receiveTerminal() error {
	if s.listener == nil {
		return nil
	}
	// runc has connected before it exited; the limit is for one that did not.
	_ = s.listener.SetDeadline(time.Now().Add(10 * time.Second))
	conn, err := s.listener.AcceptUnix()
	if err != nil {
		return fmt.Errorf("receive the terminal: %w", err)
	}
	defer func() { _ = conn.Close() }()
	s.tty, err = receiveFile(conn)
	s.stdin, s.stdout = s.tty, s.tty
	return err
}

func receiveFile(conn *net.UnixConn) (*os.File, error) {
	name, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, control)
	if err != nil {
		return nil, fmt.Errorf("receive the terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("receive the terminal: no descriptor came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("receive the terminal: no descriptor came")
	}
	unix.CloseOnExec(fds[0])
	// Non-blocking, so that closing it ends a Read.
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("receive the terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// closeTheirs closes what only the process needs.
func (s *streams) closeTheirs() {
	for _, f := range s.theirs {
		if f != nil {
			_ = f.Close()
		}
	}
	if s.listener != nil {
		_ = s.listener.Close() // removes the socket's file, too
	}
}

// closeOurs closes what was to be kept, after a failure.
func (s *streams) closeOurs() {
	for _, f := range []*os.File{s.stdin, s.stdout, s.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// resize sets a terminal's size.
func resize(tty *os.File, width, height uint16) {
	if tty == nil {
		return
	}
	raw, err := tty.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height})
	})
}

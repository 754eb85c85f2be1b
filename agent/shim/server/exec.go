package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"navarch.dev/navarch/agent/shim"
)

// execution is a command run in a container beside its main process.
type execution struct {
	*streams
	pid  int
	exit <-chan syscall.WaitStatus
}

// runExec starts the command with runc, detached, so that it becomes a child of
// the shim and no runc stays behind.
func (s *Server) runExec(c *container, opts shim.ExecOptions) (*execution, error) {
	base := containerFile(c.id, "exec-"+strconv.FormatUint(s.execs.Add(1), 10))
	processFile, pidFile, socket := base+".json", base+".pid", base+".sock"
	defer func() {
		_ = os.Remove(processFile)
		_ = os.Remove(pidFile)
	}()
	if err := os.WriteFile(processFile, opts.Process, 0o600); err != nil {
		return nil, err
	}
	streams, err := newStreams(opts.TTY, opts.Stdin, socket, s.cfg.Users)
	if err != nil {
		return nil, err
	}
	defer streams.closeTheirs()
	args := []string{"exec", "--detach", "--process", processFile, "--pid-file", pidFile}
	if opts.TTY {
		args = append(args, "--console-socket", socket)
	}
	e := &execution{streams: streams}
	if err := s.startExec(e, c.id, pidFile, args); err != nil {
		streams.closeOurs()
		return nil, err
	}
	return e, nil
}

func (s *Server) startExec(e *execution, id, pidFile string, args []string) (err error) {
	release := s.reaper.adopt()
	defer release()
	if err := s.runc.run(containerFile(id, shim.RuncLogFile), e.theirs, append(args, id)...); err != nil {
		return &shim.Error{Code: shim.CodeRunc, Message: err.Error()}
	}
	if e.pid, err = readPid(pidFile); err != nil {
		return err
	}
	e.exit = s.reaper.wait(e.pid)
	if err := e.receiveTerminal(); err != nil {
		_ = syscall.Kill(e.pid, syscall.SIGKILL)
		return err
	}
	return nil
}

// serveExec carries the command's streams over the connection until it ends. If
// the client goes first, the command is killed.
func (e *execution) serve(conn net.Conn) {
	out := &connWriter{conn: conn}
	var copying sync.WaitGroup
	for frame, source := range map[byte]*os.File{shim.FrameStdout: e.stdout, shim.FrameStderr: e.stderr} {
		if source != nil {
			copying.Go(func() { out.copy(frame, source) })
		}
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		readInput(conn, &input{file: e.stdin, tty: e.tty})
	}()
	var status syscall.WaitStatus
	select {
	case status = <-e.exit:
	case <-gone:
		_ = syscall.Kill(e.pid, syscall.SIGKILL)
		status = <-e.exit
	}
	waitAtMost(&copying, drainTime)
	code, _ := exitCode(status)
	_ = out.writeJSON(shim.FrameExit, shim.Exit{Code: code})
	e.closeOurs()
}

func waitAtMost(group *sync.WaitGroup, limit time.Duration) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// connWriter shares the sending side of a connection.
type connWriter struct {
	mu   sync.Mutex
	conn net.Conn
}

func (w *connWriter) write(kind byte, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return shim.WriteFrame(w.conn, kind, payload)
}

func (w *connWriter) writeJSON(kind byte, value any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return shim.WriteJSON(w.conn, kind, value)
}

// copy sends output until it ends. A client that is gone does not stop it: the
// command would block on a full pipe.
func (w *connWriter) copy(kind byte, source io.Reader) {
	buffer := make([]byte, copyBuffer)
	failed := false
	for {
		n, err := source.Read(buffer)
		if n > 0 && !failed {
			failed = w.write(kind, buffer[:n]) != nil
		}
		if err != nil {
			return
		}
	}
}

// input is where a client's input goes.
type input struct {
	// file may be nil: the input is then dropped.
	file, tty *os.File
	// keepOpen leaves file open when the client's input ends.
	keepOpen bool
	// left, which may be nil, is told of a client's input that has ended while file
	// stays open.
	left func()
}

// readInput takes frames from the client until it is gone.
func readInput(conn net.Conn, in *input) {
	for {
		kind, payload, err := shim.ReadFrame(conn)
		if err != nil {
			return
		}
		switch kind {
		case shim.FrameStdin:
			in.write(payload)
		case shim.FrameStdinClosed:
			in.close()
		case shim.FrameResize:
			var size shim.Size
			if json.Unmarshal(payload, &size) == nil {
				resize(in.tty, size.Width, size.Height)
			}
		}
	}
}

// write drops what a process that closed its input no longer takes.
func (in *input) write(data []byte) {
	if in.file != nil {
		_, _ = in.file.Write(data)
	}
}

// close ends the input. A terminal's is not ended: its output is still needed.
func (in *input) close() {
	switch {
	case in.file == nil:
	case in.file != in.tty && !in.keepOpen:
		_ = in.file.Close()
	case in.left != nil:
		in.left()
	}
}

// attachmentBacklog is how many pieces of output an attached client may lag behind.
const attachmentBacklog = 256

// attachment is a client that follows a container's output.
type attachment struct {
	frames chan frame
}

type frame struct {
	kind    byte
	payload []byte
}

// attach carries the container's streams over the connection until it ends or
// the client goes. A client whose input has ended goes too if the container's
// stays open for the next one, as with other runtimes.
func (c *container) attach(conn net.Conn) {
	a := &attachment{frames: make(chan frame, attachmentBacklog)}
	c.mu.Lock()
	c.attachments[a] = struct{}{}
	c.mu.Unlock()
	defer c.detach(a)
	gone, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		readInput(conn, &input{file: c.stdin, tty: c.tty, keepOpen: !c.opts.StdinOnce, left: sync.OnceFunc(func() { close(left) })})
	}()
	for {
		select {
		case f, ok := <-a.frames:
			if !ok || shim.WriteFrame(conn, f.kind, f.payload) != nil {
				return
			}
		case <-gone:
			return
		case <-left:
			finish(conn, a, shim.Exit{})
			return
		case <-c.ended:
			finish(conn, a, shim.Exit{Code: c.snapshot().ExitCode})
			return
		}
	}
}

// finish sends what is left and the exit.
func finish(conn net.Conn, a *attachment, exit shim.Exit) {
	for len(a.frames) > 0 {
		if f, ok := <-a.frames; !ok || shim.WriteFrame(conn, f.kind, f.payload) != nil {
			return
		}
	}
	_ = shim.WriteJSON(conn, shim.FrameExit, exit)
}

func (c *container) detach(a *attachment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.attachments, a)
	if c.opts.StdinOnce && c.stdin != nil && c.stdin != c.tty {
		_ = c.stdin.Close()
	}
}

// broadcast hands output to all attached. One that lags is cut off: neither the
// log nor the container ever waits for a client.
func (c *container) broadcast(kind byte, data []byte) {
	if len(data) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.attachments {
		select {
		case a.frames <- frame{kind, append([]byte(nil), data...)}:
		default:
			delete(c.attachments, a)
			close(a.frames)
		}
	}
}

// attachable tells whether the container can be attached to or run commands.
func (c *container) running() error {
	if status := c.snapshot().Status; status != shim.StatusRunning {
		return &shim.Error{Code: shim.CodeNotRunning, Message: fmt.Sprintf("the container is %s, not running", status)}
	}
	return nil
}

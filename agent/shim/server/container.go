package server

import (
	"encoding/json"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"navarch.dev/navarch/agent/shim"
)

// drainTime is how long after the main process's end its output is still waited
// for, in case another process holds the pipe.
const drainTime = 2 * time.Second

// copyBuffer is how much output is read at a time.
const copyBuffer = 32 << 10

// container is one container of the pod.
type container struct {
	id   string
	opts shim.CreateOptions
	log  *logFile

	// stdin takes input, if there is any; tty is the terminal's master. With a
	// terminal they are the same file.
	stdin, tty *os.File
	copying    sync.WaitGroup
	// ended is closed when the state is final.
	ended chan struct{}

	mu          sync.Mutex
	state       shim.ContainerState
	fenced      bool // killed by the fence
	attachments map[*attachment]struct{}
}

// create runs runc create and begins to copy the container's output.
func (s *Server) create(id string, opts shim.CreateOptions) (*container, error) {
	c := &container{id: id, opts: opts, ended: make(chan struct{}), attachments: map[*attachment]struct{}{}}
	if opts.LogPath != "" {
		log, err := openLog(opts.LogPath, opts.LogMaxBytes, opts.LogMaxFiles)
		if err != nil {
			return nil, err
		}
		c.log = log
	}
	release := s.reaper.adopt()
	defer release()
	pid, err := s.runCreate(c)
	if err != nil {
		c.closeFiles()
		return nil, err
	}
	process, _ := shim.Identify(pid) // a process that ended already is told by its exit
	process.Pid = pid
	c.state = shim.ContainerState{ID: id, Status: shim.StatusCreated, Process: process, CreatedAt: time.Now().UTC()}
	c.save()
	go s.supervise(c, s.reaper.wait(pid))
	return c, nil
}

// runCreate runs runc with the container's streams and returns the main process.
func (s *Server) runCreate(c *container) (int, error) {
	io, err := newStreams(c.opts.TTY, c.opts.Stdin, containerFile(c.id, "console.sock"), s.cfg.Users)
	if err != nil {
		return 0, err
	}
	defer io.closeTheirs()
	pidFile := containerFile(c.id, "init.pid")
	args := []string{"create", "--bundle", containerFile(c.id, ""), "--pid-file", pidFile}
	if c.opts.TTY {
		args = append(args, "--console-socket", "console.sock") // from the bundle, where runc goes
	}
	if err := s.runc.run(containerFile(c.id, shim.RuncLogFile), io.theirs, append(args, c.id)...); err != nil {
		io.closeOurs()
		return 0, err
	}
	if err := io.receiveTerminal(); err != nil {
		io.closeOurs()
		return 0, errors.Join(err, s.forget(c.id))
	}
	pid, err := readPid(pidFile)
	if err != nil {
		io.closeOurs()
		return 0, errors.Join(err, s.forget(c.id))
	}
	c.stdin, c.tty = io.stdin, io.tty
	c.copy(io.stdout, "stdout", shim.FrameStdout)
	c.copy(io.stderr, "stderr", shim.FrameStderr)
	return pid, nil
}

// forget removes runc's state of a container. Forced, runc waits for a tenth of a
// second even if nothing is left to be killed, so that is the second try.
func (s *Server) forget(id string) error {
	log := containerFile(id, shim.RuncLogFile)
	if err := s.runc.run(log, stdio{}, "delete", id); err == nil {
		return nil
	}
	return s.runc.run(log, stdio{}, "delete", "--force", id)
}

// copy takes output to the log and to those attached, until it ends.
func (c *container) copy(source *os.File, stream string, frame byte) {
	if source == nil {
		return
	}
	var lines *lineWriter
	if c.log != nil {
		lines = &lineWriter{log: c.log, stream: stream}
	}
	c.copying.Go(func() {
		defer func() { _ = source.Close() }()
		buffer := make([]byte, copyBuffer)
		for {
			n, err := source.Read(buffer)
			if n > 0 && lines != nil {
				lines.write(buffer[:n])
			}
			c.broadcast(frame, buffer[:n])
			if err != nil {
				break
			}
		}
		if lines != nil {
			lines.flush()
		}
	})
}

// supervise waits for the container's end and settles its state.
func (s *Server) supervise(c *container, exit <-chan syscall.WaitStatus) {
	status := <-exit
	finished := time.Now().UTC()
	oom := 0
	if c.opts.CgroupDir != "" {
		oom = oomKills(c.opts.CgroupDir)
		killAll(c.opts.CgroupDir)
	}
	c.drain()
	c.mu.Lock()
	c.state.Status, c.state.FinishedAt = shim.StatusExited, finished
	c.state.ExitCode, c.state.Signal = exitCode(status)
	c.state.OOMKilled = oom > 0 && c.state.ExitCode != 0
	if c.fenced {
		c.state.Reason, c.state.Message = shim.ReasonFenced, "the node was cut off from the cluster for too long"
	}
	c.saveLocked()
	c.mu.Unlock()
	close(c.ended)
	s.publish(shim.Event{Container: c.id})
}

// drain waits for the copying to end, and closes the log then, however late.
func (c *container) drain() {
	drained := make(chan struct{})
	go func() {
		c.copying.Wait()
		c.closeFiles()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(drainTime):
	}
}

func (c *container) closeFiles() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil {
		c.log.close()
	}
	if c.stdin != nil && c.stdin != c.tty {
		_ = c.stdin.Close()
	}
}

// start lets the container run.
func (s *Server) start(c *container) error {
	c.mu.Lock()
	status := c.state.Status
	c.mu.Unlock()
	if status != shim.StatusCreated {
		return &shim.Error{Code: shim.CodeNotRunning, Message: "the container is " + status + ", not created"}
	}
	if err := s.open(); err != nil {
		return err
	}
	c.setStarted(time.Now().UTC()) // before it can have ended, and that be told
	if err := s.runc.release(c.id, c.ended); err != nil {
		c.setStarted(time.Time{})
		return err
	}
	s.fence.look() // it may have closed meanwhile
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Status == shim.StatusCreated {
		c.state.Status = shim.StatusRunning
	}
	c.saveLocked()
	return nil
}

func (c *container) setStarted(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.StartedAt = at
}

// kill signals the main process, unless it has ended.
func (c *container) kill(signal syscall.Signal) error {
	state := c.snapshot()
	if state.Status == shim.StatusExited {
		return nil
	}
	return state.Process.Signal(signal)
}

// remove kills the container if need be and removes runc's state of it.
func (s *Server) remove(c *container) error {
	if err := c.kill(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.ended
	if err := s.forget(c.id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, c.id)
	return nil
}

// update changes the container's limits.
func (s *Server) update(c *container, resources json.RawMessage) error {
	path := containerFile(c.id, "resources.json")
	if err := os.WriteFile(path, resources, 0o600); err != nil {
		return err
	}
	return s.runc.run(containerFile(c.id, shim.RuncLogFile), stdio{}, "update", "--resources", path, c.id)
}

func (c *container) snapshot() shim.ContainerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *container) save() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saveLocked()
}

// saveLocked writes the state to disk. If that fails, the shim's memory is still
// right; nothing better can be done.
func (c *container) saveLocked() {
	_ = shim.WriteFileAtomic(containerFile(c.id, shim.StateFile), c.state)
}

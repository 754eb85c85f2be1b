// Package server is the shim itself: the program navarch-shim. See agent/shim for
// what it promises. It imports nothing but the standard library and x/sys, to be
// small: there is one per pod.
package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/fence"
	"navarch.dev/navarch/agent/shim"
)

// ReadyPipe is the descriptor on which the shim says "ok", or what went wrong,
// to the agent that started it.
const ReadyPipe = 3

// eventBacklog is how many events a subscriber may lag behind before it is cut
// off; it then subscribes again and reads the state.
const eventBacklog = 1024

// Server is the shim of one pod.
type Server struct {
	cfg    shim.Config
	reaper *reaper
	runc   *runc
	pause  *pause
	fence  *guard
	execs  atomic.Uint64
	stop   chan struct{}

	// mu guards what follows. A container's own lock is taken after it.
	mu          sync.Mutex
	containers  map[string]*container
	subscribers map[chan shim.Event]struct{}
	pauseEnded  bool
	stopping    bool
}

// Run is the shim's life in the folder dir: it makes the namespaces, says that it
// is ready, and serves until it is told to stop or its folder is removed.
func Run(dir string) error {
	ready := os.NewFile(ReadyPipe, "ready")
	unix.CloseOnExec(ReadyPipe)
	s, listener, err := begin(dir)
	if err != nil {
		_, _ = ready.WriteString(err.Error())
		return err
	}
	_, _ = ready.WriteString("ok")
	_ = ready.Close()
	go s.accept(listener)
	go s.watchPause()
	go s.watchFolder()
	go s.fence.run(s.stop)
	<-s.stop
	_ = listener.Close()
	return s.pause.hold.Close()
}

func begin(dir string) (*Server, net.Listener, error) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	if err := os.Chdir(dir); err != nil {
		return nil, nil, err
	}
	// Best effort: without the right to, the shim is as likely a victim as others.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-998"), 0)
	s := &Server{containers: map[string]*container{}, subscribers: map[chan shim.Event]struct{}{}, stop: make(chan struct{})}
	if err := shim.ReadFile(shim.ConfigFile, &s.cfg); err != nil {
		return nil, nil, err
	}
	s.fence = newGuard(fence.Now, s.warn, s.killFenced)
	if err := s.setFence(s.cfg.Fence); err != nil {
		return nil, nil, err
	}
	for _, procs := range s.cfg.Cgroups {
		if err := os.WriteFile(procs, []byte("0"), 0); err != nil {
			return nil, nil, fmt.Errorf("leave the agent's cgroup: %w", err)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	if s.reaper, err = newReaper(); err != nil {
		return nil, nil, err
	}
	s.runc = &runc{path: s.cfg.RuncPath, root: s.cfg.RuncRoot, reaper: s.reaper, null: null}
	if s.pause, err = startPause(s.reaper, s.cfg); err != nil {
		return nil, nil, err
	}
	listener, err := s.listen()
	return s, listener, err
}

// listen opens the socket, by a relative name: an absolute one may be too long.
func (s *Server) listen() (net.Listener, error) {
	self, err := shim.Identify(os.Getpid())
	if err != nil {
		return nil, err
	}
	if err := shim.WriteFileAtomic(shim.PidFile, shim.Identity{Shim: self, Pause: s.pause.process}); err != nil {
		return nil, err
	}
	_ = os.Remove(shim.SocketFile)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	return net.Listen("unix", shim.SocketFile)
}

func (s *Server) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			s.handle(conn)
		}()
	}
}

func (s *Server) watchPause() {
	<-s.pause.exit
	s.mu.Lock()
	s.pauseEnded = true
	s.mu.Unlock()
	s.publish(shim.Event{})
}

// watchFolder ends the shim when its folder is being removed and no container is
// left, so that nobody has to find it.
func (s *Server) watchFolder() {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return
	}
	if _, err := unix.InotifyAddWatch(fd, ".", unix.IN_DELETE); err != nil {
		return
	}
	buffer := make([]byte, 4096)
	for {
		if _, err := unix.Read(fd, buffer); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if _, err := os.Stat(shim.ConfigFile); errors.Is(err, os.ErrNotExist) && s.idle() {
			s.shutdown()
			s.finish()
			return
		}
	}
}

// idle tells whether no container runs.
func (s *Server) idle() bool {
	for _, c := range s.all() {
		if c.snapshot().Status != shim.StatusExited {
			return false
		}
	}
	return true
}

// shutdown kills the containers and waits for their end.
func (s *Server) shutdown() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	for _, c := range s.all() {
		_ = c.kill(syscall.SIGKILL)
	}
	for _, c := range s.all() {
		<-c.ended
	}
}

// finish ends Run. It is called once: shutdown has been answered, or nobody asks.
func (s *Server) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
}

func (s *Server) all() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}

func (s *Server) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[id]; c != nil {
		return c, nil
	}
	return nil, &shim.Error{Code: shim.CodeNotFound, Message: fmt.Sprintf("no container %q", id)}
}

// reserve takes the name before runc is run with it.
func (s *Server) reserve(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return &shim.Error{Code: shim.CodeNotRunning, Message: "the shim is shutting down"}
	}
	if _, ok := s.containers[id]; ok {
		return &shim.Error{Code: shim.CodeExists, Message: fmt.Sprintf("container %q exists", id)}
	}
	s.containers[id] = nil
	return nil
}

func (s *Server) settle(id string, c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c == nil {
		delete(s.containers, id)
		return
	}
	s.containers[id] = c
	if s.stopping {
		_ = c.kill(syscall.SIGKILL) // shutdown did not see it
	}
}

// publish hands an event to all subscribers; one that lags is cut off.
func (s *Server) publish(event shim.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for events := range s.subscribers {
		select {
		case events <- event:
		default:
			delete(s.subscribers, events)
			close(events)
		}
	}
}

func (s *Server) state() *shim.State {
	self, _ := shim.Identify(os.Getpid())
	state := &shim.State{Identity: shim.Identity{Shim: self, Pause: s.pause.process}}
	for _, c := range s.all() {
		state.Containers = append(state.Containers, c.snapshot())
	}
	s.mu.Lock()
	state.PauseRunning = !s.pauseEnded
	s.mu.Unlock()
	return state
}

// decodeRequest reads and checks the first frame of a connection.
func decodeRequest(conn net.Conn) (shim.Request, error) {
	kind, payload, err := shim.ReadFrame(conn)
	if err != nil {
		return shim.Request{}, err
	}
	return parseRequest(kind, payload)
}

func parseRequest(kind byte, payload []byte) (shim.Request, error) {
	var request shim.Request
	if kind != shim.FrameRequest {
		return request, fmt.Errorf("frame of type %d instead of a request", kind)
	}
	if err := json.Unmarshal(payload, &request); err != nil {
		return request, fmt.Errorf("decode request: %w", err)
	}
	if request.Version != shim.Version {
		return request, fmt.Errorf("protocol version %d, this shim speaks %d", request.Version, shim.Version)
	}
	if request.Container != "" && (!validID(request.Container) || filepath.Base(request.Container) != request.Container) {
		return request, fmt.Errorf("invalid container ID %q", request.Container)
	}
	return request, nil
}

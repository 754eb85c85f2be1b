package server

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"navarch.dev/navarch/agent/shim"
)

// handle serves one connection: one call.
func (s *Server) handle(conn net.Conn) {
	request, err := decodeRequest(conn)
	if err != nil {
		respondError(conn, err)
		return
	}
	switch request.Op {
	case shim.OpState:
		respond(conn, shim.Response{State: s.state()})
	case shim.OpCreate:
		s.handleCreate(conn, request)
	case shim.OpSubscribe:
		s.handleSubscribe(conn)
	case shim.OpFence:
		if err := s.setFence(request.Fence); err != nil {
			respondError(conn, err)
			return
		}
		respond(conn, shim.Response{})
	case shim.OpShutdown:
		s.shutdown()
		respond(conn, shim.Response{})
		s.finish()
	default:
		s.handleContainer(conn, request)
	}
}

func (s *Server) handleCreate(conn net.Conn, request shim.Request) {
	if request.Create == nil || request.Container == "" {
		respondError(conn, errors.New("create needs a container and its options"))
		return
	}
	if err := s.open(); err != nil {
		respondError(conn, err)
		return
	}
	if err := s.reserve(request.Container); err != nil {
		respondError(conn, err)
		return
	}
	c, err := s.create(request.Container, *request.Create)
	s.settle(request.Container, c)
	if err != nil {
		respondError(conn, runcError(err))
		return
	}
	respondContainer(conn, c)
}

// handleContainer serves the calls about a container there is.
func (s *Server) handleContainer(conn net.Conn, request shim.Request) {
	c, err := s.find(request.Container)
	if err != nil {
		respondError(conn, err)
		return
	}
	switch request.Op {
	case shim.OpExec:
		s.handleExec(conn, c, request)
		return
	case shim.OpAttach:
		s.handleAttach(conn, c)
		return
	}
	if err := s.change(c, request); err != nil {
		respondError(conn, err)
		return
	}
	respondContainer(conn, c)
}

func (s *Server) change(c *container, request shim.Request) error {
	switch request.Op {
	case shim.OpStart:
		return runcError(s.start(c))
	case shim.OpKill:
		return c.kill(syscall.Signal(request.Signal))
	case shim.OpDelete:
		return s.remove(c)
	case shim.OpUpdate:
		return runcError(s.update(c, request.Resources))
	default:
		return fmt.Errorf("unknown operation %q", request.Op)
	}
}

func (s *Server) handleExec(conn net.Conn, c *container, request shim.Request) {
	if request.Exec == nil {
		respondError(conn, errors.New("exec needs its options"))
		return
	}
	if err := errors.Join(s.open(), c.running()); err != nil {
		respondError(conn, err)
		return
	}
	e, err := s.runExec(c, *request.Exec)
	if err != nil {
		respondError(conn, err)
		return
	}
	respond(conn, shim.Response{})
	e.serve(conn)
}

func (s *Server) handleAttach(conn net.Conn, c *container) {
	if c.snapshot().Status == shim.StatusExited {
		respondError(conn, c.running())
		return
	}
	respond(conn, shim.Response{})
	c.attach(conn)
}

// handleSubscribe sends events until the client goes.
func (s *Server) handleSubscribe(conn net.Conn) {
	events := make(chan shim.Event, eventBacklog)
	s.mu.Lock()
	s.subscribers[events] = struct{}{}
	s.mu.Unlock()
	respond(conn, shim.Response{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _, _ = shim.ReadFrame(conn)
	}()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, events)
	}()
	for {
		select {
		case <-gone:
			return
		case event, ok := <-events:
			if !ok || shim.WriteJSON(conn, shim.FrameEvent, event) != nil {
				return
			}
		}
	}
}

func respond(conn net.Conn, response shim.Response) {
	_ = shim.WriteJSON(conn, shim.FrameResponse, response)
}

func respondContainer(conn net.Conn, c *container) {
	state := c.snapshot()
	respond(conn, shim.Response{Container: &state})
}

func respondError(conn net.Conn, err error) {
	response := shim.Response{Code: shim.CodeInternal, Error: err.Error()}
	var refusal *shim.Error
	if errors.As(err, &refusal) {
		response.Code = refusal.Code
	}
	respond(conn, response)
}

// runcError marks an error as runc's, if it has no code of its own.
func runcError(err error) error {
	var refusal *shim.Error
	if err == nil || errors.As(err, &refusal) {
		return err
	}
	return &shim.Error{Code: shim.CodeRunc, Message: err.Error()}
}

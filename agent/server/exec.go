package server

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/runtime"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Exec runs a command in a running container.
func (s *Server) Exec(stream grpc.BidiStreamingServer[nodev1.ExecRequest, nodev1.ExecResponse]) error {
	ctx := stream.Context()
	start, info, err := s.begin(ctx, func() (*nodev1.ExecStart, error) {
		req, err := stream.Recv()
		return req.GetStart(), err
	})
	if err != nil {
		return err
	}
	if len(start.GetCommand()) == 0 {
		return status.Error(codes.InvalidArgument, "the command is empty")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := receive(ctx, cancel, start, func() (inMessage, error) {
		req, err := stream.Recv()
		return inMessage{req.GetStdin(), req.GetStdinClosed(), req.GetResize()}, err
	})
	var mu sync.Mutex // Send is not safe for concurrent use
	send := func(resp *nodev1.ExecResponse) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(resp)
	}
	code, err := s.runtime.Exec(ctx, info.ID, runtime.ExecOptions{
		Command: start.GetCommand(), TTY: start.GetTty(), Stdin: in.stdin(), Resize: in.resize,
		Stdout: writerIf(start.GetStdout(), func(b []byte) error {
			return send(&nodev1.ExecResponse{Message: &nodev1.ExecResponse_Stdout{Stdout: b}})
		}),
		Stderr: writerIf(start.GetStderr() && !start.GetTty(), func(b []byte) error {
			return send(&nodev1.ExecResponse{Message: &nodev1.ExecResponse_Stderr{Stderr: b}})
		}),
	})
	return send(&nodev1.ExecResponse{Message: &nodev1.ExecResponse_Exit{Exit: exitOf(code, err)}})
}

// Attach joins the streams of a container's main process.
func (s *Server) Attach(stream grpc.BidiStreamingServer[nodev1.AttachRequest, nodev1.AttachResponse]) error {
	ctx := stream.Context()
	start, info, err := s.begin(ctx, func() (*nodev1.ExecStart, error) {
		req, err := stream.Recv()
		return req.GetStart(), err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := receive(ctx, cancel, start, func() (inMessage, error) {
		req, err := stream.Recv()
		return inMessage{req.GetStdin(), req.GetStdinClosed(), req.GetResize()}, err
	})
	var mu sync.Mutex
	send := func(resp *nodev1.AttachResponse) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(resp)
	}
	err = s.runtime.Attach(ctx, info.ID, runtime.AttachOptions{
		Stdin: in.stdin(), Resize: in.resize,
		Stdout: writerIf(start.GetStdout(), func(b []byte) error {
			return send(&nodev1.AttachResponse{Message: &nodev1.AttachResponse_Stdout{Stdout: b}})
		}),
		Stderr: writerIf(start.GetStderr() && !info.TTY, func(b []byte) error {
			return send(&nodev1.AttachResponse{Message: &nodev1.AttachResponse_Stderr{Stderr: b}})
		}),
	})
	code := 0
	if err == nil {
		if st, err := s.runtime.ContainerStatus(ctx, info.ID); err == nil {
			code = st.ExitCode
		}
	}
	return send(&nodev1.AttachResponse{Message: &nodev1.AttachResponse_Exit{Exit: exitOf(code, err)}})
}

// begin reads the first message and finds the container it names.
func (s *Server) begin(ctx context.Context, first func() (*nodev1.ExecStart, error)) (*nodev1.ExecStart, podworker.ContainerInfo, error) {
	var none podworker.ContainerInfo
	if err := authorize(ctx); err != nil {
		return nil, none, err
	}
	start, err := first()
	if err != nil {
		return nil, none, err
	}
	if start == nil {
		return nil, none, status.Error(codes.InvalidArgument, "the first message is not start")
	}
	info, err := s.pods.Container(ctx, start.GetNamespace(), start.GetPod(), start.GetContainer())
	if err != nil {
		return nil, none, asStatus(err)
	}
	if !info.Running {
		return nil, none, status.Errorf(codes.FailedPrecondition, "container %q of pod %s/%s is not running", info.Name, start.GetNamespace(), start.GetPod())
	}
	return start, info, nil
}

func exitOf(code int, err error) *nodev1.Exit {
	if err != nil {
		return &nodev1.Exit{ExitCode: -1, Error: err.Error()}
	}
	return &nodev1.Exit{ExitCode: int32(code)}
}

func writerIf(wanted bool, send func([]byte) error) io.Writer {
	if !wanted {
		return nil
	}
	return chunkWriter(send)
}

// inMessage is what a client sends after its first message.
type inMessage struct {
	stdin  []byte
	closed bool
	size   *nodev1.TerminalSize
}

// input is what a client sends, taken apart.
type input struct {
	reader *io.PipeReader
	wanted bool
	resize chan runtime.TerminalSize
}

func (i *input) stdin() io.Reader {
	if !i.wanted {
		return nil
	}
	return i.reader
}

// receive takes a client's messages apart until they end. When the client goes
// away, the call is cancelled.
func receive(ctx context.Context, cancel context.CancelFunc, start *nodev1.ExecStart, next func() (inMessage, error)) *input {
	r, w := io.Pipe()
	in := &input{reader: r, wanted: start.GetStdin(), resize: make(chan runtime.TerminalSize, 1)}
	go func() {
		defer w.Close()
		for {
			msg, err := next()
			if err != nil {
				if !ended(err) {
					cancel()
				}
				return
			}
			switch {
			case msg.size != nil:
				in.setSize(ctx, msg.size)
			case msg.closed:
				_ = w.Close() // never fails
			case in.wanted:
				// A command that has closed its input does not end the call.
				_, _ = w.Write(msg.stdin)
			}
		}
	}()
	context.AfterFunc(ctx, func() { _ = r.CloseWithError(context.Cause(ctx)) })
	return in
}

// setSize hands a size on, in place of one that nobody has taken yet.
func (i *input) setSize(ctx context.Context, size *nodev1.TerminalSize) {
	select {
	case <-i.resize:
	default:
	}
	select {
	case i.resize <- runtime.TerminalSize{Width: uint16(size.GetWidth()), Height: uint16(size.GetHeight())}:
	case <-ctx.Done():
	}
}

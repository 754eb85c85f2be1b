package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Receive calls a method that answers with a stream, and use with each of its
// messages in order. It returns when the stream has ended, with the stream's error
// or with that of use, which ends the call.
//
// On a local connection the method runs on the caller's goroutine, and sending is
// calling use: nobody has to be woken for a message.
func Receive[Req, Resp any](ctx context.Context, conn grpc.ClientConnInterface, method string, req *Req, use func(*Resp) error) error {
	if local, ok := conn.(*localConn); ok {
		if m, known := local.server.streaming[method]; known {
			return receiveLocally(ctx, local, m, req, use)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	raw, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	stream := &grpc.GenericClientStream[Req, Resp]{ClientStream: raw}
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) { // which Recv explains
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	header := headerUser(ctx)
	for {
		resp, err := stream.Recv()
		if header != nil {
			md, _ := raw.Header() // without one, err says why
			header(md)
			header = nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = use(resp)
		}
		if err != nil {
			return err
		}
	}
}

// streamingMethod is a method that answers with a stream.
type streamingMethod struct {
	service any
	handler grpc.StreamHandler
	info    *grpc.StreamServerInfo
}

func receiveLocally[Req, Resp any](ctx context.Context, conn *localConn, m streamingMethod, req *Req, use func(*Resp) error) error {
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	served, header, end := conn.incoming(ctx, m.info.FullMethod)
	defer end()
	s := &localStream{ctx: served, header: header, request: req, use: func(message any) error {
		resp, ok := message.(*Resp)
		if !ok {
			return fmt.Errorf("receive a %T: want a %T", message, resp)
		}
		return use(resp)
	}}
	err := conn.server.interceptors.stream(m.service, s, m.info, m.handler)
	if s.failed != nil {
		return s.failed
	}
	return err
}

// localStream is the server's side of a stream to its caller.
type localStream struct {
	ctx     context.Context //nolint:containedctx // as in every stream
	header  *localHeader    // nil: nobody looks at it
	request any             // nil once it is received
	use     func(message any) error
	failed  error
}

func (s *localStream) Context() context.Context { return s.ctx }

// SetHeader implements grpc.ServerStream.
func (s *localStream) SetHeader(md metadata.MD) error {
	if s.header == nil {
		return nil
	}
	return s.header.SetHeader(md)
}

// SendHeader implements grpc.ServerStream.
func (s *localStream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

// SetTrailer implements grpc.ServerStream. Nobody looks at trailers.
func (*localStream) SetTrailer(metadata.MD) {}

func (s *localStream) SendMsg(message any) error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	s.header.handOver()
	if s.failed == nil {
		s.failed = s.use(message)
	}
	return s.failed
}

func (s *localStream) RecvMsg(message any) error {
	if s.request == nil {
		return io.EOF
	}
	request := s.request
	s.request = nil
	return handOver(message, request)
}

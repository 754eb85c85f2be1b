package storetest

import (
	"context"

	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/rpc"
)

// ending ends the context of a stream with the stream. The channel below it
// leaves that to the garbage collector, which does it from outside a synctest
// bubble, and that must not be.
type ending struct{ grpc.ClientConnInterface }

func (e ending) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := e.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	return endingStream{stream, cancel}, nil
}

type endingStream struct {
	grpc.ClientStream
	cancel context.CancelFunc
}

func (s endingStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.cancel()
	}
	return err
}

// Invoke implements grpc.ClientConnInterface.
func (e ending) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	invoke := func(ctx context.Context, method string, args, reply any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
		return e.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	}
	return rpc.HandHeader(ctx, method, args, reply, nil, invoke, opts...)
}

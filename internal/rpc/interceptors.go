package rpc

import (
	"context"

	"google.golang.org/grpc"
)

// interceptors are what every call of a server passes, on whichever path it came.
type interceptors struct {
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor
}

// newInterceptors returns the edge, with those within it that a server was given.
func newInterceptors(e *edge, opts ServerOptions) interceptors {
	i := interceptors{unary: e.unary, stream: e.stream}
	if within := opts.Unary; within != nil {
		i.unary = func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			return e.unary(ctx, req, info, func(ctx context.Context, req any) (any, error) { return within(ctx, req, info, handler) })
		}
	}
	if within := opts.Stream; within != nil {
		i.stream = func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return e.stream(srv, stream, info, func(srv any, stream grpc.ServerStream) error { return within(srv, stream, info, handler) })
		}
	}
	return i
}

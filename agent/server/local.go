package server

import (
	"context"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/identity"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// local returns a client of the service within the process. Its calls are those
// of a gateway: who makes them has been authorized.
func (s *Server) local() nodev1.NodeServiceClient {
	gateway := identity.Service(identity.Gateway)
	channel := new(inprocgrpc.Channel)
	channel.WithServerUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return handler(identity.NewContext(ctx, gateway), req)
	})
	channel.WithServerStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, calledBy{stream, gateway})
	})
	nodev1.RegisterNodeServiceServer(channel, s)
	return nodev1.NewNodeServiceClient(channel)
}

// calledBy is a stream of a known caller.
type calledBy struct {
	grpc.ServerStream
	id identity.Identity
}

// Context implements grpc.ServerStream.
func (c calledBy) Context() context.Context {
	return identity.NewContext(c.ServerStream.Context(), c.id)
}

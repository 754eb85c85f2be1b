package rpc

import (
	"context"
	"fmt"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"navarch.dev/navarch/internal/identity"
)

// Local returns a connection to the server from within its process, on which
// every call is made by id. Messages are shared, not copied: neither side may
// change a message that it has sent or received.
func (s *Server) Local(id identity.Identity) grpc.ClientConnInterface {
	return &localConn{channel: s.local, id: id}
}

type localConn struct {
	channel *inprocgrpc.Channel
	id      identity.Identity
}

// localCall is what a local call takes along beside its messages.
type localCall struct {
	id   identity.Identity
	span trace.SpanContext
}

type localCallKey struct{}

func (c *localConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.channel.Invoke(c.outgoing(ctx), method, args, reply, opts...)
}

func (c *localConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.channel.NewStream(c.outgoing(ctx), desc, method, opts...)
}

func (c *localConn) outgoing(ctx context.Context) context.Context {
	return context.WithValue(ctx, localCallKey{}, localCall{id: c.id, span: trace.SpanContextFromContext(ctx)})
}

// localCaller gives a server's context the identity and the trace of a local
// call, as the network's interceptors do from the certificate and the headers.
func localCaller(ctx, client context.Context) context.Context {
	call, ok := client.Value(localCallKey{}).(localCall)
	if !ok {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(identity.NewContext(ctx, call.id), call.span)
}

// sharingCloner hands messages over without copying what they hold: only the
// outermost fields are assigned to the receiver's message.
type sharingCloner struct{}

// Clone implements inprocgrpc.Cloner.
func (sharingCloner) Clone(in any) (any, error) { return in, nil }

// Copy implements inprocgrpc.Cloner.
func (sharingCloner) Copy(out, in any) error {
	src, ok := in.(proto.Message)
	if !ok {
		return fmt.Errorf("hand over a %T: it is not a Protobuf message", in)
	}
	dst, ok := out.(proto.Message)
	if !ok {
		return fmt.Errorf("hand over to a %T: it is not a Protobuf message", out)
	}
	from, to := src.ProtoReflect(), dst.ProtoReflect()
	if from.Descriptor() != to.Descriptor() {
		return fmt.Errorf("hand over a %s as a %s", from.Descriptor().FullName(), to.Descriptor().FullName())
	}
	proto.Reset(dst)
	from.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		to.Set(field, value)
		return true
	})
	return nil
}

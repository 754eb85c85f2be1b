package rpc

import (
	"context"
	"fmt"
	"reflect"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"navarch.dev/navarch/internal/identity"
)

// Local returns a connection to the server from within its process, on which
// every call is made by id. Messages are shared, not copied: neither side may
// change a message that it has sent or received.
//
// A unary call is a function call: it runs on its caller's goroutine, whose
// stack has grown already, and returns when the server's method does. Methods
// must therefore end when their context does.
func (s *Server) Local(id identity.Identity) grpc.ClientConnInterface {
	return &localConn{server: s, id: id, values: identity.NewContext(context.Background(), id)}
}

type localConn struct {
	server *Server
	id     identity.Identity
	// values are what every call's context holds on the server's side.
	values context.Context //nolint:containedctx // it has values alone
}

// unaryMethod is a method that local calls can be made of directly.
type unaryMethod struct {
	service any
	handler grpc.MethodHandler
}

// localCall is what a local stream takes along beside its messages.
type localCall struct {
	id   identity.Identity
	span trace.SpanContext
}

type localCallKey struct{}

func (c *localConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m, ok := c.server.unary[method]
	if !ok || !plain(opts) {
		return c.server.local.Invoke(c.outgoing(ctx), method, args, reply, opts...)
	}
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	receive := func(in any) error { return handOver(in, args) }
	served, _, end := c.incoming(ctx, method)
	defer end()
	resp, err := m.handler(m.service, served, receive, c.server.interceptors.unary)
	if err != nil {
		return err
	}
	return handOver(reply, resp)
}

// plain says whether a call has no option that means anything here.
func plain(opts []grpc.CallOption) bool {
	for _, o := range opts {
		if _, ok := o.(grpc.StaticMethodCallOption); !ok {
			return false
		}
	}
	return true
}

// incoming returns the server's context of a call: it ends with the client's, or
// when end is called after the method, and has none of the client's values but the
// caller, the trace and the metadata. The header is nil if the client does not want
// it.
func (c *localConn) incoming(ctx context.Context, method string) (served context.Context, header *localHeader, end func()) {
	values := c.values
	if md, ok := metadata.FromOutgoingContext(ctx); ok {
		values = metadata.NewIncomingContext(values, md)
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		values = trace.ContextWithRemoteSpanContext(values, span)
	}
	if use := headerUser(ctx); use != nil {
		header = &localHeader{method: method, use: use}
		values = grpc.NewContextWithServerTransportStream(values, header)
	}
	// Package context knows how to end what is derived from a context of its own,
	// also of one with further values, which would take a goroutine otherwise.
	served, cancel := context.WithCancel(serverContext{Context: ctx, values: values})
	return served, header, func() {
		cancel()
		header.handOver()
	}
}

// serverContext ends with one context and has the values of another.
type serverContext struct {
	context.Context //nolint:containedctx // it is one

	values context.Context //nolint:containedctx // it has values alone
}

// Value implements context.Context.
func (c serverContext) Value(key any) any { return c.values.Value(key) }

// AfterFunc spares package context a goroutine for the context that is derived
// from this one.
func (c serverContext) AfterFunc(f func()) func() bool { return context.AfterFunc(c.Context, f) }

func (c *localConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.server.local.NewStream(c.outgoing(ctx), desc, method, opts...)
}

func (c *localConn) outgoing(ctx context.Context) context.Context {
	return context.WithValue(ctx, localCallKey{}, localCall{id: c.id, span: trace.SpanContextFromContext(ctx)})
}

// localCaller gives a server's context the identity and the trace of a local
// stream, as the network's interceptors do from the certificate and the headers.
func localCaller(ctx, client context.Context) context.Context {
	call, ok := client.Value(localCallKey{}).(localCall)
	if !ok {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(identity.NewContext(ctx, call.id), call.span)
}

// sharingCloner hands messages over without copying what they hold.
type sharingCloner struct{}

// Clone implements inprocgrpc.Cloner.
func (sharingCloner) Clone(in any) (any, error) { return in, nil }

// Copy implements inprocgrpc.Cloner.
func (sharingCloner) Copy(out, in any) error { return handOver(out, in) }

// handOver makes a message equal to another one without copying what that
// holds: only the outermost fields are assigned.
func handOver(out, in any) error {
	from, to := reflect.ValueOf(in), reflect.ValueOf(out)
	switch _, message := in.(proto.Message); {
	case !message:
		return fmt.Errorf("hand over a %T: it is not a Protobuf message", in)
	case from.IsNil():
		return fmt.Errorf("hand over a %T: it is nil", in)
	case from.Type() != to.Type():
		return fmt.Errorf("hand over a %T as a %T", in, out)
	}
	to.Elem().Set(from.Elem())
	return nil
}

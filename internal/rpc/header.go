package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

type onHeaderKey struct{}

// OnHeader returns a context whose calls hand over the metadata that their
// answers begin with (grpc.SetHeader): before the first message of a stream is
// used, and before a unary call returns, with an error too. use is called once
// per call, unless a stream could not be opened, after what an outer context
// names; it must not change the metadata. Calls are unary ones and those of
// Receive.
func OnHeader(ctx context.Context, use func(metadata.MD)) context.Context {
	if outer := headerUser(ctx); outer != nil {
		inner := use
		use = func(md metadata.MD) { outer(md); inner(md) }
	}
	return context.WithValue(ctx, onHeaderKey{}, use)
}

// headerUser returns what wants a call's header; nil: nothing does.
func headerUser(ctx context.Context) func(metadata.MD) {
	use, _ := ctx.Value(onHeaderKey{}).(func(metadata.MD))
	return use
}

// HandHeader is the interceptor that keeps OnHeader's promise about unary calls.
// Connections of this package have it.
func HandHeader(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	use := headerUser(ctx)
	if use == nil {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	var header metadata.MD
	err := invoke(ctx, method, req, reply, conn, append(opts, grpc.Header(&header))...)
	use(header)
	return err
}

// localHeader takes what a method of this process sets. A nil *localHeader is
// that of a call whose header nobody wants.
type localHeader struct {
	method string
	use    func(metadata.MD) // nil once it was called
	header metadata.MD
}

// Method implements grpc.ServerTransportStream.
func (h *localHeader) Method() string { return h.method }

// SetHeader implements grpc.ServerTransportStream.
func (h *localHeader) SetHeader(md metadata.MD) error {
	if h.header == nil {
		h.header = md // whoever looks at it changes nothing
		return nil
	}
	h.header = metadata.Join(h.header, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream.
func (h *localHeader) SendHeader(md metadata.MD) error { return h.SetHeader(md) }

// SetTrailer implements grpc.ServerTransportStream. Nobody looks at trailers.
func (*localHeader) SetTrailer(metadata.MD) error { return nil }

func (h *localHeader) handOver() {
	if h != nil && h.use != nil {
		h.use(h.header)
		h.use = nil
	}
}

package runner

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// freshness is how long after a change of an object's desired state its
// reconciles continue the trace of that change. What happens later, for
// example to a pod that fails a week on, has a trace of its own that links to
// it: a trace that grew forever would show nothing.
const freshness = 5 * time.Minute

// origin is the trace that an object's last change of desired state is in, and
// when we first saw it.
type origin struct {
	span  trace.SpanContext
	since time.Time
}

// origins remembers the origin of every key that has one.
type origins struct {
	mu    sync.Mutex
	byKey map[string]origin
}

// see notes the trace that ctx carries for a key and says whether it is fresh.
func (o *origins) see(key string, span trace.SpanContext, now time.Time) (fresh bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !span.IsValid() {
		delete(o.byKey, key)
		return false
	}
	have, ok := o.byKey[key]
	if !ok || !have.span.Equal(span) {
		have = origin{span: span, since: now}
		o.byKey[key] = have
	}
	return now.Sub(have.since) < freshness
}

// lazySpan is the span of a reconcile. It is recorded from the moment the
// reconcile writes something or fails; one that finds nothing to do, as most
// do, leaves no span behind.
type lazySpan struct {
	tracer trace.Tracer
	name   string
	opts   []trace.SpanStartOption
	parent trace.SpanContext

	mu   sync.Mutex
	span trace.Span
}

type lazySpanKey struct{}

// startSpan returns a context in which the first write starts the span.
func (c *Controller) startSpan(ctx context.Context, key string) (context.Context, *lazySpan) {
	now := time.Now()
	var parent trace.SpanContext
	if c.opts.Trace != nil {
		parent = trace.SpanContextFromContext(c.opts.Trace(ctx, key))
	}
	s := &lazySpan{tracer: c.tracer, name: c.name + ".reconcile", opts: []trace.SpanStartOption{
		trace.WithTimestamp(now),
		trace.WithAttributes(keyAttributes(c.name, key)...),
	}}
	switch {
	case c.origins.see(key, parent, now):
		s.parent = parent
	case parent.IsValid():
		s.opts = append(s.opts, trace.WithLinks(trace.Link{SpanContext: parent}))
	}
	return context.WithValue(ctx, lazySpanKey{}, s), s
}

func keyAttributes(controller, key string) []attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.String("navarch.controller", controller), attribute.String("navarch.key", key)}
	if namespace, _, ok := strings.Cut(key, "/"); ok {
		attrs = append(attrs, attribute.String("k8s.namespace.name", namespace))
	}
	return attrs
}

// start makes the span, once, and returns ctx with it.
func (s *lazySpan) start(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.span == nil {
		// The parent is remote if there is one; ctx itself holds no span.
		_, s.span = s.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, s.parent), s.name, s.opts...)
	}
	return trace.ContextWithSpan(ctx, s.span)
}

func (s *lazySpan) end(err error) {
	if err != nil && s.parent.IsValid() {
		s.start(context.Background())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.span == nil {
		return
	}
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		s.span.RecordError(err)
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// TracedConn returns a connection to the Store whose writes, when a reconcile
// makes them, are children of the reconcile's span.
func TracedConn(conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return tracedConn{conn}
}

type tracedConn struct{ grpc.ClientConnInterface }

// Invoke makes a unary call. All of the Store's but Get are writes.
func (t tracedConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if s, ok := ctx.Value(lazySpanKey{}).(*lazySpan); ok && !strings.HasSuffix(method, "/Get") {
		ctx = s.start(ctx)
	}
	return t.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

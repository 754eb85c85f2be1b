package tracing

import (
	"context"

	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

// keeper hands the spans of a service to a Memory of the same process as they end.
type keeper struct {
	memory        *Memory
	service, node string
}

// OnStart implements sdktrace.SpanProcessor.
func (keeper) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (k keeper) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	id := s.SpanContext().TraceID()
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	k.memory.addLocked(string(id[:]), ownSpan{s, k.service, k.node})
}

// ForceFlush implements sdktrace.SpanProcessor.
func (keeper) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdktrace.SpanProcessor.
func (keeper) Shutdown(context.Context) error { return nil }

// ownSpan is a span of this process.
type ownSpan struct {
	sdktrace.ReadOnlySpan
	service, node string
}

func (s ownSpan) show() *tracev1.Span {
	out := &tracev1.Span{
		SpanId: s.SpanContext().SpanID().String(), Name: s.Name(), Service: s.service,
		StartTime: timestamppb.New(s.StartTime()), EndTime: timestamppb.New(s.EndTime()),
		Attributes: attributes(s.node, len(s.Attributes())),
	}
	if parent := s.Parent().SpanID(); parent.IsValid() {
		out.ParentSpanId = parent.String()
	}
	for _, a := range s.Attributes() {
		out.Attributes[string(a.Key)] = a.Value.String()
	}
	if s.Status().Code == otelcodes.Error {
		fail(out, s.Status().Description)
	}
	return out
}

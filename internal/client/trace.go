package client

import (
	"context"

	"go.opentelemetry.io/otel/propagation"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// WithTrace returns ctx with t as the remote parent of the spans to come. A
// nil or empty t leaves ctx as it is.
func WithTrace(ctx context.Context, t *storev1.TraceContext) context.Context {
	if t.GetTraceparent() == "" {
		return ctx
	}
	carrier := propagation.MapCarrier{"traceparent": t.GetTraceparent(), "tracestate": t.GetTracestate()}
	return propagation.TraceContext{}.Extract(ctx, carrier)
}

// TraceOf returns the trace context of ctx's current span, nil if there is none.
func TraceOf(ctx context.Context) *storev1.TraceContext {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if carrier["traceparent"] == "" {
		return nil
	}
	return &storev1.TraceContext{Traceparent: carrier["traceparent"], Tracestate: carrier["tracestate"]}
}

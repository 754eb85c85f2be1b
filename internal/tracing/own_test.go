package tracing

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/testing/protocmp"

	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

// uploads puts what is exported into a Memory.
type uploads struct{ memory *Memory }

func (uploads) Start(context.Context) error { return nil }
func (uploads) Stop(context.Context) error  { return nil }

func (u uploads) UploadTraces(_ context.Context, spans []*otlpv1.ResourceSpans) error {
	u.memory.Add(spans)
	return nil
}

// A span of this process looks the same as one that another has exported.
func TestOwnSpans(t *testing.T) {
	own, other := NewMemory(), NewMemory()
	provider, shutdown, err := NewProvider(t.Context(), Options{
		Service: "gateway", Node: "n1", Memory: own, Clients: []otlptrace.Client{uploads{other}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tracer := provider.Tracer("test")
	ctx, root := tracer.Start(t.Context(), "gateway.create pods")
	_, failed := tracer.Start(ctx, "store.Create")
	failed.SetAttributes(attribute.String("text", "a"), attribute.Int("number", -5), attribute.Float64("fraction", 0.5), attribute.Bool("truth", true))
	failed.SetStatus(codes.Error, "no space")
	failed.End()
	_, silent := tracer.Start(ctx, "store.Get")
	silent.SetStatus(codes.Error, "")
	silent.End()
	_, late := tracer.Start(ctx, "store.Update")
	late.SetAttributes(attribute.String(rpcStatus, "ABORTED"))
	late.SetStatus(codes.Error, "conflict")
	late.End()
	root.End()
	if err := shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	request := &tracev1.GetTraceRequest{TraceId: root.SpanContext().TraceID().String()}
	got, err := own.GetTrace(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	want, err := other.GetTrace(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.GetSpans()) != 4 {
		t.Errorf("the trace has %d spans", len(got.GetSpans()))
	}
	byName := protocmp.SortRepeated(func(a, b *tracev1.Span) bool { return a.GetName() < b.GetName() })
	if diff := cmp.Diff(want, got, protocmp.Transform(), byName); diff != "" {
		t.Errorf("as exported (-) and as kept (+):\n%s", diff)
	}
}

package tracing

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	otlpcommonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	otlpresourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"

	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

func TestOnlyUserRequestsBeginATrace(t *testing.T) {
	memory := NewMemory()
	provider, shutdown, err := NewProvider(t.Context(), Options{Service: "gateway", Node: "n1", Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	tracer := provider.Tracer("test")
	ctx, root := tracer.Start(t.Context(), "gateway.create pods")
	_, child := tracer.Start(ctx, "store.Create")
	child.End()
	root.End()
	_, background := tracer.Start(t.Context(), "node.heartbeat")
	background.End()
	if err := shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	resp, err := memory.GetTrace(t.Context(), &tracev1.GetTraceRequest{TraceId: root.SpanContext().TraceID().String()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range resp.GetSpans() {
		names = append(names, s.GetService()+" "+s.GetName())
	}
	if diff := cmp.Diff([]string{"gateway gateway.create pods", "gateway store.Create"}, names); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if background.SpanContext().IsSampled() {
		t.Error("work that nobody asked for began a trace")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	memory := NewMemory()
	for i := range maxTraces + 10 {
		memory.Add(spansOf(fmt.Sprintf("%016d", i), 1))
	}
	if n := len(memory.traces); n != maxTraces {
		t.Errorf("held %d traces, want %d", n, maxTraces)
	}
	_, err := memory.GetTrace(t.Context(), &tracev1.GetTraceRequest{TraceId: fmt.Sprintf("%x", fmt.Sprintf("%016d", 0))})
	if status.Code(err) != codes.NotFound {
		t.Errorf("the oldest trace: %v, want NotFound", err)
	}
	memory.Add(spansOf("aaaaaaaaaaaaaaaa", maxSpansPerTrace+1))
	resp, err := memory.GetTrace(t.Context(), &tracev1.GetTraceRequest{TraceId: strings.Repeat("61", 16)})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(resp.GetSpans()); n != maxSpansPerTrace {
		t.Errorf("held %d spans, want %d", n, maxSpansPerTrace)
	}
}

func spansOf(traceID string, n int) []*otlpv1.ResourceSpans {
	spans := make([]*otlpv1.Span, n)
	for i := range spans {
		spans[i] = &otlpv1.Span{TraceId: []byte(traceID), SpanId: fmt.Appendf(nil, "%08d", i), Name: "s"}
	}
	service := &otlpcommonv1.KeyValue{Key: "service.name", Value: &otlpcommonv1.AnyValue{Value: &otlpcommonv1.AnyValue_StringValue{StringValue: "x"}}}
	return []*otlpv1.ResourceSpans{{
		Resource:   &otlpresourcev1.Resource{Attributes: []*otlpcommonv1.KeyValue{service}},
		ScopeSpans: []*otlpv1.ScopeSpans{{Spans: spans}},
	}}
}

func TestGetTraceRefusesWhatIsNoTraceID(t *testing.T) {
	for _, id := range []string{"", "xyz", strings.Repeat("0", 31), strings.Repeat("g", 32)} {
		_, err := NewMemory().GetTrace(t.Context(), &tracev1.GetTraceRequest{TraceId: id})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("GetTrace(%q): %v, want InvalidArgument", id, err)
		}
	}
}

// The drawing of
//
//	a 0–100ms
//	├── b 10–30ms
//	└── c 50–100ms, failed
//	d 20–40ms, its parent unknown
func TestWaterfall(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	span := func(id, parent string, from, to int) *tracev1.Span {
		return &tracev1.Span{
			SpanId: id, ParentSpanId: parent, Name: id, Service: "s",
			StartTime: timestamppb.New(start.Add(time.Duration(from) * time.Millisecond)),
			EndTime:   timestamppb.New(start.Add(time.Duration(to) * time.Millisecond)),
		}
	}
	c := span("c", "a", 50, 100)
	c.Error = "boom"
	var out strings.Builder
	if err := WriteWaterfall(&out, []*tracev1.Span{c, span("d", "gone", 20, 40), span("b", "a", 10, 30), span("a", "", 0, 100)}); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"SPAN        START       TOOK  TIMELINE",
		"s  a        0.0ms    100.0ms  ████████████████████████████████████████",
		"  s  b     10.0ms     20.0ms      ████████",
		"  s  c     50.0ms     50.0ms                      ████████████████████  ! boom",
		"s  d       20.0ms     20.0ms          ████████",
		"",
	}, "\n")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("waterfall (-want +got):\n%s", diff)
	}
}

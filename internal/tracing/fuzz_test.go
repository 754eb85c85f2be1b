package tracing

import (
	"encoding/hex"
	"io"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

// Any process of the cluster may export any spans: in cycles, without IDs,
// ending before they begin.
func FuzzExportedSpans(f *testing.F) {
	const a, b = "aaaaaaaa", "bbbbbbbb"
	id := []byte("0123456789abcdef")
	for _, spans := range [][]*otlpv1.Span{
		{{TraceId: id, SpanId: []byte(a)}, {TraceId: id, SpanId: []byte(b), ParentSpanId: []byte(a)}},
		{{TraceId: id, SpanId: []byte(a), ParentSpanId: []byte(b)}, {TraceId: id, SpanId: []byte(b), ParentSpanId: []byte(a)}},
		{{TraceId: id, SpanId: []byte(a), ParentSpanId: []byte(a), StartTimeUnixNano: 1 << 63, EndTimeUnixNano: 1}},
		{{TraceId: id}, {}, {TraceId: []byte("short")}},
	} {
		seed, err := proto.Marshal(&collectorv1.ExportTraceServiceRequest{
			ResourceSpans: []*otlpv1.ResourceSpans{{ScopeSpans: []*otlpv1.ScopeSpans{{Spans: spans}}}},
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var req collectorv1.ExportTraceServiceRequest
		if proto.Unmarshal(data, &req) != nil {
			return
		}
		memory := NewMemory()
		memory.Add(req.GetResourceSpans())
		for _, resource := range req.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					resp, err := memory.GetTrace(t.Context(), &tracev1.GetTraceRequest{TraceId: hex.EncodeToString(span.GetTraceId())})
					if err != nil {
						continue
					}
					if err := WriteWaterfall(io.Discard, resp.GetSpans()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

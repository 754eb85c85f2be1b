package tracing

import (
	"cmp"
	"container/list"
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	otlpv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

const (
	// maxTraces is how many traces are held; the one longest without a new
	// span goes first.
	maxTraces = 512
	// maxSpansPerTrace bounds one trace; further spans of it are dropped.
	maxSpansPerTrace = 4096
)

// Memory holds recent traces in memory, bounded in number and size. It takes
// spans of its process as they end, those of others by the OpenTelemetry protocol,
// and answers TraceService. Hardly any trace is ever looked at, so its own spans are
// only converted when they are.
type Memory struct {
	tracev1.UnimplementedTraceServiceServer

	mu     sync.Mutex // guards all below
	traces map[string]*list.Element
	recent *list.List // of *heldTrace, the newest first
}

type heldTrace struct {
	id    string // its bytes
	spans []heldSpan
}

// heldSpan is a span in whichever form it came.
type heldSpan interface{ show() *tracev1.Span }

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{traces: make(map[string]*list.Element), recent: list.New()}
}

// Register serves TraceService and the OpenTelemetry collector's service.
func (m *Memory) Register(r grpc.ServiceRegistrar) {
	tracev1.RegisterTraceServiceServer(r, m)
	collectorv1.RegisterTraceServiceServer(r, collector{memory: m})
}

// GetTrace implements TraceService.
func (m *Memory) GetTrace(_ context.Context, req *tracev1.GetTraceRequest) (*tracev1.GetTraceResponse, error) {
	id, err := hex.DecodeString(req.GetTraceId())
	if err != nil || len(id) != 16 {
		return nil, status.Errorf(codes.InvalidArgument, "trace_id: %q must be 32 hexadecimal digits", req.GetTraceId())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.traces[string(id)]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "trace %q is not held (any more)", req.GetTraceId())
	}
	held := e.Value.(*heldTrace).spans
	spans := make([]*tracev1.Span, len(held))
	for i, s := range held {
		spans[i] = s.show()
	}
	slices.SortStableFunc(spans, func(a, b *tracev1.Span) int {
		return a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime())
	})
	return &tracev1.GetTraceResponse{Spans: spans}, nil
}

// Add takes spans in.
func (m *Memory) Add(resources []*otlpv1.ResourceSpans) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range resources {
		service := attributeOf(r.GetResource().GetAttributes(), "service.name")
		node := attributeOf(r.GetResource().GetAttributes(), "k8s.node.name")
		for _, scope := range r.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				m.addLocked(string(s.GetTraceId()), otherSpan{convert(s, service, node)})
			}
		}
	}
}

func (m *Memory) addLocked(id string, span heldSpan) {
	e, ok := m.traces[id]
	if ok {
		m.recent.MoveToFront(e)
	} else {
		e = m.recent.PushFront(&heldTrace{id: id})
		m.traces[id] = e
	}
	if t := e.Value.(*heldTrace); len(t.spans) < maxSpansPerTrace {
		t.spans = append(t.spans, span)
	}
	for m.recent.Len() > maxTraces {
		oldest := m.recent.Back()
		delete(m.traces, oldest.Value.(*heldTrace).id)
		m.recent.Remove(oldest)
	}
}

// otherSpan is a span of another process.
type otherSpan struct{ span *tracev1.Span }

func (s otherSpan) show() *tracev1.Span { return s.span }

func convert(s *otlpv1.Span, service, node string) *tracev1.Span {
	out := &tracev1.Span{
		SpanId: hex.EncodeToString(s.GetSpanId()), ParentSpanId: hex.EncodeToString(s.GetParentSpanId()),
		Name: s.GetName(), Service: service,
		StartTime:  timestamppb.New(time.Unix(0, int64(s.GetStartTimeUnixNano()))),
		EndTime:    timestamppb.New(time.Unix(0, int64(s.GetEndTimeUnixNano()))),
		Attributes: attributes(node, len(s.GetAttributes())),
	}
	for _, a := range s.GetAttributes() {
		out.Attributes[a.GetKey()] = valueString(a.GetValue())
	}
	if s.GetStatus().GetCode() == otlpv1.Status_STATUS_CODE_ERROR {
		fail(out, s.GetStatus().GetMessage())
	}
	return out
}

// attributes returns what holds so many attributes of a span, and the node.
func attributes(node string, n int) map[string]string {
	out := make(map[string]string, n+1)
	if node != "" {
		out["k8s.node.name"] = node
	}
	return out
}

// fail notes that what a span is about has failed.
func fail(s *tracev1.Span, message string) {
	if code := s.GetAttributes()[rpcStatus]; lostRace(code) {
		s.Attributes[errorType] = code
		return
	}
	s.Error = cmp.Or(message, "failed")
}

// Attributes by the conventions of OpenTelemetry.
const (
	errorType = "error.type"
	rpcStatus = "rpc.response.status_code"
)

// lostRace says whether a call with a gRPC status only came too late. The
// client's instrumentation takes any status but OK for an error, but to callers
// of the Store these are answers like others: they read again and go on.
func lostRace(code string) bool {
	return slices.Contains([]string{"ABORTED", "ALREADY_EXISTS", "NOT_FOUND"}, code)
}

func attributeOf(attributes []*commonv1.KeyValue, key string) string {
	for _, a := range attributes {
		if a.GetKey() == key {
			return valueString(a.GetValue())
		}
	}
	return ""
}

// valueString shows a value of any type; text, numbers and truths as they are.
func valueString(v *commonv1.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonv1.AnyValue_StringValue:
		return v.StringValue
	case *commonv1.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonv1.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *commonv1.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	}
	return v.String()
}

// collector is the OpenTelemetry protocol's face of a Memory.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	memory *Memory
}

// Export implements the collector's TraceService.
func (c collector) Export(_ context.Context, req *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.memory.Add(req.GetResourceSpans())
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// RemoteClient sends spans over a connection to whoever serves the
// OpenTelemetry collector's service there. Spans that cannot be sent are
// dropped: tracing never holds work up.
type RemoteClient struct{ Conn grpc.ClientConnInterface }

// Start implements otlptrace.Client.
func (RemoteClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (RemoteClient) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace.Client.
func (c RemoteClient) UploadTraces(ctx context.Context, spans []*otlpv1.ResourceSpans) error {
	_, err := collectorv1.NewTraceServiceClient(c.Conn).Export(ctx, &collectorv1.ExportTraceServiceRequest{ResourceSpans: spans})
	return err
}

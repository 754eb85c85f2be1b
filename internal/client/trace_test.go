package client

import (
	"testing"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

func TestTraceIsCarried(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := TraceOf(WithTrace(t.Context(), &storev1.TraceContext{Traceparent: parent, Tracestate: "vendor=1"}))
	if got.GetTraceparent() != parent || got.GetTracestate() != "vendor=1" {
		t.Errorf("the trace is %v", got)
	}
	if got := TraceOf(WithTrace(t.Context(), nil)); got != nil {
		t.Errorf("there is a trace %v, want none", got)
	}
}

func FuzzWithTrace(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b")
	f.Add("00-0-0-0", "=,=")
	f.Add("", "\x00")
	f.Fuzz(func(t *testing.T, parent, state string) {
		once := TraceOf(WithTrace(t.Context(), &storev1.TraceContext{Traceparent: parent, Tracestate: state}))
		twice := TraceOf(WithTrace(t.Context(), once))
		if once.GetTraceparent() != twice.GetTraceparent() || once.GetTracestate() != twice.GetTracestate() {
			t.Errorf("%v became %v", once, twice)
		}
	})
}

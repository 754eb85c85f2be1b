package scheduler

import (
	"fmt"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/scheduler/placement"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

// TestDecisionContinuesThePodsTrace follows one trace: the Store's span that
// created the pod, the decision made about it, and what the binding hands on to
// the agent.
func TestDecisionContinuesThePodsTrace(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tel := telemetry.Discard("scheduler")
	tel.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	c := startWith(t, tel, schedtest.Node("n1"))
	c.create(schedtest.Pod("web").Pod())
	c.until("web is on n1", func() bool { return c.nodeOf("web") == "n1" })
	c.until("it is told", func() bool { return len(c.events.List()) > 0 })
	byName, byID := make(map[string]sdktrace.ReadOnlySpan), make(map[trace.SpanID]sdktrace.ReadOnlySpan)
	for _, s := range recorder.Ended() {
		byName[s.Name()], byID[s.SpanContext().SpanID()] = s, s
	}
	decision := byName["scheduler.schedule"]
	if cause, ok := byID[decision.Parent().SpanID()]; !ok || cause.Name() != "store.Create" {
		t.Errorf("the decision's parent is %v, not the pod's creation", cause)
	}
	handedOn := trace.SpanContextFromContext(c.pods.TraceContext(t.Context(), "default/web"))
	if handedOn.SpanID() != decision.SpanContext().SpanID() {
		t.Errorf("the agent would continue span %s, not the decision %s", handedOn.SpanID(), decision.SpanContext().SpanID())
	}
}

func TestWatchersSeeDecisionsAndSlowOnesAreCut(t *testing.T) {
	h := newHistory()
	fast, stopFast := h.watch()
	slow, stopSlow := h.watch()
	defer stopFast()
	defer stopSlow()
	for i := range watcherBuffer + 1 {
		h.record(attemptOf(fmt.Sprint("p", i)), "n1", "placed")
		if d := <-fast; d.GetName() != fmt.Sprint("p", i) || d.GetNodeName() != "n1" {
			t.Fatalf("decision %d: %v", i, d)
		}
	}
	seen := 0
	for range slow { // ends, as the channel was closed
		seen++
	}
	if seen != watcherBuffer {
		t.Errorf("the slow watcher saw %d", seen)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := newHistory()
	for range 3 * attemptsRemembered {
		h.record(attemptOf("p"), "", "no")
	}
	h.record(attemptOf("p"), "n1", "placed")
	past, ok := h.of("default/p")
	if !ok || len(past.decisions) != attemptsRemembered || past.decisions[0].GetMessage() != "placed" {
		t.Errorf("%d attempts, newest %v", len(past.decisions), past.decisions[0])
	}
}

func attemptOf(name string) *attempt {
	return &attempt{pod: schedtest.Pod(name).Info(), result: &placement.Result{}}
}

package tracing

import (
	"context"
	"testing"
	"testing/synctest"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// countingExporter notes the size of each batch.
type countingExporter struct{ batches []int }

func (e *countingExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.batches = append(e.batches, len(spans))
	return nil
}

func (*countingExporter) Shutdown(context.Context) error { return nil }

func TestBatcherGathersSpansAndSendsTheRestAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := new(countingExporter)
		b := newBatcher(exporter)
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b))
		end := func(n int) {
			for range n {
				_, span := provider.Tracer("test").Start(t.Context(), "s")
				span.End()
			}
		}
		want := func(batches ...int) {
			t.Helper()
			b.mu.Lock() // also orders this read after the export
			defer b.mu.Unlock()
			if len(exporter.batches) != len(batches) {
				t.Fatalf("batches sent: %v, want %v", exporter.batches, batches)
			}
			for i, n := range batches {
				if exporter.batches[i] != n {
					t.Fatalf("batches sent: %v, want %v", exporter.batches, batches)
				}
			}
		}
		end(3)
		synctest.Wait()
		want() // they wait for more
		end(2)
		afterExport(t)
		want(5)
		end(maxBatch) // a full batch does not wait
		synctest.Wait()
		want(5, maxBatch)
		end(1)
		if err := provider.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		want(5, maxBatch, 1)
	})
}

// afterExport lets the bubble's clock pass the delay.
func afterExport(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*exportDelay)
	defer cancel()
	<-ctx.Done()
	synctest.Wait()
}

func TestBatcherIgnoresUnsampledSpans(t *testing.T) {
	exporter := new(countingExporter)
	b := newBatcher(exporter)
	b.OnEnd(tracetest.SpanStub{}.Snapshot())
	if err := b.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(exporter.batches) != 0 {
		t.Errorf("batches sent: %v, want none", exporter.batches)
	}
}

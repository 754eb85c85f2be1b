package tracing

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	// exportDelay is how long spans are gathered before they are sent on.
	exportDelay = 200 * time.Millisecond
	// exportTime bounds one sending.
	exportTime = 10 * time.Second
	// maxBatch is how many spans are sent at once.
	maxBatch = 512
	// maxWaiting is how many spans may wait to be sent; further ones are
	// dropped.
	maxWaiting = 8192
)

// batcher sends ended spans on in batches. Unlike OpenTelemetry's own batch
// processor it has a timer only while spans are waiting, so a service without
// work is never woken, and spans can be sent soon after they end.
type batcher struct {
	exporter sdktrace.SpanExporter

	mu      sync.Mutex // guards waiting
	waiting []sdktrace.ReadOnlySpan

	// arrived holds a token while spans wait; full while a batch of them does.
	arrived, full chan struct{}
	stop          chan struct{}
	stopOnce      sync.Once
	stopped       chan struct{}
}

func newBatcher(exporter sdktrace.SpanExporter) *batcher {
	b := &batcher{
		exporter: exporter,
		arrived:  make(chan struct{}, 1), full: make(chan struct{}, 1),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go b.run()
	return b
}

// OnStart implements sdktrace.SpanProcessor.
func (b *batcher) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor. It never waits.
func (b *batcher) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	b.mu.Lock()
	if len(b.waiting) < maxWaiting {
		b.waiting = append(b.waiting, s)
	}
	n := len(b.waiting)
	b.mu.Unlock()
	signal(b.arrived)
	if n >= maxBatch {
		signal(b.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (b *batcher) run() {
	defer close(b.stopped)
	for {
		select {
		case <-b.arrived:
		case <-b.stop:
			return // Shutdown sends what is left
		}
		delay := time.NewTimer(exportDelay)
		select {
		case <-delay.C:
		case <-b.full:
		case <-b.stop:
		}
		delay.Stop()
		// Spans that cannot be sent are dropped: tracing never holds work up.
		_ = b.ForceFlush(context.Background())
	}
}

// ForceFlush implements sdktrace.SpanProcessor.
func (b *batcher) ForceFlush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, exportTime)
	defer cancel()
	b.mu.Lock()
	spans := b.waiting
	b.waiting = nil
	b.mu.Unlock()
	var errs []error
	for batch := range slices.Chunk(spans, maxBatch) {
		errs = append(errs, b.exporter.ExportSpans(ctx, batch))
	}
	return errors.Join(errs...)
}

// Shutdown implements sdktrace.SpanProcessor: it sends what is left.
func (b *batcher) Shutdown(ctx context.Context) error {
	b.stopOnce.Do(func() { close(b.stop) })
	select {
	case <-b.stopped:
	case <-ctx.Done():
		return ctx.Err()
	}
	return errors.Join(b.ForceFlush(ctx), b.exporter.Shutdown(ctx))
}

package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

const (
	// maxQueued bounds the bytes of all events that have not been delivered, for
	// one may have megabytes of objects.
	maxQueued = 128 << 20
	// maxBatch bounds the bytes of a batch, unless one event alone has more.
	maxBatch = 10 << 20
	// maxSending is how many batches are on their way at once. One that is sent
	// again and again does not hold up the others.
	maxSending = 16
	// attempts is how often a batch is sent before it is given up, and backoffGrowth
	// how much longer each wait between them is.
	attempts      = 5
	backoffGrowth = 1.5
	// closingTime is how long what waits at the end may take to be sent.
	closingTime = 5 * time.Second
	// quiet is how often it is logged at most that events are dropped.
	quiet = 10 * time.Second
)

// Why events were dropped, as the metric says it.
const (
	queueFull   = "queue_full"
	notReceived = "not_received"
)

// webhook sends events to a server, in batches. Who has an event sent never
// waits for that: what the queue has no room for, and what the server does not
// take after several attempts, is dropped, counted and logged.
//
//	put ──▶ queue ──▶ collect ──▶ deliver, up to maxSending at once
type webhook struct {
	config WebhookConfig
	send   func(ctx context.Context, body []byte) error
	log    *slog.Logger
	// dropped counts by why, and waiting is how many events are not delivered yet.
	dropped *prometheus.CounterVec
	waiting prometheus.Gauge

	queue chan []byte
	// held is an event that did not fit into the last batch; only run uses it.
	held    []byte
	closing chan struct{} // closed when no more events come
	done    chan struct{} // closed when all are delivered or dropped

	mu       sync.Mutex // guards the fields below
	closed   bool
	room     int       // bytes of events that may come until some are delivered
	loggedAt time.Time // when a drop was logged last
}

// newWebhook returns a webhook that runs until it is closed.
func newWebhook(config WebhookConfig, send func(context.Context, []byte) error, log *slog.Logger) *webhook {
	w := &webhook{
		config: config, send: send, log: log,
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_audit_webhook_dropped_total", Help: "Audit events that were not sent to the webhook, by reason (queue_full, not_received).",
		}, []string{"reason"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "navarch_audit_webhook_waiting", Help: "Audit events that the webhook has not taken yet."}),
		queue:   make(chan []byte, config.BufferSize), closing: make(chan struct{}), done: make(chan struct{}), room: maxQueued,
	}
	for _, reason := range []string{queueFull, notReceived} {
		w.dropped.WithLabelValues(reason)
	}
	go w.run()
	return w
}

// put has an event, in JSON, sent some time.
func (w *webhook) put(ctx context.Context, event []byte) {
	if !w.tryPut(event) {
		w.drop(ctx, queueFull, 1, nil)
	}
}

func (w *webhook) tryPut(event []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(event) > w.room {
		return false
	}
	select {
	case w.queue <- event:
		w.room -= len(event)
		w.waiting.Inc()
		return true
	default:
		return false
	}
}

// drop counts events that are lost, and says so now and then.
func (w *webhook) drop(ctx context.Context, reason string, events int, err error) {
	w.dropped.WithLabelValues(reason).Add(float64(events))
	w.mu.Lock()
	now := time.Now()
	tell := w.loggedAt.IsZero() || now.Sub(w.loggedAt) >= quiet
	if tell {
		w.loggedAt = now
	}
	w.mu.Unlock()
	if tell {
		w.log.ErrorContext(ctx, "audit events were not sent to the webhook", "reason", reason, "events", events, "error", err)
	}
}

// close sends what waits, for a while, and ends the webhook.
func (w *webhook) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
	}
	w.mu.Unlock()
	<-w.done
}

// run makes batches of what comes and has them delivered.
func (w *webhook) run() {
	defer close(w.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-w.closing:
			time.AfterFunc(closingTime, cancel)
		case <-ctx.Done():
		}
	}()
	limit := rate.NewLimiter(rate.Inf, 0)
	if w.config.Throttle {
		limit = rate.NewLimiter(rate.Limit(w.config.QPS), w.config.Burst)
	}
	var sending sync.WaitGroup
	slots := make(chan struct{}, maxSending)
	for batch := w.collect(); len(batch) > 0; batch = w.collect() {
		w.wait(ctx, limit.Reserve().Delay())
		slots <- struct{}{}
		sending.Go(func() {
			defer func() { <-slots }()
			w.deliver(ctx, batch)
		})
	}
	sending.Wait()
}

// collect returns the next batch; none once the webhook is closed and nothing
// waits.
func (w *webhook) collect() (batch [][]byte) {
	var size int
	var full <-chan time.Time // nil: the batch waits for its first event
	for len(batch) < w.config.MaxBatchSize {
		event := w.held
		if w.held = nil; event == nil {
			if event = w.next(full); event == nil {
				return batch
			}
		}
		if len(batch) > 0 && size+len(event) > maxBatch {
			w.held = event
			return batch
		}
		batch, size = append(batch, event), size+len(event)
		if full == nil {
			timer := time.NewTimer(w.config.MaxBatchWait)
			defer timer.Stop()
			full = timer.C
		}
	}
	return batch
}

// next returns the next event, nil if none comes until the time is over or the
// webhook is closed.
func (w *webhook) next(over <-chan time.Time) []byte {
	select {
	case event := <-w.queue:
		return event
	case <-over:
		return nil
	case <-w.closing:
	}
	select {
	case event := <-w.queue:
		return event
	default:
		return nil
	}
}

// wait waits, but not when the webhook is being closed.
func (w *webhook) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.closing:
	case <-ctx.Done():
	}
}

func (w *webhook) isClosing() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// deliver sends a batch until it is taken or given up.
func (w *webhook) deliver(ctx context.Context, batch [][]byte) {
	err := w.attempt(ctx, listOf(batch))
	if err != nil {
		w.drop(ctx, notReceived, len(batch), err)
	}
	size := 0
	for _, event := range batch {
		size += len(event)
	}
	w.waiting.Sub(float64(len(batch)))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.room += size
}

// attempt sends a body several times if need be; once more when the webhook is
// being closed.
func (w *webhook) attempt(ctx context.Context, body []byte) error {
	backoff := w.config.InitialBackoff
	for n := 1; ; n++ {
		last := n == attempts || w.isClosing()
		err := w.send(ctx, body)
		if err == nil {
			return nil
		}
		if last {
			return fmt.Errorf("after %d attempts: %w", n, err)
		}
		w.log.WarnContext(ctx, "a batch of audit events was not taken by the webhook and will be sent again", "attempt", n, "error", err)
		w.wait(ctx, backoff+rand.N(backoff/5+1))
		backoff = time.Duration(float64(backoff) * backoffGrowth)
	}
}

// listOf returns an audit.k8s.io/v1 EventList of events in JSON.
func listOf(events [][]byte) []byte {
	var b bytes.Buffer
	b.WriteString(`{"kind":"EventList","apiVersion":"` + apiVersion + `","metadata":{},"items":[`)
	for i, event := range events {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(event)
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
)

const (
	defaultWorkers = 4
	defaultTimeout = time.Minute
	// firstRetry and longestRetry bound the delay between the attempts of a
	// key that fails.
	firstRetry   = 10 * time.Millisecond
	longestRetry = 2 * time.Minute
)

// Options qualify a Controller. Zero values are defaults.
type Options struct {
	// Workers is how many keys are reconciled at the same time.
	Workers int
	// Timeout ends the context of one reconcile.
	Timeout time.Duration
	// Trace returns ctx with the trace of the key's object, as an Informer's
	// TraceContext does. Nil: reconciles start traces of their own.
	Trace func(ctx context.Context, key string) context.Context
	// Background, if not nil, runs beside the workers until its context ends.
	Background func(ctx context.Context)
}

// Controller runs one reconciler. It is made by New and started by Run.
type Controller struct {
	name       string
	reconciler Reconciler
	opts       Options
	log        *slog.Logger
	tracer     trace.Tracer
	metrics    *Metrics
	feed       *Feed
	queue      workqueue.TypedRateLimitingInterface[string]
	origins    origins

	mu         sync.Mutex // guards all below
	reconciles int64
	errors     int64
	failing    map[string]Failure
}

// New returns the controller of a reconciler. The name is the reconciler's
// package's, for example "deployment".
func New(name string, r Reconciler, deps Deps, opts Options) *Controller {
	if opts.Workers == 0 {
		opts.Workers = cmp.Or(deps.Workers, defaultWorkers)
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, longestRetry)
	return &Controller{
		name: name, reconciler: r, opts: opts,
		log:     deps.Telemetry.Log.With("controller", name),
		tracer:  deps.Telemetry.Tracer(),
		metrics: deps.Metrics, feed: deps.Feed,
		queue:   workqueue.NewTypedRateLimitingQueue(limiter),
		origins: origins{byKey: make(map[string]origin)},
		failing: make(map[string]Failure),
	}
}

// Name returns the controller's name.
func (c *Controller) Name() string { return c.name }

// Enqueue has keys reconciled soon. A key that already waits is not added
// again.
func (c *Controller) Enqueue(keys ...string) {
	for _, key := range keys {
		c.queue.Add(key)
	}
	c.metrics.depth.WithLabelValues(c.name).Set(float64(c.queue.Len()))
}

// EnqueueAfter has a key reconciled when d has passed.
func (c *Controller) EnqueueAfter(key string, d time.Duration) { c.queue.AddAfter(key, d) }

// Run reconciles until ctx ends; the reconciles under way are waited for.
func (c *Controller) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for range c.opts.Workers {
		wg.Go(func() { c.work(ctx) })
	}
	if c.opts.Background != nil {
		wg.Go(func() { c.opts.Background(ctx) })
	}
	<-ctx.Done()
	c.queue.ShutDown()
	wg.Wait()
}

func (c *Controller) work(ctx context.Context) {
	for {
		key, shutdown := c.queue.Get()
		if shutdown {
			return
		}
		c.metrics.depth.WithLabelValues(c.name).Set(float64(c.queue.Len()))
		if ctx.Err() == nil {
			c.process(ctx, key)
		}
		c.queue.Done(key)
	}
}

// process reconciles one key and decides when it comes back.
func (c *Controller) process(ctx context.Context, key string) {
	start := time.Now()
	outcome, err := c.Reconcile(ctx, key)
	if ctx.Err() != nil {
		return // what fails during shutdown says nothing
	}
	r := Reconcile{Controller: c.name, Key: key, Time: start, Duration: time.Since(start), Err: err}
	switch {
	case err == nil:
		c.queue.Forget(key)
		if r.RequeueAfter = outcome.After(); r.RequeueAfter > 0 {
			c.queue.AddAfter(key, r.RequeueAfter)
		}
	case isTerminal(err):
		c.queue.Forget(key)
		c.log.Warn("reconcile failed for good", "key", key, "error", err)
	case apierrors.IsConflict(err):
		// Somebody else wrote first: its event is on the way to us.
		c.queue.AddRateLimited(key)
		c.log.Debug("reconcile met a conflict", "key", key, "error", err)
	default:
		c.queue.AddRateLimited(key)
		c.log.Warn("reconcile failed", "key", key, "attempts", c.queue.NumRequeues(key), "error", err)
	}
	c.record(r, c.queue.NumRequeues(key))
}

// Reconcile calls the reconciler once, now, with a deadline, a span that is
// recorded if
// something is written, and panics turned into errors.
func (c *Controller) Reconcile(ctx context.Context, key string) (outcome Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	ctx, span := c.startSpan(ctx, key)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			c.log.Error("reconcile panicked", "key", key, "panic", p, "stack", string(debug.Stack()))
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("reconcile took more than %s: %w", c.opts.Timeout, err)
		}
		span.end(err)
	}()
	return c.reconciler.Reconcile(ctx, key)
}

func (c *Controller) record(r Reconcile, attempts int) {
	c.metrics.observe(r)
	c.mu.Lock()
	c.reconciles++
	if r.Err == nil {
		delete(c.failing, r.Key)
	} else {
		c.errors++
		c.failing[r.Key] = Failure{Key: r.Key, Message: r.Err.Error(), Attempts: max(attempts, 1), Time: r.Time}
	}
	c.mu.Unlock()
	c.feed.publish(r)
}

// Package events records Kubernetes events: what `kubectl describe` shows at
// the end and `kubectl get events` lists.
//
// Recording never blocks and never fails: an Event call puts the event into a
// bounded buffer, and one goroutine (Run) writes it through the Store. Events
// are told apart by everything a reader sees of them. A repeated one raises
// the count of the event that is already there; more than ten similar ones
// with different messages within ten minutes are combined into one; an object
// that still produces more than a burst of 25 is held to one every five
// minutes.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
)

const (
	// bufferSize is how many events may wait to be written, unless Limits say
	// otherwise; more are dropped.
	bufferSize = 1024
	// writeAttempts and firstRetry bound the retries while the Store cannot be
	// reached: about eight seconds in all.
	writeAttempts = 6
	firstRetry    = 250 * time.Millisecond
	// drainTime is how long Run goes on writing once its context has ended.
	drainTime = time.Second
)

// Recorder records the events of one component. It is safe for concurrent use.
type Recorder struct {
	client  *client.Client
	source  corev1.EventSource
	log     *slog.Logger
	written *prometheus.CounterVec
	queue   chan *record
	limits  Limits

	closing   chan struct{}
	closeOnce sync.Once
}

// record is one Event call.
type record struct {
	object    corev1.ObjectReference
	eventType string
	reason    string
	message   string
	at        time.Time
}

// NewRecorder returns a recorder whose events name the component, for example
// "default-scheduler", and the host, which may be empty. Nothing is written
// before Run.
func NewRecorder(c *client.Client, component, host string, tel telemetry.Set) *Recorder {
	return NewLimitedRecorder(c, component, host, tel, Limits{Waiting: bufferSize, Remembered: remembered})
}

// Limits bound what a recorder holds in memory.
type Limits struct {
	// Waiting is how many events may wait to be written; more are dropped.
	Waiting int
	// Remembered is how many events, and as many objects, are remembered to tell
	// whether one is the same again.
	Remembered int
}

// NewLimitedRecorder is NewRecorder with limits of its own, for a process that
// has many recorders of few events each.
func NewLimitedRecorder(c *client.Client, component, host string, tel telemetry.Set, limits Limits) *Recorder {
	return &Recorder{
		client:  c,
		source:  corev1.EventSource{Component: component, Host: host},
		log:     tel.Log,
		written: resultCounter(tel.Metrics),
		queue:   make(chan *record, limits.Waiting),
		limits:  limits,
		closing: make(chan struct{}),
	}
}

// resultCounter registers the package's metric, or finds it where a second
// recorder of the same service is made.
func resultCounter(reg *prometheus.Registry) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "navarch_events_total",
		Help: "Events recorded, by what became of them: created, counted, limited, dropped or failed.",
	}, []string{"result"})
	var have prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &have) {
		if old, ok := have.ExistingCollector.(*prometheus.CounterVec); ok {
			return old
		}
	}
	return c
}

// Event records that something happened to obj. eventType is
// corev1.EventTypeNormal or corev1.EventTypeWarning, reason a short CamelCase
// word, message a sentence for people.
func (r *Recorder) Event(obj kinds.Object, eventType, reason, message string) {
	r.EventAt(obj, "", eventType, reason, message)
}

// EventAt is Event for a part of obj, for example the field path
// "spec.containers{web}".
func (r *Recorder) EventAt(obj kinds.Object, fieldPath, eventType, reason, message string) {
	rec, err := newRecord(obj, fieldPath, eventType, reason, message)
	if err != nil {
		r.log.Error("event for an unknown kind", "error", err, "reason", reason)
		return
	}
	select {
	case r.queue <- rec:
	default:
		r.written.WithLabelValues("dropped").Inc()
	}
}

// Compose returns what Event would record, for a caller who has it stored with
// the change that it tells of. It is for events that happen once to an object:
// they are neither counted nor limited.
func (r *Recorder) Compose(obj kinds.Object, eventType, reason, message string) (*corev1.Event, error) {
	rec, err := newRecord(obj, "", eventType, reason, message)
	if err != nil {
		return nil, fmt.Errorf("compose event %s: %w", reason, err)
	}
	return newEvent(r.source, *rec, truncate(message), rec.at, 1), nil
}

func newRecord(obj kinds.Object, fieldPath, eventType, reason, message string) (*record, error) {
	kind, err := kinds.Default().ForObject(obj)
	if err != nil {
		return nil, err
	}
	return &record{
		object: corev1.ObjectReference{
			APIVersion: kind.APIVersion(), Kind: kind.Kind, Namespace: obj.GetNamespace(), Name: obj.GetName(),
			UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(), FieldPath: fieldPath,
		},
		eventType: eventType, reason: reason, message: message, at: time.Now(),
	}, nil
}

// Run writes events until ctx ends or Close is called; then it writes what is
// waiting, within a second, and returns.
func (r *Recorder) Run(ctx context.Context) {
	c := newCorrelator(r.limits.Remembered)
	for {
		select {
		case rec := <-r.queue:
			r.write(ctx, c, *rec)
		case <-ctx.Done():
			r.drain(ctx, c)
			return
		case <-r.closing:
			r.drain(ctx, c)
			return
		}
	}
}

// Close ends Run once what is waiting has been written. Events recorded later
// are lost.
func (r *Recorder) Close() { r.closeOnce.Do(func() { close(r.closing) }) }

func (r *Recorder) drain(ctx context.Context, c *correlator) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case rec := <-r.queue:
			r.write(ctx, c, *rec)
		default:
			return
		}
	}
}

// write stores one record as a new event, or as the count of one that exists.
func (r *Recorder) write(ctx context.Context, c *correlator, rec record) {
	s, ok := c.observe(rec)
	if !ok {
		r.written.WithLabelValues("limited").Inc()
		return
	}
	result := "counted"
	err := r.retry(ctx, func() error {
		if s.name == "" {
			result = "created"
			return r.create(ctx, s, rec)
		}
		err := r.count(ctx, s, rec)
		if apierrors.IsNotFound(err) { // the event has expired
			result = "created"
			return r.create(ctx, s, rec)
		}
		return err
	})
	if err != nil {
		result = "failed"
		r.log.DebugContext(ctx, "event not written", "reason", rec.reason, "object", rec.object.Name, "error", err)
	}
	r.written.WithLabelValues(result).Inc()
}

func (r *Recorder) create(ctx context.Context, s *series, rec record) error {
	e := newEvent(r.source, rec, s.message(rec), s.first, s.count)
	if err := r.client.Create(ctx, e); err != nil {
		s.name = ""
		return fmt.Errorf("create event for %s %s/%s: %w", rec.object.Kind, rec.object.Namespace, rec.object.Name, err)
	}
	s.name = e.Name
	return nil
}

func (r *Recorder) count(ctx context.Context, s *series, rec record) error {
	patch, err := json.Marshal(map[string]any{
		"count": s.count, "message": s.message(rec), "lastTimestamp": metav1.NewTime(rec.at),
	})
	if err != nil {
		return fmt.Errorf("encode event patch: %w", err)
	}
	e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: eventNamespace(rec.object), Name: s.name}}
	if err := r.client.Patch(ctx, e, types.MergePatchType, patch, ""); err != nil {
		return fmt.Errorf("count event %s/%s: %w", e.Namespace, e.Name, err)
	}
	return nil
}

// retry calls write again while the Store is out of reach. Other errors, for
// example that the namespace is going away, stay errors.
func (r *Recorder) retry(ctx context.Context, write func() error) error {
	delay := firstRetry
	for attempt := 1; ; attempt++ {
		err := write()
		if !outOfReach(err) || attempt == writeAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(delay):
		}
		delay *= 2
	}
}

func outOfReach(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err)
}

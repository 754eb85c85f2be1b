// Package audit writes the audit log: who asked the API for what, when, from
// where, and how it was answered. A policy says what is recorded of which
// requests. Policies, events and their stages are those of kube-apiserver
// (audit.k8s.io/v1), and so the tools that read them apply.
//
// Who serves requests begins a Record of each and tells it what becomes known:
// gateways, of REST requests, and Stores, of the calls that do not come through
// a gateway. Requests of which nothing is recorded cost the match of the
// policy's rules, and without a policy there is none.
//
// Events are written before the request goes on. One that cannot be written is
// logged and counted, and the request goes on. To a webhook they are sent later,
// in batches.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"navarch.dev/navarch/internal/telemetry"
)

// Log writes events.
type Log struct {
	policy *Policy
	// sink is the log's file, webhook a server: nil is none.
	sink    *sink
	webhook *webhook
	close   func() error
	log     *slog.Logger
	events  *prometheus.CounterVec
	failed  prometheus.Counter
}

// New returns a log as config says, which must be enabled and valid. Errors are
// those of the policy and of the file.
func New(config Config, tel telemetry.Set) (*Log, error) {
	policy, err := LoadPolicy(config.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("audit-policy-file: %w", err)
	}
	l := newLog(policy, tel.Log)
	metrics := []prometheus.Collector{l.events, l.failed}
	if config.LogPath != "" {
		out, closeOut, err := config.open()
		if err != nil {
			return nil, fmt.Errorf("audit-log-path %q: %w", config.LogPath, err)
		}
		l.sink, l.close = &sink{log: tel.Log, out: out, failed: l.failed}, closeOut
	}
	if config.Webhook.File != "" {
		send, err := config.Webhook.receiver()
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.webhook = newWebhook(config.Webhook, send, tel.Log)
		metrics = append(metrics, l.webhook.dropped, l.webhook.waiting)
	}
	for _, c := range metrics {
		if err := tel.Metrics.Register(c); err != nil {
			return nil, errors.Join(fmt.Errorf("register the audit log's metrics: %w", err), l.Close())
		}
	}
	return l, nil
}

// NewOn returns a log of lines that go to out, which the caller closes, without
// metrics of its own.
func NewOn(out io.Writer, policy *Policy, log *slog.Logger) *Log {
	l := newLog(policy, log)
	l.sink = &sink{log: log, out: out, failed: l.failed}
	return l
}

func newLog(policy *Policy, log *slog.Logger) *Log {
	return &Log{
		policy: policy, close: func() error { return nil }, log: log,
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_audit_events_total", Help: "Audit events made, by level and stage, written or not.",
		}, []string{"level", "stage"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "navarch_audit_errors_total", Help: "Audit events that could not be written."}),
	}
}

// Close closes the log's file, and sends what the webhook has not got yet for a
// few seconds.
func (l *Log) Close() error {
	if l.webhook != nil {
		l.webhook.close()
	}
	return l.close()
}

// write adds an event to the log, and has it sent.
func (l *Log) write(ctx context.Context, event *Event) {
	l.events.WithLabelValues(string(event.Level), string(event.Stage)).Inc()
	text, err := json.Marshal(event)
	if err != nil {
		l.failed.Inc()
		l.log.ErrorContext(ctx, "an audit event could not be encoded", "error", err)
		return
	}
	if l.webhook != nil {
		l.webhook.put(ctx, text)
	}
	if l.sink != nil {
		l.sink.write(ctx, append(text, '\n'))
	}
}

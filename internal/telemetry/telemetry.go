// Package telemetry is what a service reports through: a logger, a tracer and
// a metrics registry. Each service of a process has a Set of its own, so that
// spans and log lines name the service they come from.
package telemetry

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Set is one service's telemetry.
type Set struct {
	// Service is its name: "store", "scheduler", "agent", …
	Service string
	Log     *slog.Logger
	Traces  trace.TracerProvider
	Metrics *prometheus.Registry
}

// Tracer returns the service's tracer.
func (s Set) Tracer() trace.Tracer { return s.Traces.Tracer("navarch.dev/navarch/" + s.Service) }

// Discard returns a Set that reports nowhere, for tests.
func Discard(service string) Set {
	return Set{
		Service: service,
		Log:     slog.New(slog.DiscardHandler),
		Traces:  noop.NewTracerProvider(),
		Metrics: prometheus.NewRegistry(),
	}
}

package runner

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the figures of all controllers of a process.
type Metrics struct {
	reconciles *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	depth      *prometheus.GaugeVec
}

// NewMetrics makes and registers the metrics.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_controller_reconciles_total",
			Help: "Reconciles by controller and result (ok, requeue, error, terminal).",
		}, []string{"controller", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "navarch_controller_reconcile_seconds",
			Help:    "How long reconciles take.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"controller"}),
		depth: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "navarch_controller_queue_depth",
			Help: "Keys that wait to be reconciled.",
		}, []string{"controller"}),
	}
	for _, c := range []prometheus.Collector{m.reconciles, m.duration, m.depth} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the controllers' metrics: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) observe(r Reconcile) {
	result := "ok"
	switch {
	case isTerminal(r.Err):
		result = "terminal"
	case r.Err != nil:
		result = "error"
	case r.RequeueAfter > 0:
		result = "requeue"
	}
	m.reconciles.WithLabelValues(r.Controller, result).Inc()
	m.duration.WithLabelValues(r.Controller).Observe(r.Duration.Seconds())
}

package proxy

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the proxy counts.
type metrics struct {
	seconds  prometheus.Histogram
	services prometheus.Gauge
	failures prometheus.Counter
	swept    prometheus.Counter
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "navarch_proxy_program_seconds", Help: "Time to make the kernel take one change of routes.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		services: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "navarch_proxy_services", Help: "Services that the node routes.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "navarch_proxy_program_failures_total", Help: "Changes of routes that the kernel did not take.",
		}),
		swept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "navarch_proxy_forgotten_connections_total", Help: "Connections over UDP forgotten because their backend was gone.",
		}),
	}
	for _, c := range []prometheus.Collector{m.seconds, m.services, m.failures, m.swept} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register proxy metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) programmed(took time.Duration, services int) {
	m.seconds.Observe(took.Seconds())
	m.services.Set(float64(services))
}

package hollow

import "github.com/prometheus/client_golang/prometheus"

// counts are the metrics of all hollow nodes together.
type counts struct {
	nodes      prometheus.Gauge
	containers prometheus.Gauge
	failures   *prometheus.CounterVec
}

func newCounts(reg prometheus.Registerer) *counts {
	c := &counts{
		nodes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "navarch_hollow_nodes", Help: "Hollow nodes that are registered and not silent.",
		}),
		containers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "navarch_hollow_containers", Help: "Containers that run on hollow nodes.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_hollow_failures_total", Help: "Failures that hollow nodes were told to have, by kind: pull, start or node.",
		}, []string{"kind"}),
	}
	reg.MustRegister(c.nodes, c.containers, c.failures)
	return c
}

func (c *counts) failed(kind string) { c.failures.WithLabelValues(kind).Inc() }

package store

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the Store's own; gRPC's come from the server.
type metrics struct {
	watchers    *prometheus.GaugeVec
	events      *prometheus.CounterVec
	cutOff      *prometheus.CounterVec
	compactedAt prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		watchers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "navarch_store_watchers", Help: "Open watches by resource.",
		}, []string{"resource"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_store_watch_events_total", Help: "Events sent to watchers by resource.",
		}, []string{"resource"}),
		cutOff: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_store_watches_cut_off_total", Help: "Watches ended because the watcher was too slow, by resource.",
		}, []string{"resource"}),
		compactedAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "navarch_store_compacted_revision", Help: "The revision before which this Store has dropped history.",
		}),
	}
	for _, c := range []prometheus.Collector{m.watchers, m.events, m.cutOff, m.compactedAt} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the store's metrics: %w", err)
		}
	}
	return m, nil
}

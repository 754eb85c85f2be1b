package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// allMetrics serves the metrics of the Store that answers and the gateway's own, to
// those whom the Store lets see the path.
func (g *Gateway) allMetrics(w http.ResponseWriter, r *http.Request) {
	g.documentAnd(w, r, func(contentType string, content *bytes.Buffer) error {
		families, err := g.tel.Metrics.Gather()
		if err != nil {
			return fmt.Errorf("gather the metrics: %w", err)
		}
		encoder := expfmt.NewEncoder(content, expfmt.Format(contentType))
		for _, family := range families {
			if err := encoder.Encode(family); err != nil {
				return fmt.Errorf("write the metrics: %w", err)
			}
		}
		return nil
	})
}

// slis are the outcomes of health checks, in the words of Kubernetes' service level
// indicators.
type slis struct {
	registry *prometheus.Registry
	now      *prometheus.GaugeVec
	total    *prometheus.CounterVec
}

func newSLIs() *slis {
	s := &slis{
		registry: prometheus.NewRegistry(),
		now: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kubernetes_healthcheck", Help: "How a health check ended last: 1 is well.",
		}, []string{"name", "type"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubernetes_healthchecks_total", Help: "How health checks have ended.",
		}, []string{"name", "type", "status"}),
	}
	s.registry.MustRegister(s.now, s.total)
	return s
}

// noting has a check of a health path tell how it ends.
func (s *slis) noting(path string, c check) check {
	kind := strings.TrimPrefix(path, "/")
	return check{c.name, func(ctx context.Context) error {
		err := c.run(ctx)
		well, status := 1.0, "success"
		if err != nil {
			well, status = 0, "error"
		}
		s.now.WithLabelValues(c.name, kind).Set(well)
		s.total.WithLabelValues(c.name, kind, status).Inc()
		return err
	}}
}

// serveSLIs serves how health checks have ended. It asks each once more, so that
// what is shown is of now, whoever else asks.
func (g *Gateway) serveSLIs(w http.ResponseWriter, r *http.Request) {
	for _, checks := range g.healthChecks() {
		for _, c := range checks {
			_ = c.run(r.Context()) // what becomes of it is shown
		}
	}
	promhttp.HandlerFor(g.slis.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

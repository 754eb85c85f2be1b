// Package requestmetrics counts and times the requests that a gateway serves, by
// the names that dashboards of kube-apiserver look for:
//
//	apiserver_request_total                requests that were answered, by code
//	apiserver_request_duration_seconds     how long they took; a watch, until its end
//	apiserver_longrunning_requests         watches and streams that go on
//
// The histogram has classic buckets and, for those who read Protobuf, native ones.
//
// Labels take no value that a client can make up: what is no verb, resource or
// subresource of the API is left empty, or "other".
package requestmetrics

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"navarch.dev/navarch/internal/kinds"
)

// buckets are kube-apiserver's, in seconds.
var buckets = []float64{
	0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
}

// Of native buckets: each is at most this much wider than the one before it, and
// so many are enough for a series.
const (
	bucketFactor   = 1.1
	maxBuckets     = 160
	leastReset     = time.Hour
	componentLabel = "apiserver"
)

// Metrics measure requests.
type Metrics struct {
	registry    *kinds.Registry
	others      []*kinds.Kind
	total       *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	longRunning *prometheus.GaugeVec
	// ended has the series of requests that were answered before, by answered.
	ended sync.Map
}

// answered names the series that a request is counted in.
type answered struct {
	asked
	code int
}

type series struct {
	total    prometheus.Counter
	duration prometheus.Observer
}

// New registers the metrics of requests for the registry's kinds and for others
// that the gateway serves.
func New(reg prometheus.Registerer, registry *kinds.Registry, others []*kinds.Kind) (*Metrics, error) {
	what := []string{"group", "version", "resource", "subresource", "scope", "component"}
	m := &Metrics{
		registry: registry, others: others,
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total", Help: "Requests that were answered, by verb, dry run, resource and HTTP status.",
		}, append([]string{"verb", "dry_run", "code"}, what...)),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "How long requests took until they were answered in full.",
			Buckets: buckets, NativeHistogramBucketFactor: bucketFactor, NativeHistogramMaxBucketNumber: maxBuckets,
			NativeHistogramMinResetDuration: leastReset,
		}, append([]string{"verb", "dry_run"}, what...)),
		longRunning: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests", Help: "Watches and streams that go on.",
		}, append([]string{"verb"}, what...)),
	}
	for _, c := range []prometheus.Collector{m.total, m.duration, m.longRunning} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of requests: %w", err)
		}
	}
	return m, nil
}

// Handler measures the requests that next serves.
func (m *Metrics) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		asked := m.askedBy(r)
		noted := &responseWriter{ResponseWriter: w}
		if asked.lasts {
			going := m.longRunning.WithLabelValues(append([]string{asked.verb}, asked.what()...)...)
			going.Inc()
			defer going.Dec()
		}
		defer func() { // also if next panics
			of := m.seriesOf(answered{asked, noted.status()})
			of.total.Inc()
			of.duration.Observe(time.Since(begun).Seconds())
		}()
		next.ServeHTTP(noted, r)
	})
}

// seriesOf looks the series up that have so many labels that finding them by these
// takes longer than small requests do.
func (m *Metrics) seriesOf(a answered) series {
	if known, ok := m.ended.Load(a); ok {
		return known.(series)
	}
	made := series{
		total:    m.total.WithLabelValues(append([]string{a.verb, a.dryRun, strconv.Itoa(a.code)}, a.what()...)...),
		duration: m.duration.WithLabelValues(append([]string{a.verb, a.dryRun}, a.what()...)...),
	}
	m.ended.Store(a, made)
	return made
}

// dryRun returns whether a request is a dry run, as kube-apiserver labels it.
func dryRun(query url.Values) string {
	switch values := query["dryRun"]; {
	case len(values) == 0:
		return ""
	case len(values) == 1 && values[0] == "All":
		return "All"
	}
	return "invalid"
}

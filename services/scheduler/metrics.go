package scheduler

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"navarch.dev/navarch/services/scheduler/queue"
)

// metrics are the Scheduler's.
type metrics struct {
	attempts *prometheus.HistogramVec
	waited   prometheus.Histogram
	batch    prometheus.Histogram
}

func newMetrics(reg *prometheus.Registry, q *queue.Queue) *metrics {
	m := &metrics{
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "navarch_scheduler_attempt_seconds", Help: "Time from taking a pod from the queue to the end of the attempt, by result.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"result"}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "navarch_scheduler_pod_seconds", Help: "Time from first seeing a pod to its stored binding.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "navarch_scheduler_bind_batch_size", Help: "Bindings written in one call of the Store.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
	}
	reg.MustRegister(m.attempts, m.waited, m.batch, depthCollector{queue: q})
	return m
}

func (m *metrics) attempted(result string, a *attempt) {
	m.attempts.WithLabelValues(result).Observe(time.Since(a.began).Seconds())
}

func (m *metrics) placed(a *attempt) { m.waited.Observe(time.Since(a.added).Seconds()) }

// depthCollector reads the queue's depths when metrics are scraped.
type depthCollector struct{ queue *queue.Queue }

func (depthCollector) desc() *prometheus.Desc {
	return prometheus.NewDesc("navarch_scheduler_pending_pods", "Pods in each part of the queue.", []string{"queue"}, nil)
}

// Describe implements prometheus.Collector.
func (c depthCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc() }

// Collect implements prometheus.Collector.
func (c depthCollector) Collect(out chan<- prometheus.Metric) {
	for part, n := range c.queue.Depths() {
		out <- prometheus.MustNewConstMetric(c.desc(), prometheus.GaugeValue, float64(n), part)
	}
}

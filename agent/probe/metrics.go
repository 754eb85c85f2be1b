package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the probes of a node's containers find, by the kubelet's
// names. A nil one counts nothing. It is safe for concurrent use.
type Metrics struct {
	results  *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// The labels of the kubelet's metrics.
const (
	labelType      = "probe_type"
	labelResult    = "result"
	labelContainer = "container"
	labelPod       = "pod"
	labelNamespace = "namespace"
	labelUID       = "pod_uid"
)

// NewMetrics returns metrics that are shown by reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prober_probe_total", Help: "Cumulative number of a liveness, readiness or startup probe for a container by result.",
		}, []string{labelType, labelResult, labelContainer, labelPod, labelNamespace, labelUID}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "prober_probe_duration_seconds", Help: "Duration in seconds for a probe response.",
		}, []string{labelType, labelContainer, labelPod, labelNamespace}),
	}
	reg.MustRegister(m.results, m.duration)
	return m
}

// Subject is whose container is probed.
type Subject struct{ Namespace, Pod, UID, Container string }

// Checked counts a single check. As with kubelets the time is that of those that
// succeed.
func (m *Metrics) Checked(s Subject, kind Kind, ok bool, took time.Duration) {
	if m == nil {
		return
	}
	result := "failed"
	if ok {
		result = "successful"
		m.duration.WithLabelValues(string(kind), s.Container, s.Pod, s.Namespace).Observe(took.Seconds())
	}
	m.results.WithLabelValues(string(kind), result, s.Container, s.Pod, s.Namespace, s.UID).Inc()
}

// Forget drops what was counted of a pod, which has ended.
func (m *Metrics) Forget(namespace, pod, uid string) {
	if m == nil {
		return
	}
	m.results.DeletePartialMatch(prometheus.Labels{labelUID: uid})
	m.duration.DeletePartialMatch(prometheus.Labels{labelPod: pod, labelNamespace: namespace})
}

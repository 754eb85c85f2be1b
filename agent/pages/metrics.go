package pages

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// resourceCollector tells one look at what is used by the names of the
// kubelet's resource metrics.
type resourceCollector struct {
	usage  *nodev1.StatsResponse
	pods   podsByUID
	failed bool
}

// Describe implements prometheus.Collector: what is told depends on the pods.
func (resourceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c resourceCollector) Collect(out chan<- prometheus.Metric) {
	failed := 0.0
	if c.failed {
		failed = 1
	}
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", nil, nil),
		prometheus.GaugeValue, failed)
	if c.failed {
		return
	}
	at := c.usage.GetTime().AsTime()
	tell(out, at, "node", "the node", nil, nil, c.usage.GetUsage())
	for _, p := range c.usage.GetPods() {
		tell(out, at, "pod", "the pod", []string{"namespace", "pod"}, []string{p.GetNamespace(), p.GetName()}, p.GetUsage())
		for _, container := range p.GetContainers() {
			names, values := []string{"container", "namespace", "pod"}, []string{container.GetName(), p.GetNamespace(), p.GetName()}
			tell(out, at, "container", "the container", names, values, container.GetUsage())
			if started := c.pods.started(p.GetUid(), container.GetName()); started != nil {
				desc := prometheus.NewDesc("container_start_time_seconds", "Start time of the container since unix epoch in seconds", names, nil)
				out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(started.UnixNano())/1e9, values...)
			}
		}
	}
}

// tell tells the use of CPU and memory of the node, a pod or a container.
func tell(out chan<- prometheus.Metric, at time.Time, prefix, what string, names, values []string, u *nodev1.Usage) {
	cpu := prometheus.NewDesc(prefix+"_cpu_usage_seconds_total", "Cumulative cpu time consumed by "+what+" in core-seconds", names, nil)
	memory := prometheus.NewDesc(prefix+"_memory_working_set_bytes", "Current working set of "+what+" in bytes", names, nil)
	out <- prometheus.NewMetricWithTimestamp(at, prometheus.MustNewConstMetric(cpu, prometheus.CounterValue, float64(u.GetCpuNanoseconds())/1e9, values...))
	out <- prometheus.NewMetricWithTimestamp(at, prometheus.MustNewConstMetric(memory, prometheus.GaugeValue, float64(u.GetMemoryWorkingSetBytes()), values...))
}

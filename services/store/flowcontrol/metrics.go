package flowcontrol

import "github.com/prometheus/client_golang/prometheus"

// The labels of Kubernetes' metrics of flow control.
const (
	labelLevel  = "priority_level"
	labelSchema = "flow_schema"
)

const prefix = "apiserver_flowcontrol_"

// newWaits is observed for requests that had to wait in a queue, or left it
// without having been served.
func newWaits() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "request_wait_duration_seconds", Help: "How long requests that found no free seat have waited in a queue.",
		Buckets: []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30},
	}, []string{labelLevel, labelSchema, "execute"})
}

func perLevel(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, []string{labelLevel}, nil)
}

func perSchema(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, append([]string{labelLevel, labelSchema}, more...), nil)
}

// collector reads the counts that are kept anyway when somebody asks.
type collector struct{ *Controller }

var (
	nominalSeats  = perLevel("nominal_limit_seats", "Seats of the priority level by its shares.")
	lowerSeats    = perLevel("lower_limit_seats", "The fewest seats that the priority level can have.")
	upperSeats    = perLevel("upper_limit_seats", "The most seats that the priority level can have.")
	currentSeats  = perLevel("current_limit_seats", "Seats that the priority level has for now.")
	demandPeak    = perLevel("demand_seats_high_watermark", "The most seats that were wanted at a time in the last period of adjustment.")
	demandSmooth  = perLevel("demand_seats_smoothed", "Wanted seats: as the high watermark when it rises, slower when it falls.")
	targetSeats   = perLevel("target_seats", "Seats that the priority level is to have if there are enough.")
	executing     = perSchema("current_executing_requests", "Requests that are being served; of watches, those that are beginning.")
	executingSeat = perSchema("current_executing_seats", "Seats that are taken: one for each request that is being served.")
	inqueue       = perSchema("current_inqueue_requests", "Requests that wait in queues.")
	dispatched    = perSchema("dispatched_requests_total", "Requests that got a seat.")
	rejected      = perSchema("rejected_requests_total", "Requests that were refused.", "reason")
)

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		nominalSeats, lowerSeats, upperSeats, currentSeats, demandPeak, demandSmooth, targetSeats,
		executing, executingSeat, inqueue, dispatched, rejected,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.levels {
		l.collect(out)
	}
	for _, n := range c.counts {
		n.collect(out)
	}
}

func (l *level) collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, l.name)
	}
	gauge(nominalSeats, float64(l.limits.Nominal))
	gauge(lowerSeats, float64(l.limits.Min))
	gauge(upperSeats, float64(l.limits.Max))
	gauge(currentSeats, float64(l.current))
	gauge(demandPeak, float64(l.limits.Peak))
	gauge(demandSmooth, l.limits.Smoothed)
	gauge(targetSeats, l.limits.Target())
}

func (n *counts) collect(out chan<- prometheus.Metric) {
	emit := func(d *prometheus.Desc, t prometheus.ValueType, value float64, more ...string) {
		out <- prometheus.MustNewConstMetric(d, t, value, append([]string{n.level, n.schema}, more...)...)
	}
	running := float64(n.executing.Load())
	emit(executing, prometheus.GaugeValue, running)
	emit(executingSeat, prometheus.GaugeValue, running)
	emit(inqueue, prometheus.GaugeValue, float64(n.waiting.Load()))
	emit(dispatched, prometheus.CounterValue, float64(n.dispatched.Load()))
	for i, reason := range reasons {
		if refused := n.refused[i].Load(); refused > 0 {
			emit(rejected, prometheus.CounterValue, float64(refused), reason)
		}
	}
}

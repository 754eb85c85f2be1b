// Package metrics shows what happens on a node by the names of a kubelet's
// metrics, by which dashboards and alerts go.
//
//	metrics.go  what happens to pods, counted as it does
//	runtime.go  calls of the runtime
//	http.go     requests at the node's own port
//	state.go    how many of what there are, looked up when somebody reads
//	volumes.go  the space of claimed volumes
//
// What a kubelet counts and an agent does not do is not among them: there is no
// relisting of pods (PLEG) but events, whose way is timed instead; no CRI, no managers of CPUs, memory and topology.
package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The kinds of containers, in the words of kubelets.
const (
	Container          = "container"
	InitContainer      = "init_container"
	EphemeralContainer = "ephemeral_container"
)

// Metrics counts what happens on a node. A nil one counts nothing. It is safe for
// concurrent use.
type Metrics struct {
	podStart, podStartTotal, runtimeEvents        prometheus.Histogram
	podWorker, operationDuration, sandboxDuration *prometheus.HistogramVec
	imagePull                                     *prometheus.HistogramVec
	startedPods, failedPods                       prometheus.Counter
	startedUsers, failedUsers                     prometheus.Counter
	startedContainers, failedContainers, ended    *prometheus.CounterVec
	rejected, evicted                             *prometheus.CounterVec
	operations, operationErrors, sandboxErrors    *prometheus.CounterVec
	imagesCollected                               *prometheus.CounterVec
	requests                                      *prometheus.CounterVec
	inflight                                      *prometheus.GaugeVec
	requestDuration                               *prometheus.HistogramVec
}

var (
	startBuckets = []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
	pullBuckets  = []float64{1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
	// operationBuckets begin at 5 ms.
	operationBuckets = prometheus.ExponentialBuckets(.005, 2.5, 14)
)

// New returns metrics that are shown by reg.
func New(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		podStart: histogram("pod_start_duration_seconds", "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run", startBuckets),
		podStartTotal: histogram("pod_start_total_duration_seconds",
			"Duration in seconds to start a pod since creation, including time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch", startBuckets),
		runtimeEvents: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "navarch_runtime_event_seconds", Help: "Time from a shim's word that a container or sandbox has changed until its pod was looked after.",
			Buckets: prometheus.ExponentialBuckets(.0001, 4, 10),
		}),
		podWorker:         histograms("pod_worker_duration_seconds", "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync", prometheus.DefBuckets, "operation_type"),
		operationDuration: histograms("runtime_operations_duration_seconds", "Duration in seconds of runtime operations. Broken down by operation type.", operationBuckets, "operation_type"),
		sandboxDuration:   histograms("run_podsandbox_duration_seconds", "Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler.", prometheus.DefBuckets, "runtime_handler"),
		imagePull:         histograms("image_pull_duration_seconds", "Duration in seconds to pull an image.", pullBuckets, "image_size_in_bytes"),
		startedPods:       prometheus.NewCounter(prometheus.CounterOpts{Namespace: kubelet, Name: "started_pods_total", Help: "Cumulative number of pods started"}),
		failedPods:        prometheus.NewCounter(prometheus.CounterOpts{Namespace: kubelet, Name: "started_pods_errors_total", Help: "Cumulative number of errors when starting pods"}),
		startedUsers:      prometheus.NewCounter(prometheus.CounterOpts{Namespace: kubelet, Name: "started_user_namespaced_pods_total", Help: "Cumulative number of pods with user namespaces started. This metric will only be collected on Linux."}),
		failedUsers:       prometheus.NewCounter(prometheus.CounterOpts{Namespace: kubelet, Name: "started_user_namespaced_pods_errors_total", Help: "Cumulative number of errors when starting pods with user namespaces. This metric will only be collected on Linux."}),
		startedContainers: counters("started_containers_total", "Cumulative number of containers started", "container_type"),
		failedContainers:  counters("started_containers_errors_total", "Cumulative number of errors when starting containers", "container_type", "code"),
		ended:             counters("terminated_containers_total", "Cumulative number of container terminations.", "container_type", "exit_code", "reason"),
		rejected:          counters("admission_rejections_total", "Cumulative number pod admission rejections by the Kubelet.", "reason"),
		evicted:           counters("evictions", "Cumulative number of pod evictions by eviction signal", "eviction_signal"),
		operations:        counters("runtime_operations_total", "Cumulative number of runtime operations by operation type.", "operation_type"),
		operationErrors:   counters("runtime_operations_errors_total", "Cumulative number of runtime operation errors by operation type.", "operation_type"),
		sandboxErrors:     counters("run_podsandbox_errors_total", "Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.", "runtime_handler"),
		imagesCollected:   counters("image_garbage_collected_total", "Total number of images garbage collected by the kubelet, whether through disk usage or image age.", "reason"),
		requests:          counters("http_requests_total", "Number of the http requests received since the server started", requestLabels...),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: kubelet, Name: "http_inflight_requests", Help: "Number of the inflight http requests",
		}, requestLabels),
		requestDuration: histograms("http_requests_duration_seconds", "Duration in seconds to serve http requests", prometheus.ExponentialBuckets(.005, 2.5, 14), requestLabels...),
	}
	reg.MustRegister(m.podStart, m.podStartTotal, m.runtimeEvents, m.podWorker, m.operationDuration, m.sandboxDuration, m.imagePull, m.startedPods, m.failedPods, m.startedUsers, m.failedUsers,
		m.startedContainers, m.failedContainers, m.ended, m.rejected, m.evicted, m.operations, m.operationErrors, m.sandboxErrors, m.imagesCollected,
		m.requests, m.inflight, m.requestDuration)
	return m
}

// kubelet begins the names.
const kubelet = "kubelet"

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: kubelet, Name: name, Help: help, Buckets: buckets})
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: kubelet, Name: name, Help: help, Buckets: buckets}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: kubelet, Name: name, Help: help}, labels)
}

// PodRuns counts the time that a pod took until it ran, since the agent has known
// it and since it was created; that of a file was at no time.
func (m *Metrics) PodRuns(seen, created time.Time) {
	if m == nil {
		return
	}
	m.podStart.Observe(time.Since(seen).Seconds())
	if !created.IsZero() {
		m.podStartTotal.Observe(time.Since(created).Seconds())
	}
}

// PodLookedAfter counts one look after a pod: "create" is the first, "sync" any
// later one.
func (m *Metrics) PodLookedAfter(operation string, took time.Duration) {
	if m != nil {
		m.podWorker.WithLabelValues(operation).Observe(took.Seconds())
	}
}

// EventHandled counts the time from a runtime's event until the agent had acted by it.
func (m *Metrics) EventHandled(took time.Duration) {
	if m != nil {
		m.runtimeEvents.Observe(took.Seconds())
	}
}

// OwnUsersStarted counts a sandbox for a pod with users of its own that is to be
// made, OwnUsersNotStarted one that was not, or whose containers were not.
func (m *Metrics) OwnUsersStarted() {
	if m != nil {
		m.startedUsers.Inc()
	}
}

// OwnUsersNotStarted: see OwnUsersStarted.
func (m *Metrics) OwnUsersNotStarted() {
	if m != nil {
		m.failedUsers.Inc()
	}
}

// ContainerStarted counts a container of a kind that was started.
func (m *Metrics) ContainerStarted(kind string) {
	if m != nil {
		m.startedContainers.WithLabelValues(kind).Inc()
	}
}

// ContainerNotStarted counts one that was not, by the reason in its status.
func (m *Metrics) ContainerNotStarted(kind, reason string) {
	if m != nil {
		m.startedContainers.WithLabelValues(kind).Inc() // that it was tried, as kubelets do
		m.failedContainers.WithLabelValues(kind, reason).Inc()
	}
}

// ContainerEnded counts one that has ended.
func (m *Metrics) ContainerEnded(kind string, exitCode int, reason string) {
	if m != nil {
		m.ended.WithLabelValues(kind, strconv.Itoa(exitCode), reason).Inc()
	}
}

// Rejected counts a pod that was not admitted.
func (m *Metrics) Rejected(reason string) {
	if m != nil {
		m.rejected.WithLabelValues(reason).Inc()
	}
}

// Evicted counts a pod that was evicted because of a signal.
func (m *Metrics) Evicted(signal string) {
	if m != nil {
		m.evicted.WithLabelValues(signal).Inc()
	}
}

// ImagePulled counts the time of a pull.
func (m *Metrics) ImagePulled(size int64, took time.Duration) {
	if m != nil {
		m.imagePull.WithLabelValues(sizeClass(size)).Observe(took.Seconds())
	}
}

// ImagesCollected counts images that were removed because the disk was full.
func (m *Metrics) ImagesCollected(n int) {
	if m != nil {
		m.imagesCollected.WithLabelValues("space").Add(float64(n))
	}
}

// sizeClass returns the class of an image's size, in the words of kubelets.
func sizeClass(size int64) string {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		below int64
		name  string
	}{
		{10 * mib, "0-10MB"}, {100 * mib, "10MB-100MB"}, {500 * mib, "100MB-500MB"}, {gib, "500MB-1GB"}, {5 * gib, "1GB-5GB"}, {10 * gib, "5GB-10GB"},
		{20 * gib, "10GB-20GB"}, {30 * gib, "20GB-30GB"}, {40 * gib, "30GB-40GB"}, {60 * gib, "40GB-60GB"}, {100 * gib, "60GB-100GB"},
	} {
		if size < c.below {
			return c.name
		}
	}
	return "GT100GB"
}

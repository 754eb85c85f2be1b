package pages

import (
	"context"
	"net/http"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

// Accounts reads all that is counted of pods. *runtime.Runc implements it.
type Accounts interface {
	// Accounts are those of the pods that run.
	Accounts(ctx context.Context) ([]runtime.PodAccount, error)
	// AccountOfNode is that of all pods together.
	AccountOfNode(ctx context.Context) (runtime.Account, error)
}

// cadvisorMetrics shows the accounts by the names and labels of cAdvisor, from
// which kubelets have them.
func (p *pages) cadvisorMetrics(w http.ResponseWriter, r *http.Request) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(p.cadvisor(r.Context())); err != nil {
		reply(w, nil, err)
		return
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// cadvisor reads what is shown.
func (p *pages) cadvisor(ctx context.Context) cadvisorCollector {
	c := cadvisorCollector{now: time.Now(), started: p.Started, images: map[string]string{}}
	var err error
	if c.pods, err = p.Accounts.Accounts(ctx); err != nil {
		c.failed = true
		return c
	}
	if c.node, err = p.Accounts.AccountOfNode(ctx); err != nil {
		c.failed = true
		return c
	}
	if c.machine, err = p.Machine(); err != nil {
		c.failed = true
		return c
	}
	// What cannot be read of the network is not shown.
	c.interfaces, _ = runtime.ReadInterfaces(os.Getpid())
	objects, err := p.Pods.Pods(ctx)
	if err != nil {
		c.failed = true
		return c
	}
	for _, pod := range objects {
		for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
			for i := range list {
				_, id, _ := strings.Cut(list[i].ContainerID, "://")
				c.images[id] = list[i].Image
			}
		}
	}
	return c
}

// cadvisorCollector tells one look at the accounts.
type cadvisorCollector struct {
	now, started time.Time
	failed       bool
	machine      runtime.Usage
	interfaces   []runtime.InterfaceAccount
	node         runtime.Account
	pods         []runtime.PodAccount
	images       map[string]string // by the container's ID
}

// subject is what a metric is about, by cAdvisor's labels. The order is that of
// labelNames.
type subject struct{ container, id, image, name, namespace, pod string }

var labelNames = []string{"container", "id", "image", "name", "namespace", "pod"}

func (s subject) values() []string {
	return []string{s.container, s.id, s.image, s.name, s.namespace, s.pod}
}

// Describe implements prometheus.Collector: what is told depends on the pods.
func (cadvisorCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c cadvisorCollector) Collect(out chan<- prometheus.Metric) {
	t := teller{out: out, at: c.now}
	failed := 0.0
	if c.failed {
		failed = 1
	}
	t.plain("container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", failed)
	t.tellMachine()
	if c.failed {
		return
	}
	root := subject{id: "/"}
	t.tell(root, "container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", counter, seconds(c.machine.CPUNanoseconds), "cpu", "total")
	t.tell(root, "container_memory_working_set_bytes", "Current working set in bytes.", gauge, float64(c.machine.MemoryWorkingSetBytes))
	t.tell(root, "container_start_time_seconds", startTimeHelp, gauge, unixSeconds(c.started))
	t.tellPressure(root, c.machine.Pressure)
	t.tellNetwork(root, c.interfaces)
	t.tellAccount(subject{id: c.node.Cgroup}, c.node, c.started, runtime.Resources{})
	for i := range c.pods {
		c.collectPod(t, &c.pods[i])
	}
}

func (c cadvisorCollector) collectPod(t teller, p *runtime.PodAccount) {
	spec := p.Sandbox.Spec
	pod := subject{id: p.Cgroup, namespace: spec.Namespace, pod: spec.Name}
	t.tellAccount(pod, p.Account, p.Sandbox.CreatedAt, spec.Resources)
	t.tellNetwork(pod, p.Interfaces)
	for i := range p.Containers {
		a := &p.Containers[i]
		container := pod
		container.id, container.container, container.name = a.Cgroup, a.Status.Spec.Name, a.Status.Spec.ID
		container.image = c.images[a.Status.Spec.ID]
		t.tellAccount(container, a.Account, a.Status.StartedAt, a.Status.Spec.Resources)
	}
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue

	startTimeHelp = "Start time of the container since unix epoch in seconds."
)

func seconds(nanoseconds uint64) float64 { return float64(nanoseconds) / 1e9 }

func unixSeconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// teller sends metrics as of a time.
type teller struct {
	out chan<- prometheus.Metric
	at  time.Time
}

// tell sends one figure; more are pairs of a label and its value.
func (t teller) tell(s subject, name, help string, kind prometheus.ValueType, value float64, more ...string) {
	names, values := append([]string(nil), labelNames...), s.values()
	for i := 0; i < len(more); i += 2 {
		names, values = append(names, more[i]), append(values, more[i+1])
	}
	m := prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
	t.out <- prometheus.NewMetricWithTimestamp(t.at, m)
}

func (t teller) plain(name, help string, value float64) {
	t.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), gauge, value)
}

// tellMachine tells the machine's size.
func (t teller) tellMachine() {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.plain("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", 1)
		return
	}
	t.plain("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", 0)
	t.plain("machine_cpu_cores", "Number of logical CPU cores.", float64(goruntime.NumCPU()))
	t.plain("machine_memory_bytes", "Amount of memory installed on the machine.", float64(info.Totalram)*float64(info.Unit))
}

// tellAccount tells what a cgroup has used and what it may use.
func (t teller) tellAccount(s subject, a runtime.Account, started time.Time, limits runtime.Resources) {
	for _, m := range []struct {
		name, help string
		kind       prometheus.ValueType
		value      float64
	}{
		{"container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", counter, seconds(a.CPUUserNanoseconds)},
		{"container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", counter, seconds(a.CPUSystemNanoseconds)},
		{"container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", gauge, float64(a.MemoryBytes)},
		{"container_memory_working_set_bytes", "Current working set in bytes.", gauge, float64(a.MemoryWorkingSetBytes)},
		{"container_memory_rss", "Size of RSS in bytes.", gauge, float64(a.MemoryRSSBytes)},
		{"container_memory_cache", "Number of bytes of page cache memory.", gauge, float64(a.MemoryCacheBytes)},
		{"container_memory_mapped_file", "Size of memory mapped files in bytes.", gauge, float64(a.MemoryMappedBytes)},
		{"container_memory_swap", "Container swap usage in bytes.", gauge, float64(a.MemorySwapBytes)},
		{"container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", gauge, float64(a.MemoryMaxBytes)},
		{"container_memory_failcnt", "Number of memory usage hits limits", counter, float64(a.MemoryFailures)},
		{"container_oom_events_total", "Count of out of memory events observed for the container", counter, float64(a.OOMKills)},
		{"container_processes", "Number of processes running inside the container.", gauge, float64(a.Processes)},
		{"container_threads", "Number of threads running inside the container", gauge, float64(a.Pids)},
		{"container_threads_max", "Maximum number of threads allowed inside the container, infinity if value is zero", gauge, float64(limits.PidsLimit)},
		{"container_last_seen", "Last time a container was seen by the exporter", gauge, float64(t.at.Unix())},
		{"container_start_time_seconds", startTimeHelp, gauge, unixSeconds(started)},
		{"container_spec_memory_limit_bytes", "Memory limit for the container.", gauge, float64(limits.MemoryLimit)},
	} {
		t.tell(s, m.name, m.help, m.kind, m.value)
	}
	t.tell(s, "container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", counter, seconds(a.CPUNanoseconds), "cpu", "total")
	for kind, n := range map[string]uint64{"pgfault": a.PageFaults, "pgmajfault": a.MajorPageFaults} {
		t.tell(s, "container_memory_failures_total", "Cumulative count of memory allocation failures.", counter, float64(n), "failure_type", kind, "scope", "hierarchy")
	}
	t.tellCPULimits(s, a, limits)
	t.tellPressure(s, a.Pressure)
	for _, d := range a.Disks {
		t.tell(s, "container_fs_reads_bytes_total", "Cumulative count of bytes read", counter, float64(d.ReadBytes), "device", d.Device)
		t.tell(s, "container_fs_reads_total", "Cumulative count of reads completed", counter, float64(d.Reads), "device", d.Device)
		t.tell(s, "container_fs_writes_bytes_total", "Cumulative count of bytes written", counter, float64(d.WriteBytes), "device", d.Device)
		t.tell(s, "container_fs_writes_total", "Cumulative count of writes completed", counter, float64(d.Writes), "device", d.Device)
	}
}

// tellCPULimits tells of the CPU's limits those that there are.
func (t teller) tellCPULimits(s subject, a runtime.Account, limits runtime.Resources) {
	if limits.CPUShares > 0 {
		t.tell(s, "container_spec_cpu_shares", "CPU share of the container.", gauge, float64(limits.CPUShares))
	}
	if limits.CPUQuota <= 0 {
		return
	}
	t.tell(s, "container_spec_cpu_quota", "CPU quota of the container.", gauge, float64(limits.CPUQuota))
	t.tell(s, "container_spec_cpu_period", "CPU period of the container.", gauge, float64(limits.Period()))
	t.tell(s, "container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", counter, float64(a.Periods))
	t.tell(s, "container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", counter, float64(a.ThrottledPeriods))
	t.tell(s, "container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.", counter, seconds(a.ThrottledNanoseconds))
}

func (t teller) tellNetwork(s subject, interfaces []runtime.InterfaceAccount) {
	for _, i := range interfaces {
		for _, m := range []struct {
			direction, done, doing          string
			bytes, packets, errors, dropped uint64
		}{
			{"receive", "received", "receiving", i.ReceiveBytes, i.ReceivePackets, i.ReceiveErrors, i.ReceiveDrops},
			{"transmit", "transmitted", "transmitting", i.TransmitBytes, i.TransmitPackets, i.TransmitErrors, i.TransmitDrops},
		} {
			prefix := "container_network_" + m.direction
			t.tell(s, prefix+"_bytes_total", "Cumulative count of bytes "+m.done, counter, float64(m.bytes), "interface", i.Name)
			t.tell(s, prefix+"_packets_total", "Cumulative count of packets "+m.done, counter, float64(m.packets), "interface", i.Name)
			t.tell(s, prefix+"_packets_dropped_total", "Cumulative count of packets dropped while "+m.doing, counter, float64(m.dropped), "interface", i.Name)
			t.tell(s, prefix+"_errors_total", "Cumulative count of errors encountered while "+m.doing, counter, float64(m.errors), "interface", i.Name)
		}
	}
}

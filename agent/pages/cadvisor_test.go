package pages_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/pages"
	"navarch.dev/navarch/agent/probe"
	"navarch.dev/navarch/agent/runtime"
)

// counted is node, with the accounts of its pod, whose container has a limit
// of CPU.
type counted struct{ node }

func (n counted) Pods(ctx context.Context) ([]*corev1.Pod, error) {
	pods, err := n.node.Pods(ctx)
	for _, pod := range pods {
		pod.Status.ContainerStatuses[0].ContainerID, pod.Status.ContainerStatuses[0].Image = "runc://id", "example.com/web:1"
	}
	return pods, err
}

func (n counted) Accounts(context.Context) ([]runtime.PodAccount, error) {
	if n.broken {
		return nil, errors.New("the cgroups are gone")
	}
	account := runtime.Account{
		Usage:  runtime.Usage{CPUNanoseconds: 3e9, MemoryBytes: 700, MemoryWorkingSetBytes: 600, MemoryRSSBytes: 500, Pids: 4},
		Cgroup: "/n1/poduid/id", CPUUserNanoseconds: 2e9, CPUSystemNanoseconds: 1e9, Periods: 10, ThrottledPeriods: 5, ThrottledNanoseconds: 5e8,
		MajorPageFaults: 6, OOMKills: 1, Processes: 2, Disks: []runtime.DiskAccount{{Device: "/dev/sda", ReadBytes: 11, Writes: 12}},
	}
	pod := account
	pod.Cgroup, pod.Disks = "/n1/poduid", nil
	account.Pressure = &runtime.Pressure{IO: runtime.Stalls{Some: runtime.Stall{Nanoseconds: 3e9}, Full: runtime.Stall{Nanoseconds: 2e9}}}
	return []runtime.PodAccount{{
		Account: pod, Sandbox: runtime.SandboxStatus{Spec: runtime.SandboxSpec{Namespace: "default", Name: "web", UID: "uid"}, CreatedAt: at()},
		Interfaces: []runtime.InterfaceAccount{{Name: "eth0", ReceiveBytes: 21, TransmitPackets: 22, TransmitErrors: 23, ReceiveDrops: 24}},
		Containers: []runtime.ContainerAccount{{Account: account, Status: runtime.ContainerStatus{
			StartedAt: at(), Spec: runtime.ContainerSpec{ID: "id", Name: "c", Resources: runtime.Resources{CPUShares: 512, CPUQuota: 50000, MemoryLimit: 1000, PidsLimit: 9}},
		}}},
	}}, nil
}

func (counted) AccountOfNode(context.Context) (runtime.Account, error) {
	return runtime.Account{Cgroup: "/n1", Usage: runtime.Usage{CPUNanoseconds: 8e9}}, nil
}

// scrape returns the lines of a page of metrics without their times.
func scrape(t *testing.T, n counted, path string) []string {
	t.Helper()
	probes := prometheus.NewRegistry()
	m := probe.NewMetrics(probes)
	m.Checked(probe.Subject{Namespace: "default", Pod: "web", UID: "uid", Container: "c"}, probe.Readiness, true, 0)
	m.Checked(probe.Subject{Namespace: "default", Pod: "web", UID: "uid", Container: "c"}, probe.Readiness, false, 0)
	m.Checked(probe.Subject{Namespace: "default", Pod: "gone", UID: "other", Container: "c"}, probe.Liveness, true, 0)
	m.Forget("default", "gone", "other")
	h := pages.New(pages.Config{
		Started: at(), Pods: n, Stats: n, Metrics: prometheus.NewRegistry(), Probes: probes, Accounts: n,
		Machine: func() (runtime.Usage, error) { return runtime.Usage{CPUNanoseconds: 9e9}, nil },
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
			value, _, _ = strings.Cut(value, " ")
			lines = append(lines, name+"} "+value)
		}
	}
	return lines
}

func TestCadvisorMetrics(t *testing.T) {
	lines := scrape(t, counted{}, "/metrics/cadvisor")
	const (
		container = `{container="c",id="/n1/poduid/id",image="example.com/web:1",name="id",namespace="default",pod="web"} `
		pod       = `{container="",id="/n1/poduid",image="",name="",namespace="default",pod="web"} `
	)
	with := func(labels, name, value string) string { // in their order
		at := strings.Index(labels, `id="`)
		if name > "interface" || name == "interface" {
			at = strings.Index(labels, `name="`)
		}
		if name == "scope" {
			return strings.TrimSuffix(labels, "} ") + `,scope="` + value + `"} `
		}
		return labels[:at] + name + `="` + value + `",` + labels[at:]
	}
	for _, want := range []string{
		"container_cpu_usage_seconds_total" + with(container, "cpu", "total") + "3",
		"container_cpu_user_seconds_total" + container + "2",
		"container_cpu_system_seconds_total" + container + "1",
		"container_cpu_cfs_periods_total" + container + "10",
		"container_cpu_cfs_throttled_periods_total" + container + "5",
		"container_cpu_cfs_throttled_seconds_total" + container + "0.5",
		"container_memory_usage_bytes" + container + "700",
		"container_memory_working_set_bytes" + container + "600",
		"container_memory_rss" + container + "500",
		"container_memory_failures_total" + with(with(container, "failure_type", "pgmajfault"), "scope", "hierarchy") + "6",
		"container_pressure_io_waiting_seconds_total" + container + "3",
		"container_pressure_io_stalled_seconds_total" + container + "2",
		"container_pressure_cpu_waiting_seconds_total" + container + "0",
		"container_oom_events_total" + container + "1",
		"container_processes" + container + "2",
		"container_threads" + container + "4",
		"container_threads_max" + container + "9",
		"container_spec_cpu_shares" + container + "512",
		"container_spec_cpu_quota" + container + "50000",
		"container_spec_cpu_period" + container + "100000",
		"container_spec_memory_limit_bytes" + container + "1000",
		"container_start_time_seconds" + container + "1.767323045e+09",
		"container_fs_reads_bytes_total" + with(container, "device", "/dev/sda") + "11",
		"container_fs_writes_total" + with(container, "device", "/dev/sda") + "12",
		"container_memory_working_set_bytes" + pod + "600",
		"container_network_receive_bytes_total" + with(pod, "interface", "eth0") + "21",
		"container_network_transmit_packets_total" + with(pod, "interface", "eth0") + "22",
		"container_network_transmit_errors_total" + with(pod, "interface", "eth0") + "23",
		"container_network_receive_packets_dropped_total" + with(pod, "interface", "eth0") + "24",
		`container_cpu_usage_seconds_total{container="",cpu="total",id="/n1",image="",name="",namespace="",pod=""} 8`,
		`container_cpu_usage_seconds_total{container="",cpu="total",id="/",image="",name="",namespace="",pod=""} 9`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no %s", want)
		}
	}
	unlimited := "container_cpu_cfs_periods_total" + pod
	if slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, unlimited) }) {
		t.Error("a pod without a limit of CPU has periods")
	}
	if t.Failed() {
		t.Log(strings.Join(lines, "\n"))
	}
}

func TestCadvisorMetricsThatCannotBeRead(t *testing.T) {
	lines := scrape(t, counted{node{broken: true}}, "/metrics/cadvisor")
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "container_scrape_error 1") }) {
		t.Errorf("%q", lines)
	}
}

func TestProbeMetrics(t *testing.T) {
	lines := scrape(t, counted{}, "/metrics/probes")
	for _, want := range []string{
		`prober_probe_total{container="c",namespace="default",pod="web",pod_uid="uid",probe_type="Readiness",result="failed"} 1`,
		`prober_probe_total{container="c",namespace="default",pod="web",pod_uid="uid",probe_type="Readiness",result="successful"} 1`,
		`prober_probe_duration_seconds_count{container="c",namespace="default",pod="web",probe_type="Readiness"} 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no %s in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	if slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "gone") }) {
		t.Errorf("a pod that has ended is shown:\n%s", strings.Join(lines, "\n"))
	}
}

func TestSummaryOfNetworks(t *testing.T) {
	n := counted{}
	h := pages.New(pages.Config{Started: at(), DataDir: "/", Pods: n, Stats: n, Metrics: prometheus.NewRegistry(), Accounts: n})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/stats/summary", nil))
	var got struct {
		Pods []struct {
			Network struct {
				Name              string
				RxBytes, TxErrors uint64
				Interfaces        []struct{ Name string }
			}
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	only := httptest.NewRecorder()
	h.ServeHTTP(only, httptest.NewRequest("GET", "/stats/summary?only_cpu_and_memory=true", nil))
	if body := only.Body.String(); strings.Contains(body, "rxBytes") || strings.Contains(body, "capacityBytes") || strings.Contains(body, "process_count") || !strings.Contains(body, "workingSetBytes") {
		t.Errorf("CPU and memory alone: %s", body)
	}
	if len(got.Pods) != 1 || len(got.Pods[0].Network.Interfaces) != 1 {
		t.Fatalf("%s", w.Body)
	}
	if net := got.Pods[0].Network; net.Name != "eth0" || net.RxBytes != 21 || net.TxErrors != 23 || net.Interfaces[0].Name != "eth0" {
		t.Errorf("%+v", net)
	}
}

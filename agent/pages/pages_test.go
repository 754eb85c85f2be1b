package pages_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/pages"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

func at() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// node runs the pod default/web, whose container c is limited to 1000 bytes.
type node struct{ broken bool }

func (node) Pods(context.Context) ([]*corev1.Pod, error) {
	began := metav1.NewTime(at().Add(-time.Minute))
	return []*corev1.Pod{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(1000, resource.BinarySI)},
		}}}},
		Status: corev1.PodStatus{StartTime: &began, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}},
		}},
	}}, nil
}

func (n node) Read(context.Context) (*nodev1.StatsResponse, error) {
	if n.broken {
		return nil, errors.New("the cgroups are gone")
	}
	used := func(cpu, memory uint64) *nodev1.Usage {
		return &nodev1.Usage{CpuNanoseconds: cpu, CpuNanocores: cpu / 10, MemoryWorkingSetBytes: memory, MemoryUsageBytes: memory + 100, Pids: 3}
	}
	return &nodev1.StatsResponse{NodeName: "n1", Time: timestamppb.New(at()), Usage: used(5e9, 5000), Pods: []*nodev1.PodStats{{
		Namespace: "default", Name: "web", Uid: "uid", Usage: used(2e9, 700),
		Containers: []*nodev1.ContainerStats{{Name: "c", Usage: pressed(used(1e9, 600))}},
	}}}, nil
}

// pressed adds pressure of the CPU, and none of memory and disks.
func pressed(u *nodev1.Usage) *nodev1.Usage {
	none := &nodev1.Stalls{Some: &nodev1.Stall{}, Full: &nodev1.Stall{}}
	u.Pressure = &nodev1.Pressure{
		Cpu:    &nodev1.Stalls{Some: &nodev1.Stall{Nanoseconds: 4000, Avg10: 1.5, Avg60: 1, Avg300: 0.5}, Full: &nodev1.Stall{Nanoseconds: 3000}},
		Memory: none, Io: none,
	}
	return u
}

// get returns the status, the type and the body of a page.
func get(t *testing.T, n node, logDir, path string) (code int, contentType, body string) {
	t.Helper()
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "pulls_total"}, func() float64 { return 4 }))
	h := pages.New(pages.Config{
		Started: at().Add(-time.Hour), DataDir: "/", LogDir: logDir, Pods: n, Stats: n, Metrics: metrics,
		Settings: pages.Settings{Port: 10250, MaxPods: 7, ClusterDomain: "cluster.local"},
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Header().Get("Content-Type"), w.Body.String()
}

func TestPages(t *testing.T) {
	logs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(logs, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(logs, "app", "today.log"), []byte("a line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(logs, "out")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path        string
		code        int
		contentType string
		holds       []string
	}{
		{"/healthz", 200, "text/plain", []string{"ok"}},
		{"/pods", 200, "application/json", []string{`"kind":"PodList"`, `"name":"web"`}},
		{"/metrics", 200, "text/plain", []string{"pulls_total 4"}},
		{"/metrics/resource", 200, "text/plain", []string{
			`container_cpu_usage_seconds_total{container="c",namespace="default",pod="web"} 1 1767323045000`,
			`container_memory_working_set_bytes{container="c",namespace="default",pod="web"} 600 1767323045000`,
			`container_start_time_seconds{container="c",namespace="default",pod="web"} 1.767322985e+09`,
			`pod_memory_working_set_bytes{namespace="default",pod="web"} 700`, "node_cpu_usage_seconds_total 5 ", "resource_scrape_error 0",
		}},
		{"/configz", 200, "application/json", []string{`{"kubeletconfig":{"port":10250,"clusterDomain":"cluster.local","maxPods":7,`}},
		{"/logs/", 200, "text/html", []string{`<a href="app/">app/</a>`}},
		{"/logs/app/today.log", 200, "text/", []string{"a line\n"}},
		{"/logs/out", 403, "text/plain", nil},
		{"/logs/../../etc/passwd", 307, "text/html", nil},
		{"/logs/..%2f..%2fetc/passwd", 404, "text/plain", nil},
		{"/logs/none", 404, "text/plain", nil},
		{"/exec/default/web/c", 404, "text/plain", nil},
		{"/", 404, "text/plain", nil},
	} {
		code, contentType, body := get(t, node{}, logs, tt.path)
		if code != tt.code || !strings.HasPrefix(contentType, tt.contentType) {
			t.Errorf("%s: %d %s\n%s", tt.path, code, contentType, body)
		}
		for _, want := range tt.holds {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q:\n%s", tt.path, want, body)
			}
		}
	}
	if code, _, _ := get(t, node{}, filepath.Join(logs, "none"), "/logs/"); code != 404 {
		t.Errorf("the logs of a machine without any: %d", code)
	}
}

func TestSummary(t *testing.T) {
	code, _, body := get(t, node{}, "", "/stats/summary")
	if code != 200 {
		t.Fatalf("%d: %s", code, body)
	}
	var got struct {
		Node map[string]any
		Pods []any
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	const now, minuteAgo = "2026-01-02T03:04:05Z", "2026-01-02T03:03:05Z"
	stall := func(total, avg10, avg60, avg300 float64) map[string]any {
		return map[string]any{"total": total, "avg10": avg10, "avg60": avg60, "avg300": avg300}
	}
	calm := map[string]any{"full": stall(0, 0, 0, 0), "some": stall(0, 0, 0, 0)}
	want := []any{map[string]any{
		"podRef": map[string]any{"name": "web", "namespace": "default", "uid": "uid"}, "startTime": minuteAgo,
		"cpu":           map[string]any{"time": now, "usageCoreNanoSeconds": 2e9, "usageNanoCores": 2e8},
		"memory":        map[string]any{"time": now, "usageBytes": 800.0, "workingSetBytes": 700.0},
		"process_stats": map[string]any{"process_count": 3.0},
		"containers": []any{map[string]any{
			"name": "c", "startTime": minuteAgo, "cpu": map[string]any{"time": now, "usageCoreNanoSeconds": 1e9, "usageNanoCores": 1e8,
				"psi": map[string]any{"full": stall(3000, 0, 0, 0), "some": stall(4000, 1.5, 1, 0.5)}},
			"memory": map[string]any{"time": now, "usageBytes": 700.0, "workingSetBytes": 600.0, "availableBytes": 400.0, "psi": calm},
			"io":     map[string]any{"time": now, "psi": calm},
		}},
	}}
	if diff := cmp.Diff(want, got.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if fs, ok := got.Node["fs"].(map[string]any); !ok || fs["capacityBytes"] == 0.0 {
		t.Errorf("the node's filesystem is %v", got.Node["fs"])
	}
	delete(got.Node, "fs")
	delete(got.Node, "runtime")
	wantNode := map[string]any{
		"nodeName": "n1", "startTime": "2026-01-02T02:04:05Z", "cpu": map[string]any{"time": now, "usageCoreNanoSeconds": 5e9, "usageNanoCores": 5e8},
		"memory": map[string]any{"time": now, "usageBytes": 5100.0, "workingSetBytes": 5000.0}, "rlimit": map[string]any{"time": now, "curproc": 3.0},
	}
	if diff := cmp.Diff(wantNode, got.Node); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	if code, _, body := get(t, node{broken: true}, "", "/stats/summary"); code != 500 || !strings.Contains(body, "the cgroups are gone") {
		t.Errorf("%d: %s", code, body)
	}
	if code, _, body := get(t, node{broken: true}, "", "/metrics/resource"); code != 200 || !strings.Contains(body, "resource_scrape_error 1") {
		t.Errorf("%d: %s", code, body)
	}
}

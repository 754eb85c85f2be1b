package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/metrics"
	"navarch.dev/navarch/agent/podcertificate"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
)

// lines returns what a registry shows, without comments.
func lines(t *testing.T, reg *prometheus.Registry) []string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	all := strings.Split(w.Body.String(), "\n")
	return slices.DeleteFunc(all, func(line string) bool { return strings.HasPrefix(line, "#") })
}

func expect(t *testing.T, got []string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !slices.Contains(got, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
}

// stubborn is a Runtime that cannot start containers.
type stubborn struct{ runtime.Runtime }

func (stubborn) CreateSandbox(_ context.Context, spec runtime.SandboxSpec) error {
	if spec.UID == "" {
		return errors.New("no UID")
	}
	return nil
}

func (stubborn) StartContainer(context.Context, string) error { return errors.New("no") }

func (stubborn) Exec(context.Context, string, runtime.ExecOptions) (int, error) { return 3, nil }

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := metrics.New(reg)
	m.PodRuns(time.Now(), time.Time{})
	m.PodRuns(time.Now(), time.Now())
	m.PodLookedAfter("create", 0)
	m.EventHandled(0)
	m.ContainerStarted(metrics.Container)
	m.ContainerNotStarted(metrics.InitContainer, "RunContainerError")
	m.ContainerEnded(metrics.EphemeralContainer, 137, "OOMKilled")
	m.Rejected("OutOfcpu")
	m.Evicted("memory.available")
	m.ImagePulled(700<<20, 0)
	m.ImagePulled(500<<30, 0)
	m.ImagesCollected(3)
	rt := m.Runtime(stubborn{})
	for _, spec := range []runtime.SandboxSpec{{UID: "a"}, {}} {
		_ = rt.CreateSandbox(t.Context(), spec)
	}
	_ = rt.StartContainer(t.Context(), "c")
	if code, err := rt.Exec(t.Context(), "c", runtime.ExecOptions{}); code != 3 || err != nil {
		t.Errorf("exec: %d, %v", code, err)
	}
	expect(t, lines(t, reg),
		"kubelet_pod_start_duration_seconds_count 2", "navarch_runtime_event_seconds_count 1",
		"kubelet_pod_start_total_duration_seconds_count 1",
		`kubelet_pod_worker_duration_seconds_count{operation_type="create"} 1`,
		`kubelet_started_containers_total{container_type="container"} 1`,
		`kubelet_started_containers_total{container_type="init_container"} 1`,
		`kubelet_started_containers_errors_total{code="RunContainerError",container_type="init_container"} 1`,
		`kubelet_terminated_containers_total{container_type="ephemeral_container",exit_code="137",reason="OOMKilled"} 1`,
		`kubelet_admission_rejections_total{reason="OutOfcpu"} 1`,
		`kubelet_evictions{eviction_signal="memory.available"} 1`,
		`kubelet_image_pull_duration_seconds_count{image_size_in_bytes="500MB-1GB"} 1`,
		`kubelet_image_pull_duration_seconds_count{image_size_in_bytes="GT100GB"} 1`,
		`kubelet_image_garbage_collected_total{reason="space"} 3`,
		"kubelet_started_pods_total 2", "kubelet_started_pods_errors_total 1",
		`kubelet_run_podsandbox_errors_total{runtime_handler=""} 1`,
		`kubelet_runtime_operations_total{operation_type="run_podsandbox"} 2`,
		`kubelet_runtime_operations_errors_total{operation_type="start_container"} 1`,
		`kubelet_runtime_operations_duration_seconds_count{operation_type="exec"} 1`,
	)
}

func TestNobodyCounts(t *testing.T) {
	var m *metrics.Metrics
	m.PodRuns(time.Now(), time.Now())
	m.ContainerStarted(metrics.Container)
	m.Evicted("")
	if rt := m.Runtime(stubborn{}); rt != (stubborn{}) {
		t.Errorf("the runtime is %T", rt)
	}
}

func TestHTTP(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := metrics.New(reg).HTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, r := range []struct{ method, path string }{
		{"GET", "/metrics"}, {"GET", "/metrics/cadvisor"}, {"GET", "/metrics/of/mine"}, {"POST", "/exec/a/b/c"}, {"BREW", "/pods"}, {"GET", "/\xff"},
	} {
		h.ServeHTTP(httptest.NewRecorder(), &http.Request{Method: r.method, URL: httptest.NewRequest("GET", "/", nil).URL.JoinPath(r.path)})
	}
	const tail = `,server_type="readwrite"} `
	expect(t, lines(t, reg),
		`kubelet_http_requests_total{long_running="false",method="GET",path="metrics"`+tail+"1",
		`kubelet_http_requests_total{long_running="false",method="GET",path="metrics/cadvisor"`+tail+"1",
		`kubelet_http_requests_total{long_running="false",method="GET",path="other"`+tail+"2",
		`kubelet_http_requests_total{long_running="true",method="POST",path="exec"`+tail+"1",
		`kubelet_http_requests_total{long_running="false",method="other",path="pods"`+tail+"1",
		`kubelet_http_inflight_requests{long_running="false",method="GET",path="metrics"`+tail+"0",
		`kubelet_http_requests_duration_seconds_count{long_running="true",method="POST",path="exec"`+tail+"1",
	)
}

// node runs a pod with a claim, a static one and one that has ended.
type node struct{ dir string }

func (node) Pods(context.Context) ([]*corev1.Pod, error) {
	claiming := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", UID: "u1"}}
	claiming.Spec.Priority = new(int32)
	*claiming.Spec.Priority = 100_000
	claiming.Spec.Volumes = []corev1.Volume{
		{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}},
		{Name: "own", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		{Name: "not-mounted", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "none"}}},
	}
	claiming.Spec.Containers = []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "own", MountPath: "/own"}}}}
	claiming.Spec.EphemeralContainers = []corev1.EphemeralContainer{{}}
	claiming.Status.Phase = corev1.PodRunning
	claiming.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonDeferred}}
	static := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "static", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "u2"}}}
	over := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "over"}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}
	return []*corev1.Pod{claiming, static, over}, nil
}

func (node) ListSandboxes(context.Context) ([]runtime.SandboxStatus, error) {
	return []runtime.SandboxStatus{{Ready: true}, {Ready: true}, {}}, nil
}

func (n node) ListContainers(context.Context, string) ([]runtime.ContainerStatus, error) {
	mounts := []runtime.Mount{{HostPath: n.dir, ContainerPath: "/data"}, {HostPath: n.dir, ContainerPath: "/own"}}
	return []runtime.ContainerStatus{
		{PodUID: "u1", State: runtime.StateRunning, Spec: runtime.ContainerSpec{Name: "c", Mounts: mounts}},
		{PodUID: "u2", State: runtime.StateExited, Spec: runtime.ContainerSpec{Name: "c"}},
	}, nil
}

func TestState(t *testing.T) {
	n := node{t.TempDir()}
	reg := prometheus.NewRegistry()
	reg.MustRegister(metrics.State{
		NodeName: "n1", Pods: n, Runtime: n, CgroupVersion: 2,
		Volumes: func() []volume.Count {
			return []volume.Count{{Plugin: "kubernetes.io/empty-dir", Wanted: 3, Mounted: 2}}
		},
		PodCertificates: func() map[podcertificate.SignerState]int {
			return map[podcertificate.SignerState]int{{Signer: "example.com/a", State: "fresh"}: 4}
		},
	})
	got := lines(t, reg)
	expect(t, got,
		`volume_manager_total_volumes{plugin_name="kubernetes.io/empty-dir",state="desired_state_of_world"} 3`,
		`volume_manager_total_volumes{plugin_name="kubernetes.io/empty-dir",state="actual_state_of_world"} 2`,
		`kubelet_node_name{node="n1"} 1`, "kubelet_cgroup_version 2", "kubelet_running_pods 2",
		`kubelet_running_containers{container_state="running"} 1`, `kubelet_running_containers{container_state="exited"} 1`,
		`kubelet_desired_pods{static=""} 2`, `kubelet_desired_pods{static="true"} 1`, `kubelet_active_pods{static=""} 1`, `kubelet_active_pods{static="true"} 1`,
		"kubelet_mirror_pods 1", "kubelet_managed_ephemeral_containers 1", `kubelet_pod_pending_resizes{priority_bucket="high",reason="deferred"} 1`, "kubelet_pod_in_progress_resizes 0",
		`kubelet_podcertificate_states{signer_name="example.com/a",state="fresh"} 4`,
		"kubelet_certificate_manager_client_ttl_seconds +Inf", "kubelet_certificate_manager_server_ttl_seconds +Inf",
	)
	for _, claim := range []string{"disk", "db-own"} {
		prefix := `kubelet_volume_stats_capacity_bytes{namespace="default",persistentvolumeclaim="` + claim + `"} `
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, prefix) && line != prefix+"0" }) {
			t.Errorf("there is no %s", prefix)
		}
	}
	if slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, `"none"`) }) {
		t.Error("a claim that no container has mounted is shown")
	}
}

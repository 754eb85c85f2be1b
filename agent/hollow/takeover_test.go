package hollow

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/runtime"
)

func resourceOf(t *testing.T, text string) resource.Quantity {
	t.Helper()
	q, err := resource.ParseQuantity(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// The init container has run, main runs, crashed waits to be started again, and
// fresh has never been started.
func TestTakesOverWhatTheStoreTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := metav1.Now()
		ended := func(id string, code int32) *corev1.ContainerStateTerminated {
			return &corev1.ContainerStateTerminated{ContainerID: "runc://" + id, ExitCode: code, Reason: "Error", StartedAt: now, FinishedAt: now}
		}
		p := pod(corev1.RestartPolicyAlways, nil)
		p.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, StartTime: ptr.To(now), PodIPs: []corev1.PodIP{{IP: "10.0.0.7"}},
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "init", ContainerID: "runc://i", Image: "init:1", State: corev1.ContainerState{Terminated: ended("i", 0)}}},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "main", ContainerID: "runc://m", Image: "app:1", RestartCount: 2, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}},
				{
					Name: "crashed", ContainerID: "runc://c", Image: "app:1", RestartCount: 5,
					State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
					LastTerminationState: corev1.ContainerState{Terminated: ended("c", 4)},
				},
				{Name: "fresh", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}},
			},
		}
		over := p.DeepCopy()
		over.UID, over.Status.Phase = "over", corev1.PodSucceeded
		unknown := pod(corev1.RestartPolicyAlways, nil)
		unknown.UID = "unknown"
		cfg := exact()
		counts := newCounts(prometheus.NewRegistry())
		rt, images := newRuntime(&cfg, counts), newImages("n", &cfg, counts)
		rt.pod = func(string, string) (*corev1.Pod, bool) { return p, true }
		net := newNetwork(func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/29")} })
		takeOver([]*corev1.Pod{p, over, unknown}, rt, net, images)

		sandboxes, err := rt.ListSandboxes(t.Context())
		if err != nil || len(sandboxes) != 1 || sandboxes[0].Spec.UID != "u" || !sandboxes[0].Ready {
			t.Errorf("sandboxes %+v, %v", sandboxes, err)
		}
		for id, want := range map[string]struct {
			state   runtime.State
			attempt uint32
			code    int
		}{
			"i": {runtime.StateExited, 0, 0},
			"m": {runtime.StateRunning, 2, 0},
			"c": {runtime.StateExited, 5, 4},
		} {
			s, err := rt.ContainerStatus(t.Context(), id)
			if err != nil || s.State != want.state || s.Spec.Attempt != want.attempt || s.ExitCode != want.code || s.PodUID != "u" || !s.StartedAt.Equal(now.Time) {
				t.Errorf("container %s: %+v, %v; want %+v", id, s, err, want)
			}
		}
		if all, err := rt.ListContainers(t.Context(), ""); err != nil || len(all) != 3 {
			t.Errorf("%d containers, %v; want 3", len(all), err)
		}
		if a, ok, _ := net.Attachment("u"); !ok || a.IPs[0].String() != "10.0.0.7" {
			t.Errorf("attachment %+v, %v", a, ok)
		}
		if _, err := images.Get("app:1"); err != nil {
			t.Error(err)
		}
	})
}

// A container whose end was due while nobody looked ends at once.
func TestTakesOverAContainerThatIsOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pod(corev1.RestartPolicyNever, nil)
		started := metav1.Now()
		p.Status = corev1.PodStatus{StartTime: &started, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "main", ContainerID: "runc://m", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}},
		}}
		time.Sleep(time.Hour)
		cfg := exact()
		counts := newCounts(prometheus.NewRegistry())
		rt := newRuntime(&cfg, counts)
		rt.pod = func(string, string) (*corev1.Pod, bool) { return p, true }
		takeOver([]*corev1.Pod{p}, rt, newNetwork(func() []netip.Prefix { return nil }), newImages("n", &cfg, counts))
		begun := time.Now()
		if s, err := rt.WaitExit(t.Context(), "m"); err != nil || s.ExitCode != 0 || time.Since(begun) != 0 {
			t.Errorf("after %s: %+v, %v", time.Since(begun), s, err)
		}
	})
}

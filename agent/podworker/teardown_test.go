package podworker

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/eviction"
	"navarch.dev/navarch/internal/client"
)

// awaitEnd waits until nothing of a pod runs any more.
func (b *bench) awaitEnd(pod *corev1.Pod) {
	b.t.Helper()
	for !b.manager.Ended(b.t.Context(), string(pod.UID)) {
		if b.t.Context().Err() != nil {
			b.t.Fatalf("pod %s never ended", pod.Name)
		}
	}
}

// hasFolder says whether the node keeps something of a pod.
func (b *bench) hasFolder(pod *corev1.Pod) bool {
	_, err := os.Stat(filepath.Join(b.dir, "pods", string(pod.UID)))
	return err == nil
}

// A pod that is deleted while its network namespace is being made is torn down
// only then: nothing of it is made after all has been removed.
func TestTearsDownNothingThatIsBeingMade(t *testing.T) {
	b := newStoreBench(t)
	begun, release := make(chan struct{}), make(chan struct{})
	var making, releasing sync.Once
	var made, early atomic.Bool
	b.network.making = func() {
		making.Do(func() { close(begun) })
		select {
		case <-release:
		case <-time.After(200 * time.Millisecond): // who does not wait has detached the pod by then
		}
		made.Store(true)
	}
	b.network.detaching = func() {
		if !made.Load() {
			early.Store(true)
			releasing.Do(func() { close(release) })
		}
	}
	b.start()
	defer b.stop()
	pod := b.pod("short-lived", nil)
	<-begun
	w := b.manager.worker(string(pod.UID))
	zero := int64(0)
	if err := b.client.Delete(t.Context(), pod, client.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	<-w.ended
	if early.Load() {
		t.Error("the pod was taken out of the network while its namespace was being made")
	}
	if b.hasFolder(pod) {
		t.Error("the pod's folder was left")
	}
}

// A pod whose sandbox has died while there was no agent is made anew, and was not
// resized by that.
func TestSandboxThatDiedUnseenIsNoResize(t *testing.T) {
	b := newStoreBench(t)
	b.start()
	pod := b.pod("web", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	})
	b.until("web", "running", phaseIs(corev1.PodRunning))
	b.stop()
	if err := b.runtime.StopSandbox(t.Context(), string(pod.UID)); err != nil {
		t.Fatal(err)
	}
	b.start()
	defer func() { b.stop() }()
	b.until("web", "started again", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p)
	})
	if b.events.has("ResizeCompleted") {
		t.Error("it is said to have been resized")
	}
}

// scratch gives a pod an emptyDir.
func scratch(p *corev1.Pod) {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
}

func TestEndedPodsHaveNoVolumes(t *testing.T) {
	b := newBench(t)
	pod := b.pod("job", scratch)
	b.until("job", "running", phaseIs(corev1.PodRunning))
	if !b.hasFolder(pod) {
		t.Fatal("the pod has no folder")
	}
	b.runtime.end(b.runtime.running("main"), 0)
	b.until("job", "over", phaseIs(corev1.PodSucceeded))
	b.awaitEnd(pod)
	if b.hasFolder(pod) {
		t.Error("the ended pod's folder was left")
	}
}

func TestEvict(t *testing.T) {
	b := newBench(t)
	pod := b.pod("large", scratch)
	b.until("large", "running", phaseIs(corev1.PodRunning))
	writeFile(t, filepath.Join(b.dir, "pods", string(pod.UID), "volumes", "scratch", "data"), strings.Repeat("x", 2<<20))
	for signal, want := range map[eviction.Signal]struct{ pod, container int64 }{
		eviction.Disk:   {pod: written + 2<<20, container: written},
		eviction.Inodes: {pod: 2 + 2, container: 2},
		eviction.Memory: {pod: usedMemory, container: usedMemory},
		eviction.PIDs:   {pod: usedPids, container: usedPids},
	} {
		pods, err := b.manager.Using(t.Context(), signal)
		if err != nil || len(pods) != 1 || pods[0].Object.Name != "large" {
			t.Fatalf("short of %s: %+v, %v", signal, pods, err)
		}
		blocks := int64(64 << 10) // of folders and logs
		if signal == eviction.PIDs {
			blocks = 0
		}
		if got := pods[0].Used; got < want.pod || got > want.pod+blocks {
			t.Errorf("short of %s, the pod has %d, want %d", signal, got, want.pod)
		}
		if got := pods[0].Containers["main"]; got < want.container || got > want.container+blocks {
			t.Errorf("short of %s, the container has %d, want %d", signal, got, want.container)
		}
	}
	uid := string(pod.UID)
	if !b.manager.Evict(t.Context(), uid, eviction.Memory, "too large", 0) {
		t.Fatal("the pod was not evicted")
	}
	if b.manager.Evict(t.Context(), uid, eviction.Memory, "again", 0) {
		t.Error("it was evicted twice")
	}
	got := b.until("large", "evicted", phaseIs(corev1.PodFailed))
	if got.Status.Reason != "Evicted" || got.Status.Message != "too large" {
		t.Errorf("reason %q, message %q", got.Status.Reason, got.Status.Message)
	}
	c := findCondition(&got.Status, corev1.DisruptionTarget)
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason != "TerminationByKubelet" || c.Message != "too large" {
		t.Errorf("its disruption is told by %+v", c)
	}
	b.awaitEnd(pod)
	if b.hasFolder(pod) {
		t.Error("the evicted pod's folder was left")
	}
	if pods, err := b.manager.Using(t.Context(), eviction.Disk); err != nil || len(pods) != 0 {
		t.Errorf("pods that run: %+v, %v", pods, err)
	}
	if b.manager.Evict(t.Context(), "no such pod", eviction.Memory, "", 0) || !b.manager.Ended(t.Context(), "no such pod") {
		t.Error("a pod that is not there runs")
	}
}

func TestPodGrace(t *testing.T) {
	own, given := int64(20), int64(7)
	deletion := metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}, DeletionGracePeriodSeconds: &given}
	for name, tt := range map[string]struct {
		w    *worker
		want time.Duration
	}{
		"as the pod says":       {&worker{pod: &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &own}}}, 20 * time.Second},
		"which says nothing":    {&worker{pod: &corev1.Pod{}}, defaultGrace},
		"as who deletes it":     {&worker{pod: &corev1.Pod{ObjectMeta: deletion, Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &own}}}, 7 * time.Second},
		"it is gone":            {&worker{pod: &corev1.Pod{}, deleted: true}, leastGrace},
		"it must go":            {&worker{pod: &corev1.Pod{}, evicted: true}, leastGrace},
		"it must go soon":       {&worker{pod: &corev1.Pod{}, evicted: true, evictionGrace: 10 * time.Second}, 10 * time.Second},
		"it goes sooner itself": {&worker{pod: &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &own}}, evicted: true, evictionGrace: time.Minute}, 20 * time.Second},
	} {
		if got := tt.w.podGrace(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

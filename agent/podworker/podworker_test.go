package podworker

import (
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/metrics"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/client"
)

func TestPodRunsAndIsDeleted(t *testing.T) {
	b := newBench(t)
	pod := b.pod("web", nil)
	got := b.until("web", "ready", isReady)
	if got.Status.Phase != corev1.PodRunning || got.Status.PodIP != "10.244.0.5" || got.Status.HostIP != "192.0.2.1" || got.Status.StartTime == nil {
		t.Errorf("status = %+v", got.Status)
	}
	cs := got.Status.ContainerStatuses[0]
	if cs.State.Running == nil || !cs.Ready || cs.Started == nil || !*cs.Started || cs.ImageID != "sha256:app:1" {
		t.Errorf("container status = %+v", cs)
	}
	for _, reason := range []string{"Pulled", "Created", "Started"} {
		if !b.events.has(reason) {
			t.Errorf("no %s event", reason)
		}
	}
	if err := b.client.Delete(t.Context(), pod, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("web", "gone", isGone)
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	if len(b.runtime.sandboxes) != 0 || len(b.network.pods) != 0 {
		t.Errorf("left behind: sandboxes %v, network %v", b.runtime.sandboxes, b.network.pods)
	}
}

// The status says as whom a container began, which its image has a part in.
func TestStatusSaysAsWhomAContainerRuns(t *testing.T) {
	b := newBench(t)
	b.pod("web", func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000))} })
	got := b.until("web", "ready", isReady).Status.ContainerStatuses[0].User
	want := &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 1000, GID: 7, SupplementalGroups: []int64{7, 8}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKilledWhenItIgnoresSIGTERM(t *testing.T) {
	b := newBench(t)
	b.runtime.ignoreTerm["main"] = true
	pod := b.pod("stubborn", nil)
	b.until("stubborn", "ready", isReady)
	if err := b.client.Delete(t.Context(), pod, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("stubborn", "gone", isGone)
}

func TestRestartsAndBacksOff(t *testing.T) {
	b := newBench(t)
	b.pod("crash", nil)
	b.until("crash", "ready", isReady)
	b.runtime.end(b.runtime.running("main"), 3)
	b.until("crash", "restarted", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p)
	})
	b.runtime.end(b.runtime.running("main"), 3)
	got := b.until("crash", "backing off", func(p *corev1.Pod) bool {
		w := p.Status.ContainerStatuses[0].State.Waiting
		return w != nil && w.Reason == "CrashLoopBackOff"
	})
	last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 3 || last.Reason != "Error" {
		t.Errorf("last state = %+v", last)
	}
	if got.Status.Phase != corev1.PodRunning || isReady(got) {
		t.Errorf("phase = %s, ready = %v", got.Status.Phase, isReady(got))
	}
}

func TestRunsToCompletion(t *testing.T) {
	tests := []struct {
		name   string
		policy corev1.RestartPolicy
		code   int
		want   corev1.PodPhase
	}{
		{"never-ok", corev1.RestartPolicyNever, 0, corev1.PodSucceeded},
		{"never-bad", corev1.RestartPolicyNever, 2, corev1.PodFailed},
		{"onfailure-ok", corev1.RestartPolicyOnFailure, 0, corev1.PodSucceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.pod(tt.name, func(p *corev1.Pod) { p.Spec.RestartPolicy = tt.policy })
			b.until(tt.name, "ready", isReady)
			b.runtime.end(b.runtime.running("main"), tt.code)
			got := b.until(tt.name, string(tt.want), phaseIs(tt.want))
			if end := got.Status.ContainerStatuses[0].State.Terminated; end == nil || int(end.ExitCode) != tt.code {
				t.Errorf("state = %+v", got.Status.ContainerStatuses[0].State)
			}
		})
	}
}

func TestInitContainersGoFirst(t *testing.T) {
	b := newBench(t)
	always := corev1.ContainerRestartPolicyAlways
	b.pod("init", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{
			{Name: "first", Image: "app:1"},
			{Name: "sidecar", Image: "app:1", RestartPolicy: &always},
		}
	})
	got := b.until("init", "running its init container", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.InitContainerStatuses) == 2 && p.Status.InitContainerStatuses[0].State.Running != nil
	})
	if w := got.Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "PodInitializing" {
		t.Errorf("main container = %+v", got.Status.ContainerStatuses[0].State)
	}
	if b.runtime.running("sidecar") != "" {
		t.Error("the sidecar runs before the init container has ended")
	}
	b.runtime.end(b.runtime.running("first"), 0)
	b.until("init", "ready", isReady)
	if b.runtime.running("sidecar") == "" {
		t.Error("the sidecar does not run")
	}
}

func TestImageThatIsNotThere(t *testing.T) {
	b := newBench(t)
	b.pod("pull", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "absent" })
	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff"} {
		b.until("pull", reason, func(p *corev1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
				p.Status.ContainerStatuses[0].State.Waiting.Reason == reason
		})
	}
	b.pod("never", func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "absent", corev1.PullNever
	})
	b.until("never", "ErrImageNeverPull", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "ErrImageNeverPull"
	})
}

// lateImages have everything once they are loaded.
type lateImages struct {
	fakeImages
	loaded *atomic.Bool
}

func (i lateImages) Get(ref string) (image.Image, error) {
	if i.loaded.Load() {
		return image.Image{ID: "sha256:" + ref}, nil
	}
	return i.fakeImages.Get(ref)
}

func TestLoadedImageEndsTheWait(t *testing.T) {
	b := newStoreBench(t)
	images := lateImages{loaded: new(atomic.Bool)}
	b.images = images
	b.start()
	t.Cleanup(func() { b.stop() })
	for name, policy := range map[string]corev1.PullPolicy{"pull": corev1.PullIfNotPresent, "never": corev1.PullNever, "always": corev1.PullAlways} {
		pod := b.pod(name, func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "absent", policy
		})
		b.until(name, "waiting for its image", func(p *corev1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
				strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Reason, "Image")
		})
		b.waitLong(pod)
	}
	images.loaded.Store(true)
	b.manager.ImagesLoaded()
	b.until("pull", "ready", isReady)
	b.until("never", "ready", isReady)
	if pod, _ := b.watch.Get("default", "always"); isReady(pod) {
		t.Error("a pod runs what it was to pull")
	}
}

// waitLong has the next attempts to get a pod's images be hours away.
func (b *bench) waitLong(pod *corev1.Pod) {
	b.manager.mu.Lock()
	w := b.manager.workers[string(pod.UID)]
	b.manager.mu.Unlock()
	done := make(chan struct{})
	w.send(func() {
		for _, c := range w.containers {
			c.pulls.until = time.Now().Add(time.Hour)
		}
		close(done)
	})
	<-done
}

func TestRejectsWhatDoesNotFit(t *testing.T) {
	b := newBench(t)
	b.pod("big", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}
	})
	got := b.until("big", "rejected", phaseIs(corev1.PodFailed))
	if got.Status.Reason != "OutOfcpu" {
		t.Errorf("reason = %q, message = %q", got.Status.Reason, got.Status.Message)
	}
	for reason, change := range map[string]func(*corev1.PodSpec){
		"PodOSNotSupported":                  func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} },
		"PodOSSelectorNodeLabelDoesNotMatch": func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} },
	} {
		name := strings.ToLower(reason)
		b.pod(name, func(p *corev1.Pod) { change(&p.Spec) })
		if got := b.until(name, "rejected", phaseIs(corev1.PodFailed)); got.Status.Reason != reason {
			t.Errorf("reason = %q, not %q", got.Status.Reason, reason)
		}
	}
	b.pod("unsafe", func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
	})
	got = b.until("unsafe", "rejected", phaseIs(corev1.PodFailed))
	if got.Status.Reason != "SysctlForbidden" || !strings.Contains(got.Status.Message, `"kernel.msgmax" not allowlisted`) {
		t.Errorf("reason = %q, message = %q", got.Status.Reason, got.Status.Message)
	}
	port := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
	}
	b.pod("port-a", port)
	b.until("port-a", "ready", isReady)
	b.pod("port-b", port)
	if got := b.until("port-b", "rejected", phaseIs(corev1.PodFailed)); got.Status.Reason != "NodePorts" {
		t.Errorf("reason = %q", got.Status.Reason)
	}
}

// TestDeletedPodLeavesItsRoom deletes a pod without grace, so that the Scheduler gives
// its room to another while it has yet to end.
func TestDeletedPodLeavesItsRoom(t *testing.T) {
	b := newStoreBench(t)
	hold := make(chan struct{})
	b.network.detaching = func() { <-hold }
	b.start()
	t.Cleanup(func() { b.stop() })
	end := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(end)
	whole := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
	}
	old := b.pod("old", whole)
	b.until("old", "ready", isReady)
	zero := int64(0)
	if err := b.client.Delete(t.Context(), old, client.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	b.until("old", "gone", isGone)
	b.pod("new", whole)
	b.until("new", "ready", isReady)
	end()
	b.pod("more", whole)
	if got := b.until("more", "rejected", phaseIs(corev1.PodFailed)); got.Status.Reason != "NodePorts" {
		t.Errorf("beside the new pod another is refused by %q", got.Status.Reason)
	}
}

func TestConfigMapThatComesLate(t *testing.T) {
	b := newBench(t)
	b.pod("env", func(p *corev1.Pod) {
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "late"}, Key: "a"},
		}}}
	})
	b.until("env", "missing its configuration", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == reasonConfigError
	})
	if err := b.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "late"}, Data: map[string]string{"a": "1"},
	}); err != nil {
		t.Fatal(err)
	}
	b.until("env", "ready", isReady)
}

func TestAdoptsWhatRuns(t *testing.T) {
	b := newBench(t)
	b.pod("kept", nil)
	b.until("kept", "ready", isReady)
	id := b.runtime.running("main")
	dropped := b.pod("dropped", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "other" })
	b.until("dropped", "ready", isReady)
	b.stop()
	zero := int64(0)
	if err := b.client.Delete(t.Context(), dropped, client.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.pod("next", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "third" })
	b.until("next", "ready", isReady)
	if b.runtime.running("main") != id {
		t.Error("the container was not adopted")
	}
	if b.runtime.running("other") != "" {
		t.Error("the container of a pod that is gone still runs")
	}
	b.runtime.end(id, 1)
	b.until("kept", "restarted", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p)
	})
}

// A boot leaves nothing of what ran, but what the Store was told.
func TestContainersThatABootEnded(t *testing.T) {
	b := newBench(t)
	b.pod("again", nil)
	b.pod("once", func(p *corev1.Pod) {
		p.Spec.RestartPolicy, p.Spec.Containers[0].Name = corev1.RestartPolicyNever, "job"
	})
	b.until("again", "ready", isReady)
	b.until("once", "ready", isReady)
	b.stop()
	b.runtime.boot()
	b.start()
	again := b.until("again", "restarted", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p)
	})
	if last := again.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != runtime.ReasonUnknown || last.ExitCode != 137 {
		t.Errorf("how it ended = %v", last)
	}
	once := b.until("once", "failed", phaseIs(corev1.PodFailed))
	if once.Status.ContainerStatuses[0].RestartCount != 0 || b.runtime.running("job") != "" {
		t.Errorf("what must run once runs again: %v", once.Status.ContainerStatuses)
	}
}

func TestSandboxThatDies(t *testing.T) {
	b := newBench(t)
	pod := b.pod("lost", nil)
	b.until("lost", "ready", isReady)
	id := b.runtime.running("main")
	uid := string(pod.UID)
	b.runtime.mu.Lock()
	s := b.runtime.sandboxes[uid]
	s.Ready = false
	b.runtime.sandboxes[uid] = s
	b.runtime.mu.Unlock()
	b.runtime.end(id, 137)
	b.runtime.onEvent(eventOf(uid))
	b.until("lost", "made anew", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount > 0 && isReady(p) && b.runtime.running("main") != id
	})
}

func TestStaticPodHasMirror(t *testing.T) {
	b := newBench(t)
	if err := b.client.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.dir, "static", "pod.yaml")
	b.until("x", "absent", isGone)
	writeFile(t, path, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"static"},"spec":{"containers":[{"name":"main","image":"app:1"}]}}`)
	got := b.until("static-n1", "ready", isReady)
	if got.Annotations[sourceAnnotation] != "file" || got.Annotations[mirrorAnnotation] == "" {
		t.Errorf("annotations = %v", got.Annotations)
	}
	if o := metav1.GetControllerOf(got); o == nil || o.Kind != "Node" || o.Name != "n1" {
		t.Errorf("owner = %v", o)
	}
}

// TestChangedImageIsNoOutage changes the image of a container that is ready: it is
// started anew, and nobody is told that it was down for a moment.
func TestChangedImageIsNoOutage(t *testing.T) {
	b := newBench(t)
	var down atomic.Bool
	b.watch.AddHandler(client.Handler[*corev1.Pod]{OnUpdate: func(old, pod *corev1.Pod) {
		if isReady(old) && !isReady(pod) {
			down.Store(true)
		}
	}})
	b.pod("web", nil)
	pod := b.until("web", "ready", isReady).DeepCopy()
	pod.Spec.Containers[0].Image = "app:2"
	if err := b.client.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	b.until("web", "started anew", func(p *corev1.Pod) bool {
		return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 && p.Status.ContainerStatuses[0].Image == "app:2"
	})
	if down.Load() {
		t.Error("it was told that the pod was not ready")
	}
}

// TestEventsAreTimed has the runtime tell of a container's end.
func TestEventsAreTimed(t *testing.T) {
	b := newStoreBench(t)
	reg := prometheus.NewRegistry()
	b.counts = metrics.New(reg)
	b.start()
	t.Cleanup(func() { b.stop() })
	b.pod("web", nil)
	b.until("web", "ready", isReady)
	b.runtime.end(b.runtime.running("main"), 1)
	b.until("web", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 })
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	timed := uint64(0)
	for _, f := range families {
		if f.GetName() == "navarch_runtime_event_seconds" {
			timed = f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	if timed == 0 {
		t.Error("no event was timed")
	}
}

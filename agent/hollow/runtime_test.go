package hollow

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/runtime"
)

// exact takes as long as it says, and nothing fails.
func exact() Config {
	c := DefaultConfig()
	c.Nodes, c.LatencySpread = 1, 0
	return c
}

// pod has an init container, a sidecar and a main one.
func pod(policy corev1.RestartPolicy, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Annotations: annotations},
		Spec: corev1.PodSpec{
			RestartPolicy: policy,
			InitContainers: []corev1.Container{
				{Name: "init"},
				{Name: "sidecar", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
			},
			Containers: []corev1.Container{{Name: "main"}},
		},
	}
}

// bench is a runtime with the sandbox of one pod.
type bench struct {
	*hollowRuntime
	t      *testing.T
	events chan runtime.Event
}

func newBench(t *testing.T, cfg Config, p *corev1.Pod) *bench {
	t.Helper()
	b := &bench{t: t, events: make(chan runtime.Event, 16), hollowRuntime: newRuntime(&cfg, newCounts(prometheus.NewRegistry()))}
	b.onEvent = func(e runtime.Event) { b.events <- e }
	b.hollowRuntime.pod = func(namespace, name string) (*corev1.Pod, bool) { return p, namespace == p.Namespace && name == p.Name }
	if err := b.CreateSandbox(t.Context(), runtime.SandboxSpec{UID: string(p.UID), Namespace: p.Namespace, Name: p.Name}); err != nil {
		t.Fatal(err)
	}
	return b
}

// started returns the ID of a container that has just been started.
func (b *bench) started(name string) string {
	b.t.Helper()
	if err := b.CreateContainer(b.t.Context(), "u", runtime.ContainerSpec{ID: "c-" + name, Name: name}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.StartContainer(b.t.Context(), "c-"+name); err != nil {
		b.t.Fatal(err)
	}
	return "c-" + name
}

func TestWhenContainersEnd(t *testing.T) {
	crashing := exact()
	crashing.CrashEvery = time.Minute
	const never = time.Duration(-1)
	for _, tt := range []struct {
		name, container string
		cfg             Config
		policy          corev1.RestartPolicy
		annotations     map[string]string
		after           time.Duration
		code            int
	}{
		{name: "init container", container: "init", policy: corev1.RestartPolicyAlways, after: 10 * time.Second},
		{name: "sidecar", container: "sidecar", policy: corev1.RestartPolicyNever, after: never},
		{name: "service", container: "main", policy: corev1.RestartPolicyAlways, after: never},
		{name: "task", container: "main", policy: corev1.RestartPolicyNever, after: 10 * time.Second},
		{name: "task until it succeeds", container: "main", policy: corev1.RestartPolicyOnFailure, after: 10 * time.Second},
		{
			name: "annotated", container: "main", policy: corev1.RestartPolicyAlways, after: time.Hour, code: 3,
			annotations: map[string]string{AnnotationRunTime: "1h", AnnotationExitCode: "3"},
		},
		{
			name: "annotated with what is no time and no code", container: "main", policy: corev1.RestartPolicyNever, after: 10 * time.Second,
			annotations: map[string]string{AnnotationRunTime: "long", AnnotationExitCode: "256"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, exact(), pod(tt.policy, tt.annotations))
				id := b.started(tt.container)
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				begun := time.Now()
				status, err := b.WaitExit(ctx, id)
				if tt.after == never {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("it ended: %+v, %v", status, err)
					}
					return
				}
				if err != nil || time.Since(begun) != tt.after || status.ExitCode != tt.code || status.State != runtime.StateExited {
					t.Errorf("after %s: %+v, %v; want code %d after %s", time.Since(begun), status, err, tt.code, tt.after)
				}
				if e := <-b.events; e != (runtime.Event{PodUID: "u", ContainerID: id}) {
					t.Errorf("event %+v", e)
				}
			})
		})
	}
}

func TestContainersCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := exact()
		cfg.CrashEvery = time.Minute
		b := newBench(t, cfg, pod(corev1.RestartPolicyAlways, nil))
		status, err := b.WaitExit(t.Context(), b.started("main"))
		if err != nil || status.ExitCode != 1 || status.Reason != runtime.ReasonError || !strings.Contains(status.Message, "--crash-every") {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		signal runtime.Signal
		after  time.Duration
		code   int
	}{
		{syscall.SIGTERM, 100 * time.Millisecond, 143},
		{syscall.SIGKILL, 0, 137},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, exact(), pod(corev1.RestartPolicyNever, nil))
			id := b.started("main")
			begun := time.Now()
			if err := b.SignalContainer(t.Context(), id, tt.signal); err != nil {
				t.Fatal(err)
			}
			status, err := b.WaitExit(t.Context(), id)
			if err != nil || time.Since(begun) != tt.after || status.ExitCode != tt.code {
				t.Errorf("%v: after %s: %+v, %v", tt.signal, time.Since(begun), status, err)
			}
			if err := b.SignalContainer(t.Context(), id, tt.signal); err != nil {
				t.Errorf("%v to what has ended: %v", tt.signal, err)
			}
		})
	}
}

func TestSandboxEndsItsContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, exact(), pod(corev1.RestartPolicyAlways, nil))
		id := b.started("main")
		if err := b.StopSandbox(t.Context(), "u"); err != nil {
			t.Fatal(err)
		}
		if s, err := b.ContainerStatus(t.Context(), id); err != nil || s.ExitCode != 137 {
			t.Errorf("%+v, %v", s, err)
		}
		if s, err := b.SandboxStatus(t.Context(), "u"); err != nil || s.Ready {
			t.Errorf("%+v, %v", s, err)
		}
		for range 2 {
			if err := b.RemoveSandbox(t.Context(), "u"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.ContainerStatus(t.Context(), id); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("the container of a removed sandbox: %v", err)
		}
		if len(b.events) > 0 {
			t.Error("there is an event though nothing happened by itself")
		}
	})
}

func TestClosedRuntimeEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, exact(), pod(corev1.RestartPolicyNever, nil))
		id := b.started("main")
		b.Close()
		time.Sleep(time.Hour)
		if s, err := b.ContainerStatus(t.Context(), id); err != nil || s.State != runtime.StateRunning {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := exact()
		cfg.StartFailRate, cfg.PullFailRate = 1, 1
		b := newBench(t, cfg, pod(corev1.RestartPolicyAlways, nil))
		if err := b.CreateContainer(t.Context(), "u", runtime.ContainerSpec{ID: "c", Name: "main"}); !errors.Is(err, runtime.ErrCommand) {
			t.Errorf("a start failed with %v", err)
		}
		images := newImages("n", &cfg, b.counts)
		if _, err := images.Pull(t.Context(), "app:1", nil); err == nil || image.Reason(err) != image.ReasonErrImagePull {
			t.Errorf("a pull failed with %v", err)
		}
		if _, err := images.Get("app:1"); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("an image whose pull failed: %v", err)
		}
	})
}

func TestImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := exact()
		images := newImages("n", &cfg, newCounts(prometheus.NewRegistry()))
		for _, took := range []time.Duration{time.Second, 0} {
			begun := time.Now()
			img, err := images.Pull(t.Context(), "app:1", nil)
			if err != nil || time.Since(begun) != took || img.Names[0] != "index.docker.io/library/app:1" || img.SizeBytes < leastImage {
				t.Errorf("after %s: %+v, %v; want it after %s", time.Since(begun), img, err, took)
			}
		}
		if _, err := images.Pull(t.Context(), "App Store", nil); image.Reason(err) != image.ReasonInvalidImageName {
			t.Errorf("a name that is none: %v", err)
		}
		for range maxNodeImages + 10 {
			images.add("app:" + time.Now().Format("150405"))
			time.Sleep(time.Second)
		}
		if n := len(images.ofNode()); n != maxNodeImages {
			t.Errorf("the Node lists %d images, want %d", n, maxNodeImages)
		}
	})
}

func TestUsageGrowsWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pod(corev1.RestartPolicyAlways, nil)
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resourceOf(t, "2"), corev1.ResourceMemory: resourceOf(t, "1Gi"),
		}
		b := newBench(t, exact(), p)
		id := b.started("main")
		time.Sleep(time.Minute)
		for name, read := range map[string]func() (runtime.Usage, error){
			"container": func() (runtime.Usage, error) { return b.ContainerUsage(t.Context(), id) },
			"sandbox":   func() (runtime.Usage, error) { return b.SandboxUsage(t.Context(), "u") },
			"node":      func() (runtime.Usage, error) { return b.NodeUsage(t.Context()) },
		} {
			u, err := read()
			if err != nil || u.CPUNanoseconds != uint64(time.Minute) || u.MemoryWorkingSetBytes != 512<<20 || u.Pids != 1 {
				t.Errorf("%s: %+v, %v; want a CPU and half a GiB", name, u, err)
			}
		}
	})
}

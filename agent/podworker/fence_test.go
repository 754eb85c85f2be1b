package podworker

import (
	"context"
	"fmt"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/runtime"
)

const testPromise = 5 * time.Second

// fakeFence is a fence with a clock of its own, which only the test moves.
type fakeFence struct {
	mu      sync.Mutex
	silence time.Duration
}

func (f *fakeFence) now() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.silence
}

// silent makes it so long since the Store has been heard of.
func (f *fakeFence) silent(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silence = d
}

// Left implements Fence.
func (f *fakeFence) Left(now, after time.Duration) (time.Duration, bool) { return after - now, true }

func newFencedBench(t *testing.T) *bench {
	t.Helper()
	b := newStoreBench(t)
	b.promise = testPromise
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// shut holds back what shims are told of fences until the channel is closed.
func (b *bench) shut() chan struct{} {
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	b.runtime.shut = make(chan struct{})
	return b.runtime.shut
}

// tolerating makes a pod whose container has the pod's name tolerate an
// unreachable node for some seconds, or with nil for ever.
func tolerating(name string, seconds *int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Name = name
		p.Spec.Tolerations = []corev1.Toleration{{
			Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds,
		}}
	}
}

func TestSandboxesAreFenced(t *testing.T) {
	b := newFencedBench(t)
	after := func(d time.Duration) *runtime.Fence { return &runtime.Fence{After: d, Grace: time.Second} }
	for name, tt := range map[string]struct {
		seconds *int64
		want    *runtime.Fence
	}{
		"at-once": {seconds: ptr.To[int64](0), want: after(testPromise)},
		"shorter": {seconds: ptr.To[int64](3), want: after(testPromise)},
		"patient": {seconds: ptr.To[int64](300), want: after(300 * time.Second)},
		"forever": {},
	} {
		pod := b.pod(name, tolerating(name, tt.seconds))
		b.until(name, "ready", isReady)
		if got := b.runtime.fenceOf(pod); !sameFence(got, tt.want) {
			t.Errorf("%s: fence %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestFenceFollowsTolerations(t *testing.T) {
	b := newFencedBench(t)
	pod := b.pod("web", tolerating("main", ptr.To[int64](300)))
	b.until("web", "ready", isReady)
	if err := b.client.Get(t.Context(), "default", "web", pod); err != nil {
		t.Fatal(err)
	}
	shut := b.shut()
	pod.Spec.Tolerations[0].TolerationSeconds = ptr.To[int64](7)
	if err := b.client.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	b.runtime.end(b.runtime.running("main"), 1) // something to report
	got := b.until("web", "restarted", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if got.Status.ObservedGeneration == pod.Generation {
		t.Error("the change was observed before the shim knew of it")
	}
	close(shut)
	b.until("web", "observed", func(p *corev1.Pod) bool { return p.Status.ObservedGeneration == pod.Generation })
	if got := b.runtime.fenceOf(pod); got == nil || got.After != 7*time.Second {
		t.Errorf("the change was observed under the fence %+v", got)
	}
}

func TestAdoptedPodsAreFenced(t *testing.T) {
	b := newStoreBench(t)
	b.start()
	pod := b.pod("web", nil)
	b.until("web", "ready", isReady)
	if b.runtime.fenceOf(pod) != nil {
		t.Error("a pod was fenced by an agent that does not")
	}
	b.stop()
	if n := b.fenced.Swap(0); n != 1 {
		t.Errorf("it was told %d times that all of no pods are fenced", n)
	}
	b.promise = testPromise
	shut := b.shut()
	b.start()
	defer b.stop()
	b.pod("next", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "next" })
	b.until("next", "ready", isReady)
	if b.manager.Fenced() || b.fenced.Load() != 0 {
		t.Error("the promise counts as kept although a shim does not know of it")
	}
	close(shut)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for ; !b.manager.Fenced(); goruntime.Gosched() {
		if ctx.Err() != nil {
			t.Fatal("the promise is never kept")
		}
	}
	if n := b.fenced.Load(); n != 1 {
		t.Errorf("it was told %d times that all pods are fenced", n)
	}
	if b.runtime.fenceOf(pod) == nil {
		t.Error("the promise counts as kept before the pod is fenced")
	}
}

func TestPodsWaitForTheFenceToOpen(t *testing.T) {
	b := newFencedBench(t)
	b.pod("web", tolerating("main", ptr.To[int64](0)))
	b.until("web", "ready", isReady)
	b.fence.silent(testPromise - time.Second)
	b.runtime.end(b.runtime.running("main"), 137)
	b.until("web", "ended", func(p *corev1.Pod) bool { return p != nil && !isReady(p) })
	b.pod("other", func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		p.Spec.Containers[0].Name = "other"
	})
	b.until("other", "ready, as nothing holds it", isReady)
	if b.runtime.running("main") != "" {
		t.Fatal("a container was started under a closed fence")
	}
	b.fence.silent(0)
	b.manager.Renewed()
	b.until("web", "restarted", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
}

func TestCondemnedPodsAreGivenUp(t *testing.T) {
	b := newFencedBench(t)
	lost := b.pod("lost", tolerating("lost", ptr.To[int64](0)))
	b.pod("patient", tolerating("patient", ptr.To[int64](300)))
	b.pod("forever", tolerating("forever", nil))
	for _, name := range []string{"lost", "patient", "forever"} {
		b.until(name, "ready", isReady)
	}
	kept := fmt.Sprint(b.runtime.running("patient"), b.runtime.running("forever"))
	b.fence.silent(10 * time.Second)
	b.runtime.end(b.runtime.running("lost"), 137)
	if err := b.manager.Condemn(t.Context(), testPromise); err != nil {
		t.Fatal(err)
	}
	if f := b.runtime.fenceOf(lost); f != nil && f.After > 0 {
		t.Errorf("its shim may start it again: %+v", f)
	}
	b.fence.silent(0)
	b.manager.Renewed()
	b.until("lost", "gone", isGone)
	again := b.pod("lost", tolerating("again", ptr.To[int64](0)))
	b.until("lost", "ready under another UID", func(p *corev1.Pod) bool { return isReady(p) && p.UID == again.UID })
	if b.runtime.running("lost") != "" {
		t.Error("the pod that was given up was started again")
	}
	if now := fmt.Sprint(b.runtime.running("patient"), b.runtime.running("forever")); now != kept {
		t.Errorf("pods that no one could replace were %s, are %s", kept, now)
	}
}

// TestCondemnedBeforeTheAgentKnows has an agent start on a node whose Lease is
// marked.
func TestCondemnedBeforeTheAgentKnows(t *testing.T) {
	b := newFencedBench(t)
	b.pod("lost", tolerating("lost", ptr.To[int64](0)))
	b.until("lost", "ready", isReady)
	b.stop()
	b.runtime.end(b.runtime.running("lost"), 137)
	b.fence.silent(10 * time.Second)
	b.pod("unborn", tolerating("unborn", ptr.To[int64](300))) // the agent never heard of it
	manager := b.newManager(t.Context(), b.runtime, fakeImages{}, b.network)
	if err := manager.Condemn(t.Context(), testPromise); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lost", "unborn"} {
		b.until(name, "gone", isGone)
	}
	b.start() // so that its clean-up has something to stop
}

func TestForbidden(t *testing.T) {
	m := &Manager{judged: judgment{revision: 100, kept: map[string]bool{"kept": true}, gone: map[string]bool{"gone": true}}}
	for _, tt := range []struct {
		name, uid, version string
		tolerations        []corev1.Toleration
		static, want       bool
	}{
		{name: "given up", uid: "gone", version: "90", want: true},
		{name: "given up, in a later version", uid: "gone", version: "110", want: true},
		{name: "kept", uid: "kept", version: "90"},
		{name: "deleted before", uid: "other", version: "90", want: true},
		{name: "came after", uid: "other", version: "101"},
		{name: "never fenced", uid: "other", version: "90", tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}},
		{name: "static", uid: "other", version: "", static: true},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(tt.uid), ResourceVersion: tt.version}, Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
		if got := m.forbidden(pod, tt.static); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if new(Manager).forbidden(&corev1.Pod{}, false) {
		t.Error("a pod was forbidden before anything was judged")
	}
}

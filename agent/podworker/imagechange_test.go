package podworker

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Who mends the image of a container that waits, after failures or for an image
// that cannot be pulled, does not wait as long as the one before had to.
func TestAnotherImageEndsTheWait(t *testing.T) {
	b := newBench(t)
	waits := func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil
	}
	b.pod("pull", func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "absent", corev1.PullIfNotPresent
	})
	b.until("pull", "waiting for its image", func(p *corev1.Pod) bool {
		return waits(p) && p.Status.ContainerStatuses[0].State.Waiting.Reason == "ImagePullBackOff"
	})
	b.pod("crash", nil)
	b.until("crash", "ready", isReady)
	b.runtime.end(b.runtime.running("main"), 3)
	b.until("crash", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p) })
	b.runtime.end(b.runtime.running("main"), 3)
	b.until("crash", "backing off", waits)
	for _, name := range []string{"pull", "crash"} {
		pod, _ := b.watch.Get("default", name)
		b.waitLong(pod)
		b.backOffLong(pod)
		pod = pod.DeepCopy()
		pod.Spec.Containers[0].Image = "app:2"
		if err := b.client.Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		got := b.until(name, "ready", isReady)
		if got.Status.ContainerStatuses[0].ImageID != "sha256:app:2" {
			t.Errorf("%s runs %+v", name, got.Status.ContainerStatuses[0])
		}
	}
}

// backOffLong has the next start of a pod's containers be an hour away.
func (b *bench) backOffLong(pod *corev1.Pod) {
	b.manager.mu.Lock()
	w := b.manager.workers[string(pod.UID)]
	b.manager.mu.Unlock()
	done := make(chan struct{})
	w.send(func() {
		for _, c := range w.containers {
			c.restarts.until = time.Now().Add(time.Hour)
		}
		close(done)
	})
	<-done
}

package podworker

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/internal/client"
)

func withOwnUsers(p *corev1.Pod) {
	own := false
	p.Spec.HostUsers = &own
}

// usersFor returns the users that a pod's sandbox was made with.
func (b *bench) usersFor(pod *corev1.Pod) *userns.Range {
	b.t.Helper()
	status, err := b.runtime.SandboxStatus(b.t.Context(), string(pod.UID))
	if err != nil {
		b.t.Fatal(err)
	}
	return status.Spec.Users
}

// newUsersBench has a node with the users of as many pods.
func newUsersBench(t *testing.T, pods uint32) *bench {
	b := newStoreBench(t)
	b.users = func() *userns.Pool {
		return userns.NewPool(userns.Range{First: userns.Unit, Length: pods * userns.Unit}, userns.Unit)
	}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// TestOwnUsers: pods have users that no other has, the node's aside, as long as
// something of them may run, whichever agent that is under.
func TestOwnUsers(t *testing.T) {
	b := newUsersBench(t, 2)
	first := b.pod("first", withOwnUsers)
	b.until("first", "ready", isReady)
	plain := b.pod("plain", nil)
	b.until("plain", "ready", isReady)
	has := b.usersFor(first)
	if has == nil || has.First < userns.Unit || b.usersFor(plain) != nil {
		t.Fatalf("the pods have %v and %v", has, b.usersFor(plain))
	}
	b.stop()
	b.start()
	second := b.pod("second", withOwnUsers)
	b.until("second", "ready", isReady)
	if now := b.usersFor(first); *now != *has {
		t.Errorf("the first pod has %v, it had %v", now, has)
	}
	if others := b.usersFor(second); others == nil || *others == *has {
		t.Errorf("the second pod has %v, the first %v", others, has)
	}
	// A third one waits, and says so, until one of them has ended.
	third := b.pod("third", withOwnUsers)
	b.until("third", "refused", func(*corev1.Pod) bool {
		return strings.Contains(b.events.last("FailedCreatePodSandBox"), "create user namespace: could not find an empty slot")
	})
	if err := b.client.Delete(t.Context(), first, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("first", "gone", func(p *corev1.Pod) bool { return p == nil })
	w := b.manager.worker(string(third.UID))
	w.send(func() { w.setupWait = backoff{} })
	b.until("third", "ready", isReady)
	if now := b.usersFor(third); now == nil || *now != *has {
		t.Errorf("the third pod has %v, not the first one's %v", now, has)
	}
}

// TestEndedPodsGiveUsersBack: what has run to its end needs its users no more, nor
// does a new agent keep them for it.
func TestEndedPodsGiveUsersBack(t *testing.T) {
	b := newUsersBench(t, 1)
	once := func(p *corev1.Pod) {
		withOwnUsers(p)
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	for _, name := range []string{"one", "two", "three"} {
		pod := b.pod(name, once)
		b.until(name, "ready", isReady)
		b.runtime.end(b.runtime.running("main"), 0)
		b.until(name, "over", phaseIs(corev1.PodSucceeded))
		b.awaitEnd(pod)
		if name == "two" {
			b.stop()
			b.start()
		}
	}
}

// TestNoUsers: a pod never has the node's users in place of its own.
func TestNoUsers(t *testing.T) {
	b := newStoreBench(t)
	b.users = func() *userns.Pool { return userns.Unavailable(errors.New("the kernel is too old")) }
	b.start()
	t.Cleanup(func() { b.stop() })
	b.pod("users", withOwnUsers)
	const want = "can't set `spec.hostUsers: false`, runtime does not support user namespaces: the kernel is too old"
	got := b.until("users", "refused a sandbox", func(*corev1.Pod) bool {
		return strings.Contains(b.events.last("FailedCreatePodSandBox"), want)
	})
	if got.Status.Phase != corev1.PodPending {
		t.Errorf("the pod is %s without a user namespace", got.Status.Phase)
	}
}

func TestOver(t *testing.T) {
	running, exited := runtime.ContainerStatus{State: runtime.StateRunning}, runtime.ContainerStatus{State: runtime.StateExited}
	tests := []struct {
		name       string
		sandbox    runtime.SandboxStatus
		containers []runtime.ContainerStatus
		want       bool
	}{
		{"runs", runtime.SandboxStatus{Ready: true, PausePid: 1, ShimPid: 2}, []runtime.ContainerStatus{running}, false},
		{"empty", runtime.SandboxStatus{Ready: true, PausePid: 1, ShimPid: 2}, nil, false},
		{"without its shim", runtime.SandboxStatus{}, []runtime.ContainerStatus{exited, running}, false},
		{"being stopped", runtime.SandboxStatus{PausePid: 1}, []runtime.ContainerStatus{exited}, false},
		{"stopped", runtime.SandboxStatus{}, []runtime.ContainerStatus{exited, exited}, true},
	}
	for _, tt := range tests {
		if got := over(tt.sandbox, tt.containers); got != tt.want {
			t.Errorf("%s: over = %v", tt.name, got)
		}
	}
}

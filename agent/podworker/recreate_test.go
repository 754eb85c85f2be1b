package podworker

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
)

// withRestartOn gives a container the rule that starts it again for an exit code.
func withRestartOn(c *corev1.Container, code int32) {
	never := corev1.ContainerRestartPolicyNever
	c.RestartPolicy = &never
	c.RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action: corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{
			Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{code},
		},
	}}
}

// forget sets a pod's status back to what the Store was told before it could not
// be reached.
func (b *bench) forget(name string, told *corev1.PodStatus) {
	b.t.Helper()
	pod := b.get(name)
	pod.Status = *told.DeepCopy()
	if err := b.client.UpdateStatus(b.t.Context(), pod); err != nil {
		b.t.Fatal(err)
	}
}

// holdCreation lets nothing be made any more. It returns what is told of the first
// container that was to be.
func (f *fakeRuntime) holdCreation() <-chan runtime.ContainerSpec {
	asked := make(chan runtime.ContainerSpec, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onCreate = func(ctx context.Context, spec runtime.ContainerSpec) error {
		select {
		case asked <- spec:
		default:
		}
		<-ctx.Done()
		return ctx.Err()
	}
	return asked
}

func (f *fakeRuntime) allowCreation() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onCreate = nil
}

// TestRecreatedWithoutItsAgent kills the agent while a container of a pod that is
// never restarted is made anew for a reason of its own, and the Store knows of none
// of that: the next agent goes on with it.
func TestRecreatedWithoutItsAgent(t *testing.T) {
	const code = 7
	reasons := []struct {
		name  string
		with  func(*corev1.Pod)
		begin func(b *bench)
	}{
		{"by a rule", func(p *corev1.Pod) { withRestartOn(&p.Spec.Containers[0], code) },
			func(b *bench) { b.runtime.end(b.runtime.running("main"), code) }},
		{"with its pod", func(p *corev1.Pod) { withRestartAll(&p.Spec.Containers[0]) },
			func(b *bench) { b.runtime.end(b.runtime.running("main"), restartAllCode) }},
		{"for its image", nil, func(b *bench) { b.changeImage("batch", "app:2") }},
	}
	moments := []struct {
		name string
		kill func(b *bench, uid string, begin func())
	}{
		{"before it is made", func(b *bench, _ string, begin func()) {
			asked := b.runtime.holdCreation()
			begin()
			<-asked
			b.stop()
		}},
		{"before it is started", func(b *bench, uid string, begin func()) {
			asked := b.runtime.holdCreation()
			begin()
			spec := <-asked
			b.stop()
			b.runtime.allowCreation()
			if err := b.runtime.CreateContainer(b.t.Context(), uid, spec); err != nil {
				b.t.Fatal(err)
			}
		}},
	}
	for _, reason := range reasons {
		for _, moment := range moments {
			t.Run(reason.name+" "+moment.name, func(t *testing.T) {
				b := newBench(t)
				pod := b.pod("batch", func(p *corev1.Pod) {
					p.Spec.RestartPolicy = corev1.RestartPolicyNever
					if reason.with != nil {
						reason.with(p)
					}
				})
				told := b.until("batch", "ready", isReady).Status.DeepCopy()
				moment.kill(b, string(pod.UID), func() { reason.begin(b) })
				b.runtime.allowCreation()
				b.forget("batch", told)
				b.start()
				got := b.until("batch", "started again, or ended", func(p *corev1.Pod) bool {
					return phaseIs(corev1.PodFailed)(p) || isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
				})
				if got.Status.Phase != corev1.PodRunning {
					t.Errorf("phase = %s: %+v", got.Status.Phase, got.Status.ContainerStatuses[0])
				}
				if n := b.runtime.count(); n > 1 {
					t.Errorf("%d containers are left", n)
				}
			})
		}
	}
}

// TestEndedToBeRecreated kills the agent once it has told a container to end that
// is to be started anew. That has ended when the next agent comes.
func TestEndedToBeRecreated(t *testing.T) {
	b := newBench(t)
	b.pod("batch", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	told := b.until("batch", "ready", isReady).Status.DeepCopy()
	b.runtime.ignoreTerm["main"] = true
	signalled := make(chan struct{})
	var once sync.Once
	b.runtime.mu.Lock()
	b.runtime.onSignal = func(string) { once.Do(func() { close(signalled) }) }
	b.runtime.mu.Unlock()
	id := b.runtime.running("main")
	b.runtime.holdCreation()
	b.changeImage("batch", "app:2")
	<-signalled
	b.stop()
	b.runtime.end(id, 0)
	b.runtime.allowCreation()
	b.forget("batch", told)
	b.start()
	got := b.until("batch", "started again, or ended", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if got.Status.Phase != corev1.PodRunning {
		t.Errorf("phase = %s: %+v", got.Status.Phase, got.Status.ContainerStatuses[0])
	}
}

// TestSandboxThatDiesEndsWhatRunsOnce has the sandbox die of pods that must not be
// restarted, or not all of whose containers must.
func TestSandboxThatDiesEndsWhatRunsOnce(t *testing.T) {
	for _, away := range []bool{false, true} {
		name := map[bool]string{false: "beside the agent", true: "while there is no agent"}[away]
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			once := b.pod("once", func(p *corev1.Pod) {
				p.Spec.RestartPolicy, p.Spec.Containers[0].Name = corev1.RestartPolicyNever, "job"
			})
			both := b.pod("both", func(p *corev1.Pod) {
				p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
				p.Spec.Containers[0].Name = "done"
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "again", Image: "app:1"})
			})
			b.until("once", "ready", isReady)
			b.until("both", "ready", isReady)
			b.runtime.end(b.runtime.running("done"), 0)
			b.until("both", "done in part", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].State.Terminated != nil })
			if away {
				b.stop()
			}
			for _, pod := range []*corev1.Pod{once, both} {
				b.runtime.killSandbox(string(pod.UID))
				if !away {
					b.runtime.onEvent(eventOf(string(pod.UID)))
				}
			}
			if away {
				b.start()
			}
			failed := b.until("once", "failed, or running again", func(p *corev1.Pod) bool {
				return phaseIs(corev1.PodFailed)(p) || p.Status.ContainerStatuses[0].RestartCount > 0
			})
			if cs := failed.Status.ContainerStatuses[0]; cs.RestartCount != 0 || cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 137 {
				t.Errorf("what must run once: %+v", cs)
			}
			got := b.until("both", "restarted", func(p *corev1.Pod) bool {
				return p.Status.ContainerStatuses[1].RestartCount == 1 && p.Status.ContainerStatuses[1].State.Running != nil
			})
			if cs := got.Status.ContainerStatuses[0]; cs.RestartCount != 0 || cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 0 {
				t.Errorf("what has succeeded: %+v", cs)
			}
			b.stop()
			got = got.DeepCopy()
			got.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
			b.nextKnows(got, "done")
		})
	}
}

// nextKnows has the next agent find that a container has ended well, whatever the Store
// was told.
func (b *bench) nextKnows(pod *corev1.Pod, container string) {
	b.t.Helper()
	found, err := b.manager.found(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	w := newWorker(b.t.Context(), b.manager, pod, false, nil)
	w.adopt(found[string(pod.UID)])
	if c := w.find(container); !c.succeeded() || c.attempt != 0 {
		b.t.Errorf("what has succeeded, for the next agent: %+v", c.current)
	}
}

// TestEndsThatABootLeaves boots the node of a pod of whose containers one has ended
// for good, as the Store was told.
func TestEndsThatABootLeaves(t *testing.T) {
	b := newBench(t)
	b.pod("both", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		p.Spec.Containers[0].Name = "done"
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "again", Image: "app:1"})
	})
	b.until("both", "ready", isReady)
	b.runtime.end(b.runtime.running("done"), 0)
	b.until("both", "done in part", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].State.Terminated != nil })
	b.stop()
	b.runtime.boot()
	b.start()
	got := b.until("both", "restarted", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[1].RestartCount == 1 && p.Status.ContainerStatuses[1].State.Running != nil
	})
	if cs := got.Status.ContainerStatuses[0]; cs.RestartCount != 0 || cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 0 {
		t.Errorf("what has succeeded: %+v", cs)
	}
}

// get returns a pod as the Store has it.
func (b *bench) get(name string) *corev1.Pod {
	b.t.Helper()
	pod := &corev1.Pod{}
	if err := b.client.Get(b.t.Context(), "default", name, pod); err != nil {
		b.t.Fatal(err)
	}
	return pod
}

// changeImage gives the first container of a pod another image.
func (b *bench) changeImage(name, image string) {
	b.t.Helper()
	pod := b.get(name)
	pod.Spec.Containers[0].Image = image
	if err := b.client.Update(b.t.Context(), pod); err != nil {
		b.t.Fatal(err)
	}
}

// killSandbox ends a sandbox with all that runs in it, and tells nobody.
func (f *fakeRuntime) killSandbox(uid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sandboxes[uid]
	s.Ready = false
	f.sandboxes[uid] = s
	for _, c := range f.containers {
		if c.status.PodUID == uid && c.status.State == runtime.StateRunning {
			c.status.State, c.status.ExitCode, c.status.FinishedAt, c.status.Reason = runtime.StateExited, 137, time.Now(), runtime.ReasonUnknown
			close(c.done)
		}
	}
}

// count returns how many containers there are.
func (f *fakeRuntime) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.containers)
}

// TestOldLogsOfWhatNeverRuns has a container's program be none, which counts as an
// attempt: the log of the last but one goes all the same.
func TestOldLogsOfWhatNeverRuns(t *testing.T) {
	b := newBench(t)
	pod := b.pod("web", nil)
	b.until("web", "ready", isReady)
	b.runtime.mu.Lock()
	b.runtime.onCreate = func(context.Context, runtime.ContainerSpec) error { return runtime.ErrCommand }
	b.runtime.mu.Unlock()
	log := func(attempt uint32) string {
		return b.manager.logPath("default", "web", string(pod.UID), "main", attempt)
	}
	writeFile(t, log(0), "of the first attempt")
	writeFile(t, log(1), "of the second attempt")
	w := newWorker(t.Context(), b.manager, pod, false, nil)
	_, _, err := w.create(t.Context(), launchInput{
		pod: pod, spec: &pod.Spec.Containers[0], attempt: 2, sandbox: resolved(struct{}{}), attached: resolved(network.Attachment{}),
		volumes: resolved(volume.Volumes{}), devices: resolved(struct{}{}),
	})
	if _, ok := errors.AsType[*commandError](err); !ok {
		t.Fatalf("error = %v", err)
	}
	if _, err := os.Stat(log(0)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log of the first attempt: %v", err)
	}
	if _, err := os.Stat(log(1)); err != nil {
		t.Errorf("the log of the second attempt: %v", err)
	}
}

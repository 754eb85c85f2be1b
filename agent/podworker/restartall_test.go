package podworker

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const restartAllCode = 42

// withRestartAll gives a container the rule that restarts its whole pod.
func withRestartAll(c *corev1.Container) {
	never := corev1.ContainerRestartPolicyNever
	if c.RestartPolicy == nil {
		c.RestartPolicy = &never
	}
	c.RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action: corev1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{
			Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{restartAllCode},
		},
	}}
}

// restartAllPod makes a pod of an init container, a sidecar and two containers that
// is never restarted but for the rule of one of them.
func restartAllPod(source string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{
			{Name: "init", Image: "app:1"},
			{Name: "sidecar", Image: "app:1", RestartPolicy: &always},
		}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "app:1", Lifecycle: &corev1.Lifecycle{
			PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"save"}}},
		}})
		for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range list {
				if list[i].Name == source {
					withRestartAll(&list[i])
				}
			}
		}
	}
}

// restartCounts returns how often each container has been restarted.
func restartCounts(p *corev1.Pod) map[string]int32 {
	counts := make(map[string]int32)
	for _, cs := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		counts[cs.Name] = cs.RestartCount
	}
	return counts
}

func restartedTimes(n int32) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		if !isReady(p) {
			return false
		}
		for _, count := range restartCounts(p) {
			if count != n {
				return false
			}
		}
		return true
	}
}

func runsInit(p *corev1.Pod) bool {
	return p != nil && len(p.Status.InitContainerStatuses) > 0 && p.Status.InitContainerStatuses[0].State.Running != nil
}

// runRestartAllPod has the pod run.
func (b *bench) runRestartAllPod(source string) *corev1.Pod {
	b.t.Helper()
	pod := b.pod("batch", restartAllPod(source))
	b.until("batch", "running its init container", runsInit)
	b.runtime.end(b.runtime.running("init"), 0)
	b.until("batch", "ready", isReady)
	return pod
}

func TestRestartAllContainers(t *testing.T) {
	for _, source := range []string{"main", "sidecar"} {
		t.Run(source, func(t *testing.T) {
			b := newBench(t)
			var hooks atomic.Bool
			b.runtime.exec = func(string, []string) (int, error) { hooks.Store(true); return 0, nil }
			// While this holds the killed container the restart is under way.
			killed, hold := make(chan string, 10), make(chan struct{})
			b.runtime.onSignal = func(id string) { killed <- id; <-hold }
			pod := b.runRestartAllPod(source)
			b.runtime.end(b.runtime.running(source), restartAllCode)
			<-killed
			b.until("batch", "told to be restarted", func(p *corev1.Pod) bool {
				c := findCondition(&p.Status, corev1.AllContainersRestarting)
				return c != nil && c.Status == corev1.ConditionTrue
			})
			close(hold)
			got := b.until("batch", "running its init container again", runsInit)
			if got.Status.Phase != corev1.PodPending {
				t.Errorf("phase = %s", got.Status.Phase)
			}
			if c := findCondition(&got.Status, corev1.PodInitialized); c == nil || c.Status != corev1.ConditionTrue {
				t.Errorf("initialized = %v", c)
			}
			if c := findCondition(&got.Status, corev1.AllContainersRestarting); c == nil || c.Status != corev1.ConditionFalse {
				t.Errorf("restarting = %v", c)
			}
			b.runtime.end(b.runtime.running("init"), 0)
			got = b.until("batch", "restarted", restartedTimes(1))
			if got.UID != pod.UID || got.Status.Phase != corev1.PodRunning {
				t.Errorf("pod = %s, phase = %s", got.UID, got.Status.Phase)
			}
			for _, cs := range got.Status.ContainerStatuses {
				last := cs.LastTerminationState.Terminated
				switch {
				case last == nil:
					t.Errorf("how %s ended is not told", cs.Name)
				case cs.Name == source && last.ExitCode != restartAllCode, cs.Name == "other" && last.Reason != "RestartingAllContainers":
					t.Errorf("%s ended: %+v", cs.Name, last)
				}
			}
			if hooks.Load() {
				t.Error("a preStop hook was run")
			}
		})
	}
}

// TestRestartAllFromInit has an init container ask for it, which then fails: the
// pod that is never restarted has failed.
func TestRestartAllFromInit(t *testing.T) {
	b := newBench(t)
	b.pod("batch", restartAllPod("init"))
	b.until("batch", "running its init container", runsInit)
	b.runtime.end(b.runtime.running("init"), restartAllCode)
	b.until("batch", "running its init container again", func(p *corev1.Pod) bool {
		return runsInit(p) && restartCounts(p)["init"] == 1
	})
	b.runtime.end(b.runtime.running("init"), 1)
	got := b.until("batch", "failed", phaseIs(corev1.PodFailed))
	if c := findCondition(&got.Status, corev1.AllContainersRestarting); c == nil || c.Status != corev1.ConditionFalse || c.Reason != "PodFailed" {
		t.Errorf("restarting = %v", c)
	}
}

// TestRestartAllBacksOff asks for it again and again.
func TestRestartAllBacksOff(t *testing.T) {
	b := newBench(t)
	b.runRestartAllPod("main")
	b.runtime.end(b.runtime.running("main"), restartAllCode)
	b.until("batch", "running its init container again", runsInit)
	b.runtime.end(b.runtime.running("init"), 0)
	b.until("batch", "restarted", restartedTimes(1))
	b.runtime.end(b.runtime.running("main"), restartAllCode)
	got := b.until("batch", "backing off", func(p *corev1.Pod) bool {
		w := p.Status.ContainerStatuses[0].State.Waiting
		return w != nil && w.Reason == "CrashLoopBackOff"
	})
	if runsInit(got) || b.runtime.running("other") != "" {
		t.Errorf("it does not wait: %+v", got.Status)
	}
}

// TestRestartAllWithoutItsAgent kills the agent while the pod is restarted, before
// and after the containers have ended.
func TestRestartAllWithoutItsAgent(t *testing.T) {
	for _, tt := range []struct {
		name string
		kill func(b *bench)
	}{
		{"while containers are ended", func(b *bench) {
			killed := make(chan struct{})
			var once sync.Once
			var off atomic.Bool
			b.runtime.ignoreTerm["other"], b.runtime.ignoreTerm["sidecar"] = true, true
			b.runtime.onSignal = func(string) {
				if !off.Load() {
					once.Do(func() { close(killed) })
				}
			}
			b.runtime.end(b.runtime.running("main"), restartAllCode)
			<-killed
			off.Store(true)
			b.stop()
		}},
		{"while the init container runs again", func(b *bench) {
			b.runtime.end(b.runtime.running("main"), restartAllCode)
			b.until("batch", "running its init container again", runsInit)
			b.stop()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.runRestartAllPod("main")
			tt.kill(b)
			b.start()
			b.until("batch", "running its init container again", func(p *corev1.Pod) bool {
				return runsInit(p) && restartCounts(p)["init"] == 1 && b.runtime.running("other") == ""
			})
			b.runtime.end(b.runtime.running("init"), 0)
			got := b.until("batch", "restarted", isReady)
			if want := restartedTimes(1); !want(got) {
				t.Errorf("restarts = %v", restartCounts(got))
			}
		})
	}
}

// TestRestartAllAcrossBoot boots the node once the Store was told: what ran counts as
// restarted, and the pod that is never restarted does not fail.
func TestRestartAllAcrossBoot(t *testing.T) {
	b := newBench(t)
	b.runRestartAllPod("main")
	b.stop()
	b.runtime.boot()
	pod, _ := b.watch.Get("default", "batch")
	pod = pod.DeepCopy()
	setCondition(&pod.Status, corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionTrue}, pod.CreationTimestamp.Time)
	if err := b.client.UpdateStatus(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.until("batch", "running its init container again", func(p *corev1.Pod) bool {
		return runsInit(p) && restartCounts(p)["init"] == 1
	})
	b.runtime.end(b.runtime.running("init"), 0)
	b.until("batch", "restarted", restartedTimes(1))
}

// TestRestartAllBesideAMissingImage keeps telling what a container waits for.
func TestRestartAllBesideAMissingImage(t *testing.T) {
	b := newBench(t)
	b.pod("half", func(p *corev1.Pod) {
		withRestartAll(&p.Spec.Containers[0])
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "absent", ImagePullPolicy: corev1.PullNever})
	})
	lacks := func(p *corev1.Pod) bool {
		w := p.Status.ContainerStatuses[1].State.Waiting
		return w != nil && w.Reason == reasonNeverPull
	}
	b.until("half", "running in part", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 2 && p.Status.ContainerStatuses[0].State.Running != nil && lacks(p)
	})
	b.runtime.end(b.runtime.running("main"), restartAllCode)
	got := b.until("half", "restarted", func(p *corev1.Pod) bool {
		return restartCounts(p)["main"] == 1 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	if !lacks(got) {
		t.Errorf("the other container: %+v", got.Status.ContainerStatuses[1].State)
	}
}

func TestEphemeralContainersOutliveARestart(t *testing.T) {
	b := newBench(t)
	b.runRestartAllPod("main")
	debug := b.until("batch", "ready", isReady).DeepCopy()
	debug.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "app:1"}}}
	if err := b.client.UpdateSubresource(t.Context(), debug, "ephemeralcontainers"); err != nil {
		t.Fatal(err)
	}
	b.until("batch", "debugged", func(p *corev1.Pod) bool {
		return len(p.Status.EphemeralContainerStatuses) > 0 && p.Status.EphemeralContainerStatuses[0].State.Running != nil
	})
	id := b.runtime.running("debug")
	b.runtime.end(b.runtime.running("main"), restartAllCode)
	b.until("batch", "running its init container again", runsInit)
	b.stop()
	b.start()
	b.runtime.end(b.runtime.running("init"), 0)
	b.until("batch", "restarted", restartedTimes(1))
	if b.runtime.running("debug") != id {
		t.Error("the ephemeral container was ended")
	}
}

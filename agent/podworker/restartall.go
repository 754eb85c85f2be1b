package podworker

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

// A container whose end matches a restart rule with the action
// RestartAllContainers has its whole pod begin anew in place (KEP-5532): all
// containers are ended without their preStop hooks, and once none runs they are
// started as in a new pod, init containers first. Sandbox, network, volumes and
// devices stay, and so do ephemeral containers.
//
// Which attempts are from before the restart is read from the runtime, not from
// the Store: each container carries how often its pod had been restarted. So an
// agent that is killed at any moment neither forgets a restart nor does it twice.

const (
	// annotationRestarts is the annotation of a container in the runtime that says
	// how often its pod has been restarted in place before it was made.
	annotationRestarts = "navarch.dev/pod-restarts"
	// reasonRestartingAll is why containers have ended that were ended to restart
	// their pod.
	reasonRestartingAll = "RestartingAllContainers"
	// reasonRestartAllStarted is that of the condition AllContainersRestarting.
	reasonRestartAllStarted = "RestartAllContainersStarted"
)

// restartsAll says whether the container has ended so that its whole pod is to
// be restarted.
func (c *container) restartsAll() bool {
	return c.role != roleEphemeral && c.exited() && rulesRestartAll(c.spec.RestartPolicyRules, c.current.ExitCode)
}

func rulesRestartAll(rules []corev1.ContainerRestartRule, exitCode int) bool {
	r := matchingRule(rules, exitCode)
	return r != nil && r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
}

// restartAll begins to restart the whole pod when a container has ended so, ends
// the others, and then has all begin anew.
func (w *worker) restartAll(now time.Time) {
	if !w.restartingAll && !w.beginRestartAll(now) {
		return
	}
	busy := false
	for _, c := range w.containers {
		if c.role == roleEphemeral {
			continue
		}
		busy = busy || c.launching || c.running()
		if c.present {
			c.mustRestart = true
		}
		if c.running() && !c.stopping && !c.launching {
			w.endForRestart(c, now)
		}
	}
	if !busy {
		w.beginAnew()
	}
}

// beginRestartAll says whether a container has ended so that the pod is to be
// restarted. Its wait after failures becomes that of the pod.
func (w *worker) beginRestartAll(now time.Time) bool {
	for _, c := range w.containers {
		if !c.restartsAll() {
			continue
		}
		w.restartingAll = true
		if c.counted {
			continue
		}
		c.noteExit(now)
		w.event(c, corev1.EventTypeNormal, reasonRestartAllStarted, fmt.Sprintf(
			"Container %s exited with %d, all containers will be restarted", c.spec.Name, c.current.ExitCode))
	}
	return w.restartingAll
}

// endForRestart ends a container of a pod that is restarted: without its preStop
// hook and with hardly any time. One that is being ended already keeps the time
// that it was given.
func (w *worker) endForRestart(c *container, now time.Time) {
	w.killing(c)
	c.stopping, c.stopReason, c.ready, c.endedForRestart = true, "RestartAllContainers", false, true
	c.endProbes()
	ctx, id, signal := context.WithoutCancel(w.ctx), c.current.Spec.ID, signalOf(c.spec, c.current.Spec.Image.StopSignal)
	w.operate(func() func() {
		err := w.m.terminate(ctx, id, signal, now.Add(leastGrace))
		return func() { w.stopped(c, err) }
	})
}

// beginAnew has all containers start as in a new pod, after the wait that the
// one which asked for it has caused.
func (w *worker) beginAnew() {
	var until time.Time
	for _, c := range w.containers {
		if c.restartsAll() && !c.endedForRestart {
			until = later(until, c.restarts.until)
		}
	}
	for _, c := range w.containers {
		if c.role == roleEphemeral {
			continue
		}
		asked := c.restartsAll() && !c.endedForRestart
		if c.present { // else it waits for what it waited for
			w.retire(c)
			c.waitReason, c.waitMessage = "", ""
		}
		if c.endedForRestart {
			c.last.Reason = reasonRestartingAll
		}
		c.endedForRestart, c.mustRestart = false, false
		c.restarts.until = until
		if asked && until.After(time.Now()) {
			w.crashLoop(c)
		}
	}
	w.restarts++
	w.restartingAll, w.initialized = false, false
}

// reinitializing says that init containers run again, or are about to, in a pod
// that has been restarted.
func (w *worker) reinitializing() bool {
	if w.restarts == 0 || w.initialized {
		return false
	}
	for _, c := range w.containers {
		if c.role == roleInit && !w.passed(c) {
			return true
		}
	}
	return false
}

// judgeRestartingAll says whether the pod's containers are being ended to be
// restarted.
func (w *worker) judgeRestartingAll(s *corev1.PodStatus) verdict {
	switch {
	case s.Phase == corev1.PodSucceeded:
		return verdict{reason: "PodCompleted"}
	case s.Phase == corev1.PodFailed:
		return verdict{reason: "PodFailed"}
	case w.restartingAll:
		return verdict{ok: true, reason: reasonRestartAllStarted, message: "container exited with restart policy rule"}
	}
	return verdict{}
}

// restartsOf returns how often its pod had been restarted when a container was made.
func restartsOf(spec *runtime.ContainerSpec) int {
	n, err := strconv.Atoi(spec.Annotations[annotationRestarts])
	if err != nil || n < 0 {
		return 0 // made by an agent that knew of no restarts
	}
	return n
}

// adoptRestarts finds how often the pod has been restarted.
func (w *worker) adoptRestarts(found []runtime.ContainerStatus) {
	for _, st := range found {
		w.restarts = max(w.restarts, restartsOf(&st.Spec))
	}
	w.found = w.found || w.restarts > 0 // it may be Pending again
}

// adoptRetired takes over a container from before the pod's last restart: it has
// ended, and is to be started again.
func (w *worker) adoptRetired(c *container, st runtime.ContainerStatus) {
	c.current = st
	w.m.explainExit(c)
	w.retire(c)
	if st.ExitCode == 128+int(syscall.SIGTERM) || st.ExitCode == 128+int(syscall.SIGKILL) {
		c.last.Reason = reasonRestartingAll
	}
}

// toldToRestartAll says whether the Store was told that the pod is to be
// restarted, which is what a boot leaves of it.
func (w *worker) toldToRestartAll() bool {
	if c := findCondition(&w.pod.Status, corev1.AllContainersRestarting); c != nil && c.Status == corev1.ConditionTrue {
		return true
	}
	for _, c := range w.containers {
		if told := w.told(c); c.role != roleEphemeral && told != nil && told.State.Terminated != nil &&
			rulesRestartAll(c.spec.RestartPolicyRules, int(told.State.Terminated.ExitCode)) {
			return true
		}
	}
	return false
}

package podworker

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// step takes one look at what is wanted and what is, and begins what is
// missing. It never waits.
func (w *worker) step() {
	now := time.Now()
	operation := "sync"
	if w.phase == phaseNew {
		operation = "create"
	}
	defer func() { w.m.deps.Metrics.PodLookedAfter(operation, time.Since(now)) }()
	next := now.Add(time.Hour)
	soonest := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	w.followFence(now, soonest)
	if w.phase < phaseStopping && w.mustEnd(now) {
		w.beginStopping(now)
	}
	switch w.phase {
	case phaseNew:
		w.admit(now)
	case phaseRunning:
		w.setUp(now, soonest)
		w.resize(now, soonest)
		if !w.held() {
			w.runContainers(now, soonest)
		}
		w.watchStorage(now, soonest)
		if d := w.pod.Spec.ActiveDeadlineSeconds; d != nil {
			soonest(w.startTime.Add(time.Duration(*d) * time.Second))
		}
	case phaseStopping:
		w.stopContainers(now)
	case phaseOver:
		w.m.noteFenced(w.uid)
		if w.deleted || w.pod.DeletionTimestamp != nil {
			w.phase = phaseTearingDown
			w.tearDown(true)
		}
	}
	w.report(now, soonest)
	w.wakeAt(next)
}

// mustEnd says whether the pod is to be ended, and notes why.
func (w *worker) mustEnd(now time.Time) bool {
	if w.deleted || w.pod.DeletionTimestamp != nil || w.rejected != nil {
		return true
	}
	if w.phase == phaseNew && w.m.forbidden(w.pod, w.static) {
		w.deleted = true // it may run elsewhere, and the watch has yet to tell
		return true
	}
	if w.phase == phaseNew {
		return w.pod.Status.Phase == corev1.PodSucceeded || w.pod.Status.Phase == corev1.PodFailed
	}
	if d := w.pod.Spec.ActiveDeadlineSeconds; d != nil && !now.Before(w.startTime.Add(time.Duration(*d)*time.Second)) {
		w.rejected = &corev1.PodStatus{
			Phase: corev1.PodFailed, Reason: "DeadlineExceeded",
			Message: "Pod was active on the node longer than the specified deadline",
		}
		w.event(nil, corev1.EventTypeNormal, "DeadlineExceeded", w.rejected.Message)
		return true
	}
	return w.completed()
}

// completed says whether every container has ended for good.
func (w *worker) completed() bool {
	if w.restartingAll {
		return false
	}
	for _, c := range w.containers {
		switch c.role {
		case roleInit:
			if c.exited() && !c.succeeded() && !c.restartable(w.pod) {
				return true
			}
		case roleMain:
			if !c.exited() || c.restartable(w.pod) || c.launching {
				return false
			}
		}
	}
	return true
}

// runContainers starts the containers whose turn it is: init containers one
// after the other, then all the rest. None is started while all are being ended
// to be restarted.
func (w *worker) runContainers(now time.Time, soonest func(time.Time)) {
	if w.restartAll(now); w.restartingAll {
		return
	}
	for _, c := range w.containers {
		w.keepRunning(c, now, soonest)
		if !w.initialized && !w.passed(c) {
			return
		}
		if c.role == roleMain {
			w.initialized = true
		}
	}
}

// passed says whether the containers after c may begin.
func (w *worker) passed(c *container) bool {
	switch c.role {
	case roleInit:
		return c.succeeded()
	case roleSidecar:
		return c.running() && c.startedUp && c.settled
	}
	return true
}

// keepRunning starts one container if it should run and does not.
func (w *worker) keepRunning(c *container, now time.Time, soonest func(time.Time)) {
	switch {
	case c.running() && !c.stopping && !c.launching && (c.mustRestart || w.changed(c)):
		w.event(c, corev1.EventTypeNormal, "Killing",
			fmt.Sprintf("Container %s definition changed, will be restarted", c.spec.Name))
		c.mustRestart = true
		w.stopContainer(c, "ContainerChanged", w.podGrace())
		return
	case !c.idle():
		return
	case c.role == roleInit && (c.succeeded() || w.initialized):
		return
	case w.mustGrow():
		return // its pod's cgroup is raised first; that sends a letter
	case c.exited() && !c.mustRestart:
		c.noteExit(now)
		if !c.restartable(w.pod) {
			return
		}
	}
	if c.restarts.waiting(now) {
		if c.exited() {
			w.crashLoop(c)
		}
		soonest(c.restarts.until)
		return
	}
	if c.pulls.waiting(now) {
		soonest(c.pulls.until)
		return
	}
	if w.setupWait.waiting(now) {
		return
	}
	w.launch(c)
}

// crashLoop says that a container waits to be started again.
func (w *worker) crashLoop(c *container) {
	if c.waitReason == "CrashLoopBackOff" {
		return
	}
	c.waitReason = "CrashLoopBackOff"
	c.waitMessage = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
		c.restarts.last(), c.spec.Name, w.pod.Name, w.pod.Namespace, w.uid)
	w.event(c, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)",
		c.spec.Name, w.pod.Name, w.pod.Namespace, w.uid))
}

// changed says whether the container runs another image than it should.
func (w *worker) changed(c *container) bool {
	ran := c.current.Spec.Annotations[AnnotationImage]
	return ran != "" && ran != c.spec.Image
}

package podworker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/client"
)

const (
	// defaultGrace is a pod's grace period if it does not say.
	defaultGrace = 30 * time.Second
	// leastGrace is what a container gets even if it is deleted at once.
	leastGrace = time.Second
	// hookExtra is what a container gets to end after its preStop hook took all
	// of the grace period.
	hookExtra = 2 * time.Second
)

// podGrace returns how long the pod's containers have to end.
func (w *worker) podGrace() time.Duration {
	if s := w.pod.DeletionGracePeriodSeconds; s != nil && w.pod.DeletionTimestamp != nil {
		return max(time.Duration(*s)*time.Second, leastGrace)
	}
	if w.deleted {
		return leastGrace
	}
	grace := defaultGrace
	if s := w.pod.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	if w.evicted {
		grace = min(grace, w.evictionGrace)
	}
	return max(grace, leastGrace)
}

// beginStopping gives up whatever is being made and turns to ending the pod.
func (w *worker) beginStopping(now time.Time) {
	w.log.DebugContext(w.ctx, "ending the pod")
	w.phase = phaseStopping
	w.m.awaitNoMore(w.uid)
	w.cancelOps()
	w.endSpan()
	w.graceEnd = now.Add(w.podGrace())
	w.leaveServices()
	w.restartingAll = false
	for _, c := range w.containers {
		c.mustRestart = false
		c.endProbes()
	}
}

// stopContainers ends the pod's containers: main containers at once, then
// sidecars, the last first. When none runs, the pod is torn down.
func (w *worker) stopContainers(now time.Time) {
	grace := max(w.graceEnd.Sub(now), leastGrace)
	busy := false
	for _, c := range w.containers {
		busy = busy || c.launching
		if c.role == roleSidecar || !c.running() {
			continue
		}
		busy = true
		if !c.stopping {
			w.killing(c)
			w.stopContainer(c, "", grace)
		}
	}
	for i := len(w.containers) - 1; i >= 0 && !busy; i-- {
		c := w.containers[i]
		if !c.running() {
			continue
		}
		busy = true
		if !c.stopping {
			w.killing(c)
			w.stopContainer(c, "", grace)
		}
	}
	if !busy {
		w.phase = phaseTearingDown
		w.tearDown(w.deleted || w.pod.DeletionTimestamp != nil)
	}
}

func (w *worker) killing(c *container) {
	w.event(c, corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
}

// stopContainer ends one container: preStop hook, SIGTERM or the image's own
// signal once no new traffic comes, and SIGKILL when the grace period is over.
func (w *worker) stopContainer(c *container, reason string, grace time.Duration) {
	c.stopping, c.stopReason, c.ready = true, reason, false
	c.endProbes()
	id, spec, stopSignal := c.current.Spec.ID, c.spec, c.current.Spec.Image.StopSignal
	hook, field := w.hookTarget(c), c.fieldPath()
	ctx, left, again := context.WithoutCancel(w.ctx), w.left, c.mustRestart
	w.operate(func() func() {
		if again {
			w.m.noteRestart(ctx, id)
		}
		end := time.Now().Add(grace)
		if spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil {
			limited, cancel := context.WithDeadline(ctx, end)
			if err := hook.run(limited, spec.Lifecycle.PreStop); err != nil {
				w.m.deps.Events.EventAt(hook.pod, field, corev1.EventTypeWarning, "FailedPreStopHook", err.Error())
			}
			cancel()
			end = later(end, time.Now().Add(hookExtra))
		}
		if left != nil {
			<-left
		}
		err := w.m.terminate(ctx, id, signalOf(spec, stopSignal), end)
		return func() { w.stopped(c, err) }
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *Manager) terminate(ctx context.Context, id string, signal runtime.Signal, end time.Time) error {
	if err := m.deps.Runtime.SignalContainer(ctx, id, signal); err != nil && !errors.Is(err, runtime.ErrNotFound) {
		m.deps.Log.WarnContext(ctx, "a container could not be told to end", "container", id, "error", err)
	}
	graceful, cancel := context.WithDeadline(ctx, end)
	_, err := m.deps.Runtime.WaitExit(graceful, id)
	cancel()
	if err == nil || errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err := m.deps.Runtime.SignalContainer(ctx, id, syscall.SIGKILL); err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return fmt.Errorf("kill the container: %w", err)
	}
	killed, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := m.deps.Runtime.WaitExit(killed, id); err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return fmt.Errorf("wait for the killed container: %w", err)
	}
	return nil
}

func (w *worker) stopped(c *container, err error) {
	c.stopping = false
	if err != nil {
		w.log.WarnContext(w.ctx, "a container was not ended", "container", c.spec.Name, "error", err)
	}
	w.refresh(c.current.Spec.ID)
}

// signalOf returns the signal that asks a container to end.
func signalOf(spec *corev1.Container, imageSignal string) runtime.Signal {
	if spec.Lifecycle != nil && spec.Lifecycle.StopSignal != nil {
		imageSignal = string(*spec.Lifecycle.StopSignal)
	}
	if s, ok := parseSignal(imageSignal); ok {
		return s
	}
	return syscall.SIGTERM
}

// tearDown gives back what the pod used of the node. What remains if the pod
// stays in the Store is its containers' state and logs.
func (w *worker) tearDown(remove bool) {
	ctx, ref := context.WithoutCancel(w.ctx), w.ref()
	netns, sandbox, attached, volumes, devices := w.netns, w.sandbox, w.attached, w.volumes, w.devices
	images := maps.Clone(w.imageVolumes)
	w.operate(func() func() {
		// Who waits for another of them gives up before that one ends.
		settle(netns)
		settle(sandbox)
		settle(attached)
		settle(volumes)
		settle(devices)
		for _, mounted := range images {
			settle(mounted)
		}
		w.refreshing.Wait()
		err := w.m.tearDown(ctx, ref, remove)
		return func() { w.tornDown(ref.UID, remove, err) }
	})
}

func (w *worker) tornDown(uid string, removed bool, err error) {
	if err != nil {
		w.log.WarnContext(w.ctx, "the pod was not torn down, trying again", "error", err)
		w.event(nil, corev1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("error killing pod: %v", err))
		w.setupWait.failSlowly(time.Now())
		time.AfterFunc(min(w.setupWait.last(), 10*time.Second), func() { w.send(func() { w.tearDown(removed) }) })
		return
	}
	w.m.release(uid)
	w.netns, w.sandbox, w.attached, w.volumes, w.devices, w.imageVolumes = nil, nil, nil, nil, nil, nil
	w.phase = phaseOver
	if removed {
		w.finish()
	}
}

// finish writes the last status, removes the pod from the Store and ends the
// worker.
func (w *worker) finish() {
	if w.deleted || w.static {
		w.removeMirror()
		w.phase = phaseGone
		return
	}
	w.phase = phaseTearingDown // until the Store has answered
	pod, status := w.pod.DeepCopy(), w.makeStatus(time.Now())
	ctx := context.WithoutCancel(w.ctx)
	w.operate(func() func() {
		err := w.m.deleteFinally(ctx, pod, status)
		return func() {
			if err != nil {
				w.log.WarnContext(ctx, "the ended pod was not removed from the Store, trying again", "error", err)
				time.AfterFunc(time.Second, func() { w.send(w.finish) })
				return
			}
			w.phase = phaseGone
		}
	})
}

// deleteFinally tells the Store, and so whoever watches, how the pod's
// containers ended, and then that it has ended.
func (m *Manager) deleteFinally(ctx context.Context, pod *corev1.Pod, status *corev1.PodStatus) error {
	if !equality.Semantic.DeepEqual(status, &pod.Status) {
		if _, err := m.writeStatus(ctx, pod, status); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	zero := int64(0)
	err := m.deps.Client.Delete(ctx, pod, client.DeleteOptions{GracePeriodSeconds: &zero, UID: pod.UID})
	if err != nil && !gone(err) {
		return fmt.Errorf("delete the pod: %w", err)
	}
	return nil
}

// tearDown ends what is left of a pod on this node, in the order in which
// things depend on each other.
func (m *Manager) tearDown(ctx context.Context, ref podRef, remove bool) error {
	m.deps.Objects.Release(ref.UID)
	containers, err := m.deps.Runtime.ListContainers(ctx, ref.UID)
	if err != nil {
		return fmt.Errorf("list the pod's containers: %w", err)
	}
	if err := m.deps.Runtime.StopSandbox(ctx, ref.UID); err != nil {
		return fmt.Errorf("stop the sandbox: %w", err)
	}
	errs := []error{m.deps.Network.Detach(ctx, ref), m.unprepareDevices(ctx, ref.UID)}
	for _, c := range containers {
		errs = append(errs, m.deps.Images.Unmount(ctx, c.Spec.ID))
	}
	// Nothing of an ended pod uses its volumes, and the disk may be short.
	// subPaths, which may bind images, go before those.
	errs = append(errs, m.deps.Volumes.TearDown(ref.UID), m.unmountImageVolumes(ctx, ref.UID))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.releaseUsers(ref.UID)
	if !remove {
		return nil
	}
	if err := m.deps.Runtime.RemoveSandbox(ctx, ref.UID); err != nil {
		return fmt.Errorf("remove the sandbox: %w", err)
	}
	return m.removeLogs(ref)
}

package podworker

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/qos"

	"navarch.dev/navarch/agent/runtime"
)

const idPrefix = "runc://"

func idOf(containerID string) string { return strings.TrimPrefix(containerID, idPrefix) }

// makeStatus says what the pod is now, in full.
func (w *worker) makeStatus(now time.Time) *corev1.PodStatus {
	s := w.base().Status.DeepCopy()
	if w.rejected == nil && (s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed) {
		return s // it is over; there is no news of it
	}
	if !w.fencePending() {
		s.ObservedGeneration = w.base().Generation
	}
	if !w.startTime.IsZero() {
		t := metav1.NewTime(w.startTime).Rfc3339Copy()
		s.StartTime = &t
	}
	if s.QOSClass == "" {
		s.QOSClass = qos.ComputePodQOS(w.pod)
	}
	w.setAddresses(s)
	if w.startTime.IsZero() && w.rejected == nil {
		return s
	}
	w.setContainers(s)
	s.Phase, s.Reason, s.Message = w.podPhase(), "", ""
	if r := w.rejected; r != nil {
		s.Reason, s.Message = r.Reason, r.Message
	}
	w.setPodResources(s)
	w.setConditions(s, now)
	w.setResizeConditions(s, now)
	return s
}

// base is the object in the Store that the status belongs to.
func (w *worker) base() *corev1.Pod {
	if w.static && w.mirror != nil {
		return w.mirror
	}
	return w.pod
}

func (w *worker) setAddresses(s *corev1.PodStatus) {
	s.HostIPs = nil
	for i, ip := range w.m.cfg.HostIPs {
		if i == 0 {
			s.HostIP = ip
		}
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
	}
	ips := w.podIPs()
	if len(ips) == 0 {
		return // the last ones stay, as a pod that has ended keeps its address
	}
	s.PodIP, s.PodIPs = ips[0], nil
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
}

// podIPs returns the pod's addresses, none before it is connected.
func (w *worker) podIPs() []string {
	if w.attached == nil || !w.attached.finished() || w.attached.err != nil {
		return nil
	}
	if w.pod.Spec.HostNetwork {
		return w.m.cfg.HostIPs
	}
	var ips []string
	for _, ip := range w.attached.value.IPs {
		ips = append(ips, ip.String())
	}
	return ips
}

// podWithIPs returns the pod with the addresses that its fields refer to.
func (w *worker) podWithIPs() *corev1.Pod {
	pod := w.pod.DeepCopy()
	w.setAddresses(&pod.Status)
	return pod
}

func (w *worker) setContainers(s *corev1.PodStatus) {
	s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
	if w.turnedAway {
		return // it never had any, and kubectl shows the pod's reason then
	}
	for _, c := range w.containers {
		cs := w.containerStatus(c)
		switch c.role {
		case roleMain:
			cs.AllocatedResourcesStatus = w.m.deviceHealth(w.pod, c.spec)
			s.ContainerStatuses = append(s.ContainerStatuses, cs)
		case roleEphemeral:
			s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, cs)
		default:
			s.InitContainerStatuses = append(s.InitContainerStatuses, cs)
		}
	}
}

func (w *worker) containerStatus(c *container) corev1.ContainerStatus {
	cs := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.imageID, RestartCount: int32(c.attempt),
	}
	started := c.running() && c.startedUp && c.settled
	cs.Started = &started
	switch {
	case c.role == roleInit:
		cs.Ready = c.succeeded()
	default:
		cs.Ready = c.running() && c.ready && started
	}
	if c.last != nil {
		cs.LastTerminationState.Terminated = c.last.DeepCopy()
		cs.ContainerID = c.last.ContainerID
	}
	if c.present {
		cs.ContainerID = idPrefix + c.current.Spec.ID
		cs.User = userOf(c.current.Spec.User)
		if cs.ImageID == "" { // the container was made by an earlier agent
			cs.ImageID = w.imageIDBefore(cs.ContainerID, c.current.Spec.ImageID)
		}
	} else if c.attempt > 0 && c.last != nil {
		cs.RestartCount = int32(c.attempt) - 1 // the next attempt has not begun
	}
	cs.VolumeMounts = w.volumeMounts(c)
	w.setState(c, &cs)
	c.setResources(&cs)
	return cs
}

// userOf says as whom a container began.
func userOf(u *runtime.User) *corev1.ContainerUser {
	if u == nil {
		return nil // made by an agent that did not note it
	}
	out := &corev1.LinuxContainerUser{UID: int64(u.UID), GID: int64(u.GID)}
	for _, gid := range u.Groups {
		out.SupplementalGroups = append(out.SupplementalGroups, int64(gid))
	}
	return &corev1.ContainerUser{Linux: out}
}

// volumeMounts says how a container's volumes are mounted.
func (w *worker) volumeMounts(c *container) []corev1.VolumeMountStatus {
	var mounts []corev1.VolumeMountStatus
	for _, m := range c.spec.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			s.RecursiveReadOnly = new(corev1.RecursiveReadOnlyDisabled)
			if w.m.deps.Volumes.RecursiveReadOnly(m) {
				s.RecursiveReadOnly = new(corev1.RecursiveReadOnlyEnabled)
			}
		}
		mounts = append(mounts, s)
	}
	return mounts
}

// imageIDBefore returns what the Store says of the image of a container.
func (w *worker) imageIDBefore(containerID, otherwise string) string {
	s := &w.base().Status
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for _, cs := range list {
			if cs.ContainerID == containerID && cs.ImageID != "" {
				return cs.ImageID
			}
		}
	}
	return otherwise
}

// setState says in which of the three states a container is.
func (w *worker) setState(c *container, cs *corev1.ContainerStatus) {
	switch {
	case c.running():
		cs.State.Running = &corev1.ContainerStateRunning{StartedAt: stamp(c.current.StartedAt)}
	case c.exited() && c.waitReason == "":
		t := terminated(&c.current)
		cs.State.Terminated = &t
	case c.exited(): // it waits to be started again
		t := terminated(&c.current)
		cs.LastTerminationState.Terminated = &t
		cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: c.waitReason, Message: c.waitMessage}
	case c.last != nil && w.phase >= phaseStopping:
		cs.State.Terminated, cs.LastTerminationState.Terminated = c.last.DeepCopy(), nil
	case w.initialized && w.rejected == nil && c.role != roleInit && w.phase >= phaseOver:
		cs.State.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: 137, Reason: runtime.ReasonUnknown,
			Message: "The container could not be located when the pod was terminated",
		}
	default:
		cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: w.whyWaiting(c), Message: c.waitMessage}
	}
}

// The reasons for which containers wait while their pod is being made.
const (
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing" // in pods with init containers, which wait for this reason too
)

func (w *worker) whyWaiting(c *container) string {
	if c.waitReason != "" {
		return c.waitReason
	}
	return w.beingMade()
}

// beingMade is why a container waits that nothing is wrong with.
func (w *worker) beingMade() string {
	if slices.ContainsFunc(w.containers, func(c *container) bool { return c.role == roleInit || c.role == roleSidecar }) {
		return reasonInitializing
	}
	return reasonCreating
}

func terminated(st *runtime.ContainerStatus) corev1.ContainerStateTerminated {
	message := st.TerminationMessage
	if message == "" {
		message = st.Message
	}
	return corev1.ContainerStateTerminated{
		ExitCode: int32(st.ExitCode), Signal: 0, Reason: st.Reason, Message: message,
		StartedAt: stamp(st.StartedAt), FinishedAt: stamp(st.FinishedAt), ContainerID: idPrefix + st.Spec.ID,
	}
}

func stamp(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t).Rfc3339Copy()
}

// podPhase sums the containers' states up.
func (w *worker) podPhase() corev1.PodPhase {
	if w.rejected != nil && w.phase >= phaseOver {
		return w.rejected.Phase
	}
	var failed, alive, exited, mains int
	for _, c := range w.containers {
		switch c.role {
		case roleInit:
			if c.exited() && !c.succeeded() && !c.restartable(w.pod) {
				return corev1.PodFailed
			}
			if !w.initialized {
				continue
			}
		case roleMain:
			mains++
			switch {
			case c.running(), c.exited() && c.restartable(w.pod), !c.present && c.last != nil:
				alive++
			case c.exited():
				exited++
				if !c.succeeded() {
					failed++
				}
			}
		}
	}
	switch {
	case mains > 0 && exited == mains && w.over():
		if failed > 0 {
			return corev1.PodFailed
		}
		return corev1.PodSucceeded
	case alive+exited == mains && w.initialized:
		return corev1.PodRunning
	case w.base().Status.Phase == corev1.PodRunning && !w.reinitializing():
		return corev1.PodRunning // it goes back only when it is restarted as a whole
	}
	return corev1.PodPending
}

// over says that nothing of the pod runs: sidecars end after the rest.
func (w *worker) over() bool {
	for _, c := range w.containers {
		if c.running() {
			return false
		}
	}
	return true
}

// report makes the status and writes it if it has news.
func (w *worker) report(now time.Time, soonest func(time.Time)) {
	if w.unanswered && w.phase == phaseRunning {
		return // nobody shall take a resize for seen before it is answered; that sends a letter
	}
	if w.phase == phaseGone || w.deleted || w.phase == phaseTearingDown || w.static && w.mirror == nil {
		return
	}
	w.status = w.makeStatus(now)
	w.endStartSpan()
	if w.writing {
		return
	}
	if equality.Semantic.DeepEqual(w.status, w.knownStatus()) {
		w.keepOneStatus()
		return
	}
	if w.retryWrite.waiting(now) {
		soonest(w.retryWrite.until)
		return
	}
	if w.uneventful() || w.replacing() {
		if w.writeAfter.IsZero() {
			w.writeAfter = now.Add(statusHold)
		}
		if now.Before(w.writeAfter) {
			soonest(w.writeAfter)
			return
		}
	}
	w.write()
}

// knownStatus is what the Store has, as far as we know.
func (w *worker) knownStatus() *corev1.PodStatus {
	if w.written != nil {
		return w.written
	}
	return &w.base().Status
}

// keepOneStatus lets go of all but one of the equal copies of a status that the
// Store has: there is one of each pod, most of the time.
func (w *worker) keepOneStatus() {
	base := w.base()
	if w.written != nil && base.ResourceVersion == w.stored && equality.Semantic.DeepEqual(w.written, &base.Status) {
		w.written = nil
	}
	w.status = w.knownStatus()
}

// uneventful says that the status only says that the pod is being made.
func (w *worker) uneventful() bool {
	if w.status.Phase != corev1.PodPending || w.phase >= phaseStopping {
		return false
	}
	for _, c := range w.containers {
		if c.waitReason != "" && c.waitReason != w.beingMade() || c.present || c.last != nil {
			return false
		}
	}
	return true
}

// replacing says that a container is started anew because its specification has
// changed: it runs again before anybody needs to know, or fails to.
func (w *worker) replacing() bool {
	return w.phase == phaseRunning && !w.restartingAll && slices.ContainsFunc(w.containers, func(c *container) bool { return c.mustRestart })
}

func (w *worker) endStartSpan() {
	if w.spanEnded || w.status.Phase != corev1.PodRunning {
		return
	}
	if !w.ran && !w.found {
		w.ran = true
		w.m.deps.Metrics.PodRuns(w.seen, w.pod.CreationTimestamp.Time)
	}
	for _, c := range w.status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			_, s := w.m.deps.Tracer.Start(w.ctx, "agent.podReady")
			s.End()
			w.endSpan()
		}
	}
}

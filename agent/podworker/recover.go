package podworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
)

// recover finds what an earlier agent left: pods that are still wanted get
// workers that go on where theirs were, everything else is ended.
func (m *Manager) recover(ctx context.Context, static []*corev1.Pod) error {
	if err := m.deps.Runtime.Recover(ctx); err != nil {
		return fmt.Errorf("recover the runtime: %w", err)
	}
	found, err := m.found(ctx)
	if err != nil {
		return err
	}
	if err := m.recoverUsers(ctx, found); err != nil {
		return err
	}
	m.mu.Lock()
	wanted := make(map[string]*corev1.Pod)
	isStatic := make(map[string]bool)
	for _, pod := range m.deps.Pods.List() {
		if _, ok := pod.Annotations[mirrorAnnotation]; !ok {
			wanted[string(pod.UID)] = pod
		}
	}
	for _, pod := range static {
		wanted[string(pod.UID)], isStatic[string(pod.UID)] = pod, true
	}
	m.mu.Unlock()
	if err := m.removeOrphans(ctx, found, wanted); err != nil {
		return err
	}
	left := make(map[string]remains, len(wanted))
	for uid, pod := range wanted {
		left[uid] = remains{containers: found[uid]}
		if !isStatic[uid] {
			left[uid] = remains{containers: found[uid], given: m.recoverAllocation(ctx, pod)}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid := range found { // what runs keeps its place, whoever else asks
		if pod := wanted[uid]; pod != nil {
			m.granted[uid] = heldBy(left[uid].given.applied(pod))
			m.unfenced[uid] = true
		}
	}
	for uid, pod := range wanted {
		if pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			m.unsettled[uid] = true
		}
		m.start(pod, isStatic[uid], left[uid])
	}
	m.running = true
	m.tellFenced()
	m.lookForOrphans()
	// What changed while this went on, and the mirrors, which have no worker.
	for _, pod := range m.deps.Pods.List() {
		if _, ok := pod.Annotations[mirrorAnnotation]; ok {
			m.mirrorChanged(pod)
		} else {
			m.ensure(pod)
		}
	}
	for uid, w := range m.workers {
		if _, ok := m.deps.Pods.Get(w.pod.Namespace, w.pod.Name); !ok && !isStatic[uid] {
			go w.send(func() { w.deleted = true })
		}
	}
	return nil
}

// found returns the runtime's containers by pod; a pod with a sandbox but
// without containers is there, too.
func (m *Manager) found(ctx context.Context) (map[string][]runtime.ContainerStatus, error) {
	sandboxes, err := m.deps.Runtime.ListSandboxes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the sandboxes: %w", err)
	}
	found := make(map[string][]runtime.ContainerStatus)
	for _, s := range sandboxes {
		found[s.Spec.UID] = nil
	}
	containers, err := m.deps.Runtime.ListContainers(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list the containers: %w", err)
	}
	for _, c := range containers {
		found[c.PodUID] = append(found[c.PodUID], c)
	}
	for _, s := range sandboxes {
		found[s.Spec.UID] = withEnded(&s.Spec, found[s.Spec.UID])
	}
	return found, nil
}

// removeOrphans ends what belongs to no pod of this node any more.
func (m *Manager) removeOrphans(ctx context.Context, found map[string][]runtime.ContainerStatus, wanted map[string]*corev1.Pod) error {
	uids := make(map[string]bool)
	for uid := range found {
		uids[uid] = true
	}
	folders, err := m.deps.Volumes.Pods()
	if err != nil {
		return err
	}
	for _, uid := range slices.Concat(folders, m.podsWithDevices()) {
		uids[uid] = true
	}
	var errs []error
	for uid := range uids {
		if wanted[uid] != nil {
			continue
		}
		m.deps.Log.InfoContext(ctx, "ending a pod that is not wanted any more", "uid", uid)
		errs = append(errs, m.tearDown(ctx, m.orphanRef(ctx, uid), true))
	}
	errs = append(errs, m.unmountStray(ctx, found, wanted), m.removeStrayLogs(wanted))
	errs = append(errs, m.deps.Network.CollectGarbage(ctx, func(uid string) bool { return wanted[uid] != nil }))
	if err := errors.Join(errs...); err != nil {
		m.deps.Log.WarnContext(ctx, "not everything of pods that are gone was removed", "error", err)
	}
	return nil
}

func (m *Manager) orphanRef(ctx context.Context, uid string) podRef {
	ref := podRef{UID: uid}
	if s, err := m.deps.Runtime.SandboxStatus(ctx, uid); err == nil {
		ref.Namespace, ref.Name = s.Spec.Namespace, s.Spec.Name
	}
	return ref
}

// unmountStray unmounts root filesystems without a container: an agent that
// died between a mount and the container's creation leaves one.
func (m *Manager) unmountStray(ctx context.Context, found map[string][]runtime.ContainerStatus, wanted map[string]*corev1.Pod) error {
	ids, err := m.deps.Images.Mounts()
	if err != nil {
		return fmt.Errorf("list the mounted images: %w", err)
	}
	known := make(map[string]bool)
	for _, containers := range found {
		for _, c := range containers {
			known[c.Spec.ID] = true
		}
	}
	for uid, pod := range wanted {
		for i := range pod.Spec.Volumes {
			known[imageVolumePrefix(uid)+pod.Spec.Volumes[i].Name] = true
		}
	}
	var errs []error
	for _, id := range ids {
		if !known[id] {
			errs = append(errs, m.deps.Images.Unmount(ctx, id))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) removeStrayLogs(wanted map[string]*corev1.Pod) error {
	if m.cfg.LogsDir == "" {
		return nil
	}
	entries, err := os.ReadDir(m.cfg.LogsDir)
	if err != nil {
		return fmt.Errorf("list the logs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		parts := strings.SplitN(e.Name(), "_", 3)
		if len(parts) == 3 && wanted[parts[2]] == nil {
			errs = append(errs, m.removeLogs(podRef{Namespace: parts[0], Name: parts[1], UID: parts[2]}))
		}
	}
	return errors.Join(errs...)
}

// adopt continues with what an earlier agent left of the pod. It runs before
// the worker does.
func (w *worker) adopt(found []runtime.ContainerStatus) {
	w.adoptStatus()
	w.adoptRestarts(found)
	newest := make(map[string]runtime.ContainerStatus)
	for _, st := range found {
		have, ok := newest[st.Spec.Name]
		if ok && have.Spec.Attempt >= st.Spec.Attempt {
			have, st = st, have
		}
		newest[st.Spec.Name] = st
		if c := w.find(st.Spec.Name); c != nil && ok {
			t := terminated(&have)
			c.last, c.old = &t, append(c.old, have.Spec.ID)
		}
	}
	for _, c := range w.containers {
		st, ok := newest[c.spec.Name]
		switch {
		case ok && c.role != roleEphemeral && restartsOf(&st.Spec) < w.restarts:
			w.adoptRetired(c, st)
			continue
		case ok:
			w.adoptContainer(c, st)
		}
		if !c.present {
			w.adoptTold(c)
		}
	}
	w.adoptSandbox()
	w.adoptResize()
}

// adoptResize goes on with a resize that an earlier agent began, and with its
// answer to one that it did not grant.
func (w *worker) adoptResize() {
	if w.static {
		return
	}
	if c := findCondition(&w.pod.Status, corev1.PodResizePending); c != nil && w.pod != w.desired {
		w.refused = &refusedResize{refusal: refusal{c.Reason, c.Message}, generation: c.ObservedGeneration, since: c.LastTransitionTime.Time}
	}
	c := findCondition(&w.pod.Status, corev1.PodResizeInProgress)
	updates, restarts := w.outgrown()
	if c == nil && len(updates)+len(restarts) == 0 && (w.sandbox == nil || w.cgroup == podResources(w.pod)) {
		return
	}
	w.resizing = &resizing{generation: w.pod.Generation, saved: true}
	if c != nil {
		w.resizing.generation = c.ObservedGeneration
	}
}

// adoptContainer takes a container over. One that was only created is
// started over: whether its start was under way cannot be known.
func (w *worker) adoptContainer(c *container, st runtime.ContainerStatus) {
	if st.State == runtime.StateCreated {
		c.attempt, c.unborn = st.Spec.Attempt, st.Spec.ID
		return
	}
	c.present, c.current, c.settled = true, st, true
	c.mustRestart = toBeRestarted(&st.Spec)
	c.attempt, c.imageID, c.waitReason, c.waitMessage = st.Spec.Attempt, st.Spec.ImageID, "", ""
	if c.role == roleMain {
		w.initialized = true
	}
	c.has, c.size = c.spec.Resources, st.Spec.Resources
	if has, ok := resourcesIn(&st.Spec); ok {
		c.has = has
	}
	if c.size == (runtime.Resources{}) { // the runtime does not keep it
		c.size = resourcesOf(w.pod, &corev1.Container{Resources: c.has})
	}
	if st.State == runtime.StateRunning {
		c.startedUp = c.startedUp || c.spec.StartupProbe == nil
	}
	w.m.explainExit(c)
}

// adoptStatus continues with what the Store was told: restart counts and how
// containers ended.
func (w *worker) adoptStatus() {
	s := &w.pod.Status
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for _, cs := range list {
			c := w.find(cs.Name)
			if c == nil {
				continue
			}
			c.last = cs.LastTerminationState.Terminated.DeepCopy()
			c.imageID = cs.ImageID
			c.startedUp = cs.Started != nil && *cs.Started
			c.attempt = uint32(max(cs.RestartCount, 0))
			if cs.ContainerID != "" {
				c.attempt++
			}
		}
	}
}

// told returns what the Store was told of a container.
func (w *worker) told(c *container) *corev1.ContainerStatus {
	s := &w.pod.Status
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == c.spec.Name {
				return &list[i]
			}
		}
	}
	return nil
}

// adoptTold continues with what the Store was told of a container that the
// runtime does not have, or only as one that was never started.
func (w *worker) adoptTold(c *container) {
	told := w.told(c)
	switch {
	case told == nil:
	case c.unborn != "": // the one before has ended, and this one was to follow
		if end := told.State.Terminated; end != nil && len(c.old) == 0 {
			c.last = end.DeepCopy()
		}
	case told.State.Terminated != nil:
		w.adoptEnded(c, told)
	case told.State.Running != nil:
		c.lose(told)
		if c.role != roleEphemeral && (w.restarts > 0 || w.toldToRestartAll()) {
			w.retire(c) // it would have been started again
			c.last.Reason, c.old = reasonRestartingAll, nil
		}
	}
}

// adoptEnded continues with how a container has ended, as the Store was told. What
// has ended for good is not started again, though nothing of it is left.
func (w *worker) adoptEnded(c *container, told *corev1.ContainerStatus) {
	end := told.State.Terminated
	c.current = runtime.ContainerStatus{
		Spec: runtime.ContainerSpec{
			ID: strings.TrimPrefix(end.ContainerID, idPrefix), Name: c.spec.Name,
			Attempt: uint32(max(told.RestartCount, 0)), ImageID: told.ImageID,
		},
		State: runtime.StateExited, StartedAt: end.StartedAt.Time, FinishedAt: end.FinishedAt.Time,
		ExitCode: int(end.ExitCode), Reason: end.Reason, Message: end.Message,
	}
	c.present = true
	if !w.endedForGood(c) || c.role != roleEphemeral && w.toldToRestartAll() {
		c.present = false
		c.last = end.DeepCopy()
		return
	}
	c.settled, c.attempt = true, c.current.Spec.Attempt
}

// endedForGood says whether a container has ended and is not started again, not even
// with another sandbox: there init containers that succeeded run again.
func (w *worker) endedForGood(c *container) bool {
	return c.exited() && !c.restartable(w.pod) && (c.role != roleInit || !c.succeeded())
}

// lostExitCode stands for that of a container of which nothing is left: SIGKILL's.
const lostExitCode = 128 + 9

// lose notes that a container ran, as the Store was told, and that nothing of it
// is left: the machine has booted since. It has ended, though nobody saw it.
func (c *container) lose(told *corev1.ContainerStatus) {
	id := strings.TrimPrefix(told.ContainerID, idPrefix)
	c.present, c.settled = true, true
	c.current = runtime.ContainerStatus{
		Spec:      runtime.ContainerSpec{ID: id, Name: c.spec.Name, Attempt: uint32(max(told.RestartCount, 0)), ImageID: told.ImageID},
		State:     runtime.StateExited,
		StartedAt: told.State.Running.StartedAt.Time, FinishedAt: time.Now(),
		ExitCode: lostExitCode, Reason: runtime.ReasonUnknown,
		Message: "The container could not be located when the node came back.  The container used to be Running",
	}
	c.attempt = c.current.Spec.Attempt
}

// adoptSandbox takes the sandbox over if it is whole.
func (w *worker) adoptSandbox() {
	status, err := w.m.deps.Runtime.SandboxStatus(w.ctx, w.uid)
	if err != nil {
		return
	}
	a, attached := network.Attachment{}, w.pod.Spec.HostNetwork
	if !attached {
		a, attached, err = w.m.deps.Network.Attachment(w.uid)
	}
	if err != nil || !attached || !status.Ready {
		w.dropSandbox()
		return
	}
	w.sandbox, w.attached, w.netns = resolved(struct{}{}), resolved(a), resolved(a.NetNS)
	w.cgroup = status.Spec.Resources
	w.makeVolumes()
	for _, c := range w.containers {
		if c.running() {
			was := w.wasReady(c)
			w.beginProbes(c)
			c.ready = c.ready || was && c.startedUp
		}
	}
}

// wasReady says whether the Store was told that a container is ready: until
// its probe says otherwise it stays so.
func (w *worker) wasReady(c *container) bool {
	for _, list := range [][]corev1.ContainerStatus{w.pod.Status.InitContainerStatuses, w.pod.Status.ContainerStatuses} {
		for _, cs := range list {
			if cs.Name == c.spec.Name && cs.ContainerID == idPrefix+c.current.Spec.ID {
				return cs.Ready
			}
		}
	}
	return false
}

// dropSandbox removes a sandbox that is not whole, with its dead containers,
// so that all is made anew that has not ended for good.
func (w *worker) dropSandbox() {
	if w.mustStayOver() {
		return
	}
	if w.forsake() {
		w.remakeSandbox()
		w.cgroup = podResources(w.pod) // that of the next one
	}
}

// mustStayOver says that the pod has ended and its sandbox is gone for good.
func (w *worker) mustStayOver() bool {
	return w.pod.Status.Phase == corev1.PodSucceeded || w.pod.Status.Phase == corev1.PodFailed || w.pod.DeletionTimestamp != nil
}

package hollow

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

// CreateContainer implements runtime.Runtime. Of the specification only what
// names the container is kept.
func (r *hollowRuntime) CreateContainer(ctx context.Context, uid string, spec runtime.ContainerSpec) error {
	attempt := strconv.FormatUint(uint64(spec.Attempt), 10)
	if err := r.wait(ctx, r.cfg.StartLatency, "start", uid, spec.Name, attempt); err != nil {
		return err
	}
	if r.chance.happens(r.cfg.StartFailRate, "start-fail", uid, spec.Name, attempt) {
		r.counts.failed("start")
		return fmt.Errorf("%w: the hollow node was told to let starts fail (--start-fail-rate)", runtime.ErrCommand)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[uid]
	switch {
	case !ok:
		return fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
	case !s.ready:
		return fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotRunning)
	}
	r.add(&container{
		sandbox: s, id: spec.ID, name: spec.Name, imageID: spec.ImageID, attempt: spec.Attempt,
		annotations: spec.Annotations, resources: spec.Resources,
		state: runtime.StateCreated, createdAt: time.Now(), ended: make(chan struct{}),
	})
	return nil
}

// add puts a container in. The caller holds the lock.
func (r *hollowRuntime) add(c *container) {
	r.containers[c.id] = c
	c.sandbox.containers = append(c.sandbox.containers, c)
}

// StartContainer implements runtime.Runtime.
func (r *hollowRuntime) StartContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if c.state != runtime.StateCreated {
		return fmt.Errorf("start container %s, which is %s: %w", id, c.state, runtime.ErrInvalid)
	}
	c.startedAt = time.Now()
	r.run(c)
	return nil
}

// run makes a container run until its end, if it has one, which may have been
// missed. The caller holds the lock.
func (r *hollowRuntime) run(c *container) {
	c.state = runtime.StateRunning
	r.counts.containers.Inc()
	after, out, ends := r.fate(c)
	if !ends || r.closed {
		return
	}
	wait := max(0, time.Until(c.startedAt.Add(after)))
	c.end = time.AfterFunc(wait, func() { r.ends(c, out) })
}

// ends ends a container by itself.
func (r *hollowRuntime) ends(c *container, out outcome) {
	r.mu.Lock()
	running := c.state == runtime.StateRunning && !r.closed
	if running {
		r.finish(c, out)
	}
	event := runtime.Event{PodUID: c.sandbox.uid, ContainerID: c.id}
	r.mu.Unlock()
	if running && r.onEvent != nil {
		r.onEvent(event)
	}
}

// finish makes a container be over, if it runs. The caller holds the lock.
func (r *hollowRuntime) finish(c *container, out outcome) {
	c.stopTimer()
	if c.state != runtime.StateRunning {
		return
	}
	c.state, c.finishedAt = runtime.StateExited, time.Now()
	c.exitCode, c.reason, c.message = out.code, out.reason, out.message
	close(c.ended)
	if !r.closed {
		r.counts.containers.Dec()
	}
}

func (c *container) stopTimer() {
	if c.end != nil {
		c.end.Stop()
		c.end = nil
	}
}

// Annotations of pods, by which single workloads behave otherwise than the
// flags say.
const (
	// AnnotationRunTime is how long the containers of a pod run, a duration.
	AnnotationRunTime = "hollow.navarch.dev/run-time"
	// AnnotationExitCode is what they then end with.
	AnnotationExitCode = "hollow.navarch.dev/exit-code"
)

// fate returns after how long a container ends by itself, and how.
func (r *hollowRuntime) fate(c *container) (after time.Duration, out outcome, ends bool) {
	name := []string{c.sandbox.uid, c.name, strconv.FormatUint(uint64(c.attempt), 10)}
	crash, crashes := r.chance.within(r.cfg.CrashEvery, append([]string{"crash"}, name...)...)
	pod, ok := r.pod(c.sandbox.namespace, c.sandbox.name)
	if ok && string(pod.UID) == c.sandbox.uid {
		after, out, ends = r.ending(pod, c.name, name)
	}
	if crashes && (!ends || crash < after) {
		return crash, outcome{code: 1, reason: runtime.ReasonError, message: "the hollow node was told to let containers crash (--crash-every)"}, true
	}
	return after, out, ends
}

// ending returns after how long a container does what it is there for.
func (r *hollowRuntime) ending(pod *corev1.Pod, container string, name []string) (time.Duration, outcome, bool) {
	role, policy := roleOf(pod, container)
	after, code := r.chance.around(r.cfg.RunTime, r.cfg.LatencySpread, append([]string{"run"}, name...)...), 0
	ends := role == roleInit || role == roleMain && policy != corev1.RestartPolicyAlways
	if role == roleMain {
		if d, err := time.ParseDuration(pod.Annotations[AnnotationRunTime]); err == nil && d >= 0 {
			after, ends = d, true
		}
		if n, err := strconv.ParseUint(pod.Annotations[AnnotationExitCode], 10, 8); err == nil {
			code = int(n)
		}
	}
	return after, exits(code), ends
}

type role int

const (
	roleMain role = iota
	roleInit
	// roleOther are sidecars and ephemeral containers, which end with the pod.
	roleOther
)

// roleOf returns what a container is for, and when it is started again.
func roleOf(pod *corev1.Pod, name string) (role, corev1.RestartPolicy) {
	named := func(c corev1.Container) bool { return c.Name == name }
	if i := slices.IndexFunc(pod.Spec.InitContainers, named); i >= 0 {
		if p := pod.Spec.InitContainers[i].RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			return roleOther, ""
		}
		return roleInit, ""
	}
	i := slices.IndexFunc(pod.Spec.Containers, named)
	if i < 0 {
		return roleOther, ""
	}
	if p := pod.Spec.Containers[i].RestartPolicy; p != nil {
		return roleMain, corev1.RestartPolicy(*p)
	}
	return roleMain, pod.Spec.RestartPolicy
}

// SignalContainer implements runtime.Runtime: SIGKILL ends a container at once,
// any other signal after a while.
func (r *hollowRuntime) SignalContainer(_ context.Context, id string, signal runtime.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return err
	}
	wait := r.chance.around(r.cfg.StopLatency, r.cfg.LatencySpread, "stop", c.id)
	if signal == syscall.SIGKILL || wait <= 0 {
		r.finish(c, signalled(signal))
		return nil
	}
	if c.state == runtime.StateRunning && !r.closed {
		c.stopTimer()
		c.end = time.AfterFunc(wait, func() { r.ends(c, signalled(signal)) })
	}
	return nil
}

// WaitExit implements runtime.Runtime.
func (r *hollowRuntime) WaitExit(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	r.mu.Lock()
	c, err := r.container(id)
	r.mu.Unlock()
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	select {
	case <-c.ended:
		return r.ContainerStatus(ctx, id)
	case <-ctx.Done():
		return runtime.ContainerStatus{}, ctx.Err()
	}
}

// RemoveContainer implements runtime.Runtime.
func (r *hollowRuntime) RemoveContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil
	}
	r.finish(c, killed)
	delete(r.containers, id)
	c.sandbox.containers = slices.DeleteFunc(c.sandbox.containers, func(other *container) bool { return other == c })
	return nil
}

// ContainerStatus implements runtime.Runtime.
func (r *hollowRuntime) ContainerStatus(_ context.Context, id string) (runtime.ContainerStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	return c.status(), nil
}

// ListContainers implements runtime.Runtime.
func (r *hollowRuntime) ListContainers(_ context.Context, uid string) ([]runtime.ContainerStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []runtime.ContainerStatus
	if s, ok := r.sandboxes[uid]; ok {
		for _, c := range s.containers {
			all = append(all, c.status())
		}
		return all, nil
	}
	if uid != "" {
		return nil, nil
	}
	for _, c := range r.containers {
		all = append(all, c.status())
	}
	slices.SortFunc(all, func(a, b runtime.ContainerStatus) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all, nil
}

// ListSandboxes implements runtime.Runtime.
func (r *hollowRuntime) ListSandboxes(context.Context) ([]runtime.SandboxStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]runtime.SandboxStatus, 0, len(r.sandboxes))
	for _, s := range r.sandboxes {
		all = append(all, s.status())
	}
	slices.SortFunc(all, func(a, b runtime.SandboxStatus) int { return strings.Compare(a.Spec.UID, b.Spec.UID) })
	return all, nil
}

func (c *container) status() runtime.ContainerStatus {
	return runtime.ContainerStatus{
		PodUID: c.sandbox.uid,
		Spec: runtime.ContainerSpec{
			ID: c.id, Name: c.name, Attempt: c.attempt, ImageID: c.imageID, Annotations: c.annotations, Resources: c.resources,
		},
		State: c.state, CreatedAt: c.createdAt, StartedAt: c.startedAt, FinishedAt: c.finishedAt,
		ExitCode: c.exitCode, Reason: c.reason, Message: c.message,
	}
}

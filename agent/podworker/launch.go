package podworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
)

// Reasons of waiting containers that this package gives.
const (
	reasonConfigError  = "CreateContainerConfigError"
	reasonCreateError  = "CreateContainerError"
	reasonRunError     = "RunContainerError"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonPullBackOff  = "ImagePullBackOff"
	reasonPostStart    = "PostStartHookError"
	annotationPodImage = "navarch.dev/image-name"
)

// AnnotationImage is the annotation of a container in the runtime that says
// which image its specification named.
const AnnotationImage = "navarch.dev/image"

// launchError says why a container could not be started, in the word that
// users know.
type launchError struct {
	reason string
	image  *imageWish // that it waits for, if it does
	err    error
}

func (e *launchError) Error() string { return e.err.Error() }
func (e *launchError) Unwrap() error { return e.err }

// launchInput is what a launch takes from the worker's state, copied for it.
type launchInput struct {
	pod      *corev1.Pod
	spec     *corev1.Container
	role     role
	attempt  uint32
	restarts int      // how often the pod was restarted
	old      []string // ended attempts, to be removed once this one runs
	unborn   string   // one that was never started
	target   string   // the container to share processes with, if any
	targetID string
	sandbox  *future[struct{}]
	attached *future[network.Attachment]
	volumes  *future[volume.Volumes]
	images   map[string]*future[volume.Volume] // the image volumes among its mounts
	devices  *future[struct{}]
	after    <-chan struct{} // closed once the container before has been tried
	tried    chan struct{}
}

// launch begins to pull, create and start a container.
func (w *worker) launch(c *container) {
	if broken(w.sandbox) || broken(w.attached) || broken(w.volumes) || broken(w.devices) {
		return // it is being made anew; that sends a letter
	}
	c.launching, c.settled, c.counted = true, false, false
	if c.waitReason == "" || c.waitReason == "CrashLoopBackOff" {
		c.waitReason, c.waitMessage = w.beingMade(), ""
	}
	if c.present {
		w.retire(c)
	}
	in := launchInput{
		pod: w.podWithIPs(), spec: c.spec, role: c.role, attempt: c.attempt, restarts: w.restarts, target: c.target,
		old: slices.Clone(c.old), unborn: c.unborn,
		sandbox: w.sandbox, attached: w.attached, volumes: w.volumes, images: w.imageVolumesOf(c), devices: w.devices, after: w.before(c), tried: make(chan struct{}),
	}
	if t := w.find(c.target); t != nil && t.present {
		in.targetID = t.current.Spec.ID
	}
	c.launched = in.tried
	ctx := w.setupCtx
	w.operate(func() func() {
		defer close(in.tried)
		status, img, err := w.create(ctx, in)
		if err == nil {
			status, err = w.start(ctx, in, status.Spec.ID)
		}
		if err == nil {
			w.m.removeOld(context.WithoutCancel(ctx), in)
		}
		var command *commandError
		if errors.As(err, &command) {
			status, err = command.status(in), nil
		}
		if err != nil {
			return func() { w.launchFailed(c, err) }
		}
		return func() { w.started(c, in, status, img) }
	})
}

// before returns what closes once the container before c has been tried: main
// containers are started in their order.
func (w *worker) before(c *container) <-chan struct{} {
	var prior *container
	for _, other := range w.containers {
		if other == c {
			break
		}
		if other.role == roleMain {
			prior = other
		}
	}
	if c.role == roleMain && prior != nil && prior.launching {
		return prior.launched
	}
	return nil
}

// retire turns the current, ended attempt into the last one.
func (w *worker) retire(c *container) {
	t := terminated(&c.current)
	c.last = &t
	if c.current.Reason != runtime.ReasonStartError { // the runtime has none of those
		c.old = append(c.old, c.current.Spec.ID)
	}
	c.attempt = c.current.Spec.Attempt + 1
	c.present, c.ready, c.startedUp = false, false, false
	c.endProbes()
}

// create does all that comes before a container's first instruction.
func (w *worker) create(ctx context.Context, in launchInput) (runtime.ContainerStatus, image.Image, error) {
	var none runtime.ContainerStatus
	img, err := w.ensureImage(ctx, in)
	if err != nil {
		return none, img, err
	}
	if _, err := in.sandbox.wait(ctx); err != nil {
		return none, img, errors.Join(errSetup, err)
	}
	vols, err := in.volumes.wait(ctx)
	if err != nil {
		return none, img, errors.Join(errSetup, err)
	}
	if vols, err = in.withImages(ctx, vols); err != nil {
		return none, img, err
	}
	if _, err := in.devices.wait(ctx); err != nil {
		return none, img, errors.Join(errSetup, err)
	}
	if needsPodIP(in.spec) && !in.pod.Spec.HostNetwork {
		a, err := in.attached.wait(ctx)
		if err != nil {
			return none, img, errors.Join(errSetup, err)
		}
		in.pod = w.m.withIPs(in.pod, a.IPs)
	}
	w.m.makeRoom(ctx, in)
	id := runtime.NewID()
	spec, err := w.m.containerSpec(ctx, in, id, img, vols)
	if err == nil {
		err = w.m.createContainer(ctx, w.uid, spec)
	}
	if err != nil {
		return none, img, classifyCreate(in, id, err)
	}
	return runtime.ContainerStatus{Spec: runtime.ContainerSpec{ID: id}}, img, nil
}

// commandError says that a container's program cannot be run. That counts as
// an attempt which ended at once.
type commandError struct {
	id  string
	err error
}

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

// startErrorCode is the exit code of a program that could not be run.
const startErrorCode = 128

// status is that of the attempt.
func (e *commandError) status(in launchInput) runtime.ContainerStatus {
	now := time.Now()
	return runtime.ContainerStatus{
		Spec:  runtime.ContainerSpec{ID: e.id, Name: in.spec.Name, Attempt: in.attempt},
		State: runtime.StateExited, ExitCode: startErrorCode, Reason: runtime.ReasonStartError, Message: e.Error(),
		CreatedAt: now, FinishedAt: now,
	}
}

// errSetup says that what the containers share is not there; that is told by
// itself.
var errSetup = errors.New("the pod is not set up")

func classifyCreate(in launchInput, id string, err error) error {
	var known *launchError
	switch {
	case errors.Is(err, runtime.ErrRoot):
		return &launchError{reason: reasonConfigError, err: fmt.Errorf("container has runAsNonRoot and image will run as root (%s)", inPod(in.pod, in.spec))}
	case errors.Is(err, runtime.ErrCommand):
		return &commandError{id: id, err: err}
	case errors.As(err, &known), errors.Is(err, runtime.ErrShimDied), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, runtime.ErrInvalid):
		return &launchError{reason: reasonConfigError, err: err}
	}
	return &launchError{reason: reasonCreateError, err: err}
}

func (m *Manager) createContainer(ctx context.Context, podUID string, spec runtime.ContainerSpec) error {
	users, err := m.usersOf(ctx, podUID)
	if err != nil {
		return err
	}
	root, err := m.deps.Images.Mount(ctx, spec.ImageID, spec.ID, users)
	if err != nil {
		return fmt.Errorf("mount the image: %w", err)
	}
	spec.RootFS, spec.Image = root.Path, root.Config
	err = m.busy.run(ctx, func() error { return m.deps.Runtime.CreateContainer(ctx, podUID, spec) })
	if err != nil {
		return errors.Join(err, m.deps.Images.Unmount(context.WithoutCancel(ctx), spec.ID))
	}
	return nil
}

// removeContainer removes an old attempt; one that stays is removed with the
// pod.
func (m *Manager) removeContainer(ctx context.Context, id string) {
	err := errors.Join(m.deps.Runtime.RemoveContainer(ctx, id), m.deps.Images.Unmount(ctx, id))
	if err != nil {
		m.deps.Log.WarnContext(ctx, "an old container was not removed", "container", id, "error", err)
	}
}

// makeRoom removes the files that ended attempts have written, the log of the last
// but one, and all of one that was never started.
func (m *Manager) makeRoom(ctx context.Context, in launchInput) {
	if in.unborn != "" {
		m.removeContainer(ctx, in.unborn)
	}
	for _, id := range in.old {
		if err := m.deps.Images.Unmount(ctx, id); err != nil {
			m.deps.Log.WarnContext(ctx, "the files of an old container were not removed", "container", id, "error", err)
		}
	}
	m.removeOldLog(ctx, in)
}

// removeOld removes the attempts before one that runs. Until then the runtime tells
// the next agent how they ended, though the Store may not know: so no agent takes a
// container that was being made anew for lost.
func (m *Manager) removeOld(ctx context.Context, in launchInput) {
	for _, id := range in.old {
		m.removeContainer(ctx, id)
	}
}

// removeOldLog removes the log of the attempt before the last one.
func (m *Manager) removeOldLog(ctx context.Context, in launchInput) {
	if in.attempt < 2 || m.cfg.LogsDir == "" {
		return
	}
	old := m.logPath(in.pod.Namespace, in.pod.Name, string(in.pod.UID), in.spec.Name, in.attempt-2)
	rotated, _ := filepath.Glob(old + "*") // the pattern is well-formed
	for _, path := range rotated {
		if err := os.Remove(path); err != nil {
			m.deps.Log.WarnContext(ctx, "an old log was not removed", "file", path, "error", err)
		}
	}
}

// start runs a created container once the network is there.
func (w *worker) start(ctx context.Context, in launchInput, id string) (runtime.ContainerStatus, error) {
	_, err := in.attached.wait(ctx)
	if err == nil && in.after != nil {
		select {
		case <-in.after:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		w.m.removeContainer(context.WithoutCancel(ctx), id)
		return runtime.ContainerStatus{}, errors.Join(errSetup, err)
	}
	err = w.m.deps.Runtime.StartContainer(ctx, id)
	status, statusErr := w.m.deps.Runtime.ContainerStatus(ctx, id)
	if statusErr != nil {
		return status, errors.Join(err, statusErr)
	}
	if err != nil && status.State != runtime.StateExited {
		w.m.removeContainer(context.WithoutCancel(ctx), id)
		return status, &launchError{reason: reasonRunError, err: err}
	}
	return status, nil
}

// started notes that a container has been started, even if it has ended
// already.
func (w *worker) started(c *container, in launchInput, status runtime.ContainerStatus, img image.Image) {
	c.launching, c.mustRestart = false, false
	c.has, c.size = in.spec.Resources, resourcesOf(in.pod, in.spec)
	c.present, c.current = true, status
	c.attempt = status.Spec.Attempt
	c.waitReason, c.waitMessage = "", ""
	c.pulls = backoff{}
	c.unborn = ""
	if status.Reason != runtime.ReasonStartError {
		c.old = nil
	}
	c.imageID = imageID(img)
	if status.Reason == runtime.ReasonStartError {
		w.m.deps.Metrics.ContainerNotStarted(c.kind(), reasonRunError)
		w.usersProblem()
		w.event(c, corev1.EventTypeWarning, "Failed", "Error: "+status.Message)
		c.settled = true
		return
	}
	w.m.deps.Metrics.ContainerStarted(c.kind())
	w.event(c, corev1.EventTypeNormal, "Created", "Container created")
	w.event(c, corev1.EventTypeNormal, "Started", "Container started")
	c.settled = true
	if h := c.spec.Lifecycle; h != nil && h.PostStart != nil {
		c.settled = false
		w.postStart(c)
	}
	w.beginProbes(c)
	// An end in between has been missed: its event named an unknown container.
	w.refresh(status.Spec.ID)
}

// launchFailed notes why a container was not started.
func (w *worker) launchFailed(c *container, err error) {
	c.launching = false
	if w.setupCtx.Err() != nil || errors.Is(err, errSetup) {
		return
	}
	if errors.Is(err, runtime.ErrFenced) {
		c.waitReason, c.waitMessage = reasonFenced, err.Error()
		return // step tries again when the fence has opened
	}
	if errors.Is(err, runtime.ErrShimDied) || errors.Is(err, runtime.ErrNotFound) {
		w.sandboxLost()
		return
	}
	var known *launchError
	if !errors.As(err, &known) {
		known = &launchError{reason: reasonCreateError, err: err}
	}
	now := time.Now()
	c.waitMessage = known.err.Error()
	if known.image != nil {
		w.pullFailed(c, known, now)
		return
	}
	c.waitReason = known.reason
	w.m.deps.Metrics.ContainerNotStarted(c.kind(), known.reason)
	w.usersProblem()
	w.event(c, corev1.EventTypeWarning, "Failed", "Error: "+c.waitMessage)
	c.restarts.failSlowly(now)
}

package podworker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
)

// setUp begins what the pod's containers share: network, sandbox and volumes,
// all at once. What failed is begun again after a while.
func (w *worker) setUp(now time.Time, soonest func(time.Time)) {
	if w.setupWait.waiting(now) {
		soonest(w.setupWait.until)
		return
	}
	if w.sandbox == nil {
		w.makeSandbox()
	}
	if w.volumes == nil {
		w.makeVolumes()
	}
	if w.devices == nil {
		w.prepareDevices()
	}
}

// makeSandbox begins to make the namespace, and then on parallel lines the
// connection to the network and the sandbox. In a pod with users of its own the
// namespace belongs to the sandbox's, and so comes after it.
func (w *worker) makeSandbox() {
	pod, ctx, fence, ended := w.pod, w.setupCtx, w.wantFence(), w.endings()
	w.noteFence(fence)
	w.cgroup = podResources(pod)
	switch {
	case pod.Spec.HostNetwork:
		w.netns, w.attached = resolved(""), resolved(network.Attachment{})
		w.sandbox = begin(func() (struct{}, error) { return struct{}{}, w.m.createSandbox(ctx, pod, "", fence, ended) })
	case w.m.ownUsers(pod):
		w.m.deps.Metrics.OwnUsersStarted()
		w.usersFailed = false
		sandbox := begin(func() (struct{}, error) {
			if err := w.awaitNetwork(ctx, pod); err != nil {
				return struct{}{}, err
			}
			return struct{}{}, w.m.createSandbox(ctx, pod, "", fence, ended)
		})
		w.sandbox = sandbox
		w.netns = begin(func() (string, error) {
			if _, err := sandbox.wait(ctx); err != nil {
				return "", err
			}
			return w.m.adoptNamespace(ctx, w.uid)
		})
		w.attach(ctx, pod)
	default:
		netns := begin(func() (string, error) { return w.makeNamespace(ctx, pod) })
		w.netns = netns
		w.attach(ctx, pod)
		w.sandbox = begin(func() (struct{}, error) {
			path, err := netns.wait(ctx)
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, w.m.createSandbox(ctx, pod, path, fence, ended)
		})
	}
	sandbox, attached := w.sandbox, w.attached
	w.operate(func() func() {
		_, sandboxErr := sandbox.wait(ctx)
		_, networkErr := attached.wait(ctx)
		if sandboxErr != nil && errors.Is(networkErr, sandboxErr) {
			networkErr = nil // it is told once
		}
		return func() { w.sandboxMade(sandbox, errors.Join(sandboxErr, networkErr)) }
	})
}

// attach begins to connect the pod once its namespace is there.
func (w *worker) attach(ctx context.Context, pod *corev1.Pod) {
	netns, ref, ports := w.netns, w.ref(), hostPorts(pod)
	w.attached = begin(func() (network.Attachment, error) {
		if _, err := netns.wait(ctx); err != nil {
			return network.Attachment{}, err
		}
		a, err := span(ctx, w, "cni.add", func(ctx context.Context) (network.Attachment, error) {
			return w.m.deps.Network.Attach(ctx, ref, ports)
		})
		if err == nil {
			err = w.m.fillHosts(pod, a.IPs)
		}
		return a, err
	})
}

// awaitNetwork waits until pods can be connected, and writes the pod's hosts file.
func (w *worker) awaitNetwork(ctx context.Context, pod *corev1.Pod) error {
	select {
	case <-w.m.deps.Network.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	return w.m.writeHosts(pod, nil)
}

func (w *worker) makeNamespace(ctx context.Context, pod *corev1.Pod) (string, error) {
	if err := w.awaitNetwork(ctx, pod); err != nil {
		return "", err
	}
	return w.m.deps.Network.MakeNamespace(w.uid)
}

// sandboxMade notes how the making of the sandbox ended. After a failure all
// of it is taken away, to begin anew.
func (w *worker) sandboxMade(made *future[struct{}], err error) {
	if err == nil || w.sandbox != made || w.phase != phaseRunning {
		return
	}
	if w.setupCtx.Err() != nil {
		return
	}
	w.usersProblem()
	w.event(nil, corev1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
	w.log.WarnContext(w.ctx, "sandbox not made", "error", err)
	w.setupWait.failSlowly(time.Now())
	w.remakeSandbox()
}

// sandboxLost notes that the sandbox died under its containers: they are dead
// as well, and all of it is made anew.
func (w *worker) sandboxLost() {
	if w.phase != phaseRunning || w.sandbox == nil || !w.sandbox.finished() || w.sandbox.err != nil {
		return
	}
	for _, c := range w.containers {
		if c.present {
			w.refresh(c.current.Spec.ID)
		}
	}
	if w.forsake() {
		w.event(nil, corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
		w.remakeSandbox()
	}
}

// forsake gives the containers of a dead sandbox up, so that they begin anew with
// the next one, and says whether there is to be one: what has ended for good stays
// as it is, and a pod all of which has, or whose init container has failed for good,
// is over.
func (w *worker) forsake() bool {
	all := w.restartingAll || slices.ContainsFunc(w.containers, (*container).restartsAll)
	for _, c := range w.containers {
		if c.running() {
			w.endWithSandbox(c)
		}
	}
	if !all && w.completed() {
		return false
	}
	for _, c := range w.containers {
		if c.present && (all && c.role != roleEphemeral || !w.endedForGood(c)) {
			w.retire(c)
		}
	}
	w.initialized = false
	return true
}

// endWithSandbox notes the end of a container that is killed with its sandbox.
func (w *worker) endWithSandbox(c *container) {
	c.current.State, c.current.ExitCode, c.current.FinishedAt = runtime.StateExited, lostExitCode, time.Now()
	c.current.Reason, c.current.Message = runtime.ReasonUnknown, "the pod's sandbox died, and the container was killed"
	c.ready = false
	c.endProbes()
	w.m.deps.Metrics.ContainerEnded(c.kind(), lostExitCode, runtime.ReasonUnknown)
}

// remakeSandbox removes the sandbox; once that is done step begins it anew.
func (w *worker) remakeSandbox() {
	ref, ctx := w.ref(), context.WithoutCancel(w.ctx)
	netns, sandbox, attached := w.netns, w.sandbox, w.attached
	removal := begin(func() (struct{}, error) {
		settle(netns)
		settle(sandbox)
		settle(attached)
		err := errors.Join(w.m.deps.Runtime.RemoveSandbox(ctx, ref.UID), w.m.deps.Network.Detach(ctx, ref))
		return struct{}{}, errors.Join(errRemaking, err)
	})
	w.sandbox = removal
	w.operate(func() func() {
		settle(removal)
		return func() {
			w.log.InfoContext(ctx, "sandbox removed", "result", removal.err)
			if w.sandbox == removal {
				w.sandbox, w.attached, w.netns = nil, nil, nil
			}
		}
	})
}

var errRemaking = errors.New("the pod's sandbox is being made anew")

// makeVolumes begins to set the volumes up. What the pod refers to is retained before
// anything else begins: images are pulled beside the volumes, with the pod's secrets.
func (w *worker) makeVolumes() {
	pod, ctx := w.podWithIPs(), w.setupCtx
	changed := func() { w.send(w.refreshVolumes) }
	retained := w.m.deps.Objects.Retain(w.uid, objects.Of(pod), changed)
	w.volumes = begin(func() (volume.Volumes, error) {
		return span(ctx, w, "volumes.setup", func(ctx context.Context) (volume.Volumes, error) {
			if retained != nil {
				return nil, retained
			}
			return w.m.deps.Volumes.SetUp(ctx, pod)
		})
	})
	made := w.volumes
	w.operate(func() func() {
		_, err := made.wait(ctx)
		return func() { w.volumesMade(made, err) }
	})
}

func (w *worker) volumesMade(made *future[volume.Volumes], err error) {
	if err == nil || w.volumes != made || w.phase != phaseRunning || w.setupCtx.Err() != nil {
		return
	}
	w.event(nil, corev1.EventTypeWarning, "FailedMount", err.Error())
	w.setupWait.failSlowly(time.Now())
	w.setupWait.until = time.Now().Add(min(w.setupWait.delay, longestVolumeWait))
	w.volumes = nil
}

// longestVolumeWait bounds the wait for volumes: what is missing may come at
// any time. ConfigMaps and Secrets that come end it at once.
const longestVolumeWait = 20 * time.Second

// refreshVolumes brings projections up to date after their source changed.
func (w *worker) refreshVolumes() {
	if w.phase != phaseRunning {
		return
	}
	if w.volumes == nil {
		w.setupWait.until = time.Time{} // what was missing may be there now
		return
	}
	for _, c := range w.containers {
		if c.waitReason == reasonConfigError {
			c.restarts.until = time.Time{}
		}
	}
	if !w.volumes.finished() {
		return
	}
	pod, ctx := w.podWithIPs(), w.setupCtx
	w.refreshing.Add(1)
	w.operate(func() func() {
		defer w.refreshing.Done()
		_, err := w.m.deps.Volumes.SetUp(ctx, pod)
		return func() {
			if err != nil && ctx.Err() == nil {
				w.event(nil, corev1.EventTypeWarning, "FailedMount", err.Error())
			}
		}
	})
}

// span runs f in a span that is a child of the pod's start.
func span[T any](ctx context.Context, w *worker, name string, f func(context.Context) (T, error)) (T, error) {
	ctx, s := w.m.deps.Tracer.Start(ctx, name, trace.WithAttributes(podAttributes(w.key)...))
	defer s.End()
	v, err := f(ctx)
	if err != nil {
		s.RecordError(err)
		s.SetStatus(codes.Error, err.Error())
	}
	return v, err
}

// createSandbox makes a pod's sandbox, unless it is there. Containers that have ended
// before are noted with it.
func (m *Manager) createSandbox(ctx context.Context, pod *corev1.Pod, netns string, fence *runtime.Fence, ended []runtime.ContainerStatus) error {
	if pod.Spec.HostNetwork {
		if err := m.writeHosts(pod, nil); err != nil {
			return err
		}
	}
	spec, err := m.sandboxSpec(pod, netns)
	if err != nil {
		return err
	}
	if err := noteEnded(&spec, ended); err != nil {
		return err
	}
	spec.Fence = fence
	err = m.busy.run(ctx, func() error { return m.deps.Runtime.CreateSandbox(ctx, spec) })
	if errors.Is(err, runtime.ErrExists) {
		return nil
	}
	return err
}

// hostPorts returns the ports of the node that lead to the pod.
func hostPorts(pod *corev1.Pod) []network.HostPort {
	var ports []network.HostPort
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			for _, p := range c.Ports {
				if p.HostPort > 0 {
					ports = append(ports, network.HostPort{
						HostIP: p.HostIP, HostPort: p.HostPort, ContainerPort: p.ContainerPort, Protocol: p.Protocol,
					})
				}
			}
		}
	}
	return ports
}

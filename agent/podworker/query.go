package podworker

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ErrNoPod says that the node has no such pod, or the pod no such container.
var ErrNoPod = errors.New("not found on this node")

// ErrWaiting says that a container has not been started yet.
var ErrWaiting = errors.New("is waiting to start")

// PodInfo is what others need to know of a pod.
type PodInfo struct {
	UID string
	// NetNS is the pod's network namespace; empty is the node's own.
	NetNS string
	// Object is the pod with its status as it is now.
	Object *corev1.Pod
}

// ContainerInfo is what others need to know of a container.
type ContainerInfo struct {
	// PodUID is the pod's in the Store: that of a static pod's image.
	PodUID string
	Name   string
	// ID is the runtime's.
	ID      string
	Running bool
	// TTY and Stdin are as in the container's spec.
	TTY, Stdin bool
	// LogPath and PreviousLogPath are the logs of this attempt and of the one
	// before; the latter is empty if there was none.
	LogPath, PreviousLogPath string
}

// Pods returns the node's pods with their true state.
func (m *Manager) Pods(ctx context.Context) ([]*corev1.Pod, error) {
	workers := m.all()
	pods := make([]*corev1.Pod, 0, len(workers))
	for _, w := range workers {
		info, ok := ask(ctx, w, w.info)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if ok {
			pods = append(pods, info.Object)
		}
	}
	return pods, nil
}

// Pod returns one pod.
func (m *Manager) Pod(ctx context.Context, namespace, name string) (PodInfo, error) {
	w := m.named(namespace, name)
	if w == nil {
		return PodInfo{}, fmt.Errorf("pod %s/%s: %w", namespace, name, ErrNoPod)
	}
	info, ok := ask(ctx, w, w.info)
	if !ok {
		return PodInfo{}, fmt.Errorf("pod %s/%s: %w", namespace, name, ErrNoPod)
	}
	return info, ctx.Err()
}

// Container returns a pod's container; without a name, the one that the pod
// declares as its default, or the first.
func (m *Manager) Container(ctx context.Context, namespace, pod, name string) (ContainerInfo, error) {
	w := m.named(namespace, pod)
	if w == nil {
		return ContainerInfo{}, fmt.Errorf("pod %s/%s: %w", namespace, pod, ErrNoPod)
	}
	type answer struct {
		info ContainerInfo
		err  error
	}
	a, ok := ask(ctx, w, func() answer {
		info, err := w.containerInfo(name)
		return answer{info, err}
	})
	if !ok {
		return ContainerInfo{}, fmt.Errorf("pod %s/%s: %w", namespace, pod, ErrNoPod)
	}
	return a.info, errors.Join(a.err, ctx.Err())
}

// named returns the worker of a pod; of several, the one that is not ending.
func (m *Manager) named(namespace, name string) *worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	pod, known := m.deps.Pods.Get(namespace, name)
	if known {
		if w, ok := m.workers[string(pod.UID)]; ok {
			return w
		}
		if w, ok := m.workers[pod.Annotations[mirrorAnnotation]]; ok {
			return w
		}
	}
	for _, w := range m.workers {
		if w.key.Namespace == namespace && w.key.Name == name {
			return w
		}
	}
	return nil
}

// ask runs f in a worker and returns its answer. It fails if the worker has
// ended.
func ask[T any](ctx context.Context, w *worker, f func() T) (answer T, ok bool) {
	done := make(chan T, 1)
	select {
	case w.mail <- func() { done <- f() }:
	case <-w.ended:
		return answer, false
	case <-ctx.Done():
		return answer, false
	}
	select {
	case answer = <-done:
		return answer, true
	case <-w.ended:
		return answer, false
	case <-ctx.Done():
		return answer, false
	}
}

// info describes the pod, in the worker.
func (w *worker) info() PodInfo {
	pod := w.base().DeepCopy()
	pod.Status = *w.makeStatus(time.Now())
	info := PodInfo{UID: w.uid, Object: pod}
	if w.attached != nil && w.attached.finished() {
		info.NetNS = w.attached.value.NetNS
	}
	return info
}

func (w *worker) containerInfo(name string) (ContainerInfo, error) {
	if name == "" {
		name = w.pod.Annotations["kubectl.kubernetes.io/default-container"]
	}
	if name == "" && len(w.pod.Spec.Containers) > 0 {
		name = w.pod.Spec.Containers[0].Name
	}
	c := w.find(name)
	if c == nil {
		return ContainerInfo{}, fmt.Errorf("container %q of pod %s/%s: %w", name, w.pod.Namespace, w.pod.Name, ErrNoPod)
	}
	log := func(attempt uint32) string {
		return w.m.logPath(w.pod.Namespace, w.pod.Name, w.uid, name, attempt)
	}
	info := ContainerInfo{PodUID: string(w.base().UID), Name: name, TTY: c.spec.TTY, Stdin: c.spec.Stdin}
	if c.present {
		info.ID, info.Running = c.current.Spec.ID, c.running()
		info.LogPath = log(c.current.Spec.Attempt)
		if a := c.current.Spec.Attempt; a > 0 {
			info.PreviousLogPath = log(a - 1)
		}
		return info, nil
	}
	if c.last != nil && c.attempt > 0 {
		info.ID = idOf(c.last.ContainerID)
		info.LogPath, info.PreviousLogPath = log(c.attempt-1), log(c.attempt-1)
		return info, nil
	}
	return info, fmt.Errorf("container %q in pod %q %w: %s", name, w.pod.Name, ErrWaiting, w.whyWaiting(c))
}

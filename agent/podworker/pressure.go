package podworker

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/eviction"
	"navarch.dev/navarch/agent/runtime"
)

// Using implements eviction.Pods. The error tells of pods that could not be
// measured, and that are left out.
func (m *Manager) Using(ctx context.Context, s eviction.Signal) ([]eviction.Pod, error) {
	measure := m.diskOf
	if s == eviction.Memory || s == eviction.PIDs {
		measure = m.cgroupOf
	}
	var pods []eviction.Pod
	var errs []error
	for _, w := range m.all() {
		r, ok := ask(ctx, w, w.evictable)
		if !ok || r == nil {
			continue
		}
		used, err := measure(ctx, s, r)
		switch {
		case errors.Is(err, runtime.ErrNotFound): // it has ended meanwhile
		case err != nil:
			errs = append(errs, fmt.Errorf("measure pod %s/%s: %w", r.pod.Namespace, r.pod.Name, err))
		default:
			pods = append(pods, used)
		}
	}
	return pods, errors.Join(errs...)
}

// evictable is a pod that runs and may be ended, with its containers' IDs by
// their names.
type evictable struct {
	uid string
	pod *corev1.Pod
	ids map[string]string
}

// evictable returns nil for a pod that stays or is ending.
func (w *worker) evictable() *evictable {
	if w.phase != phaseRunning || w.rejected != nil || w.static {
		return nil
	}
	return &evictable{w.uid, w.pod, w.containerIDs()}
}

// cgroupOf measures what a pod has of the memory, or of process IDs.
func (m *Manager) cgroupOf(ctx context.Context, s eviction.Signal, e *evictable) (eviction.Pod, error) {
	used := eviction.Pod{Object: e.pod, Containers: make(map[string]int64)}
	total, err := m.deps.Runtime.SandboxUsage(ctx, e.uid)
	if err != nil {
		return used, err
	}
	used.Used = taken(s, total)
	for name, id := range e.ids {
		u, err := m.deps.Runtime.ContainerUsage(ctx, id)
		if err != nil && !errors.Is(err, runtime.ErrNotFound) {
			return used, err
		}
		used.Containers[name] = taken(s, u)
	}
	return used, nil
}

// taken is how much is used of what is short.
func taken(s eviction.Signal, u runtime.Usage) int64 {
	if s == eviction.PIDs {
		return int64(u.Pids)
	}
	return int64(u.MemoryWorkingSetBytes)
}

// diskOf measures what a pod has of the disk: its emptyDirs, what its containers
// wrote into their root filesystems, and their logs.
func (m *Manager) diskOf(ctx context.Context, s eviction.Signal, e *evictable) (eviction.Pod, error) {
	used := eviction.Pod{Object: e.pod, Containers: make(map[string]int64)}
	total, err := diskusage.Of(m.logDir(e.pod.Namespace, e.pod.Name, e.uid))
	if err != nil {
		return used, err
	}
	for i := range e.pod.Spec.Volumes {
		v := &e.pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault {
			continue
		}
		has, err := m.deps.Volumes.Usage(e.pod, v.Name)
		if err != nil {
			return used, err
		}
		total.Add(has)
	}
	for name, id := range e.ids {
		has, err := m.containerStorage(ctx, e.pod, name, id)
		if err != nil {
			return used, err
		}
		total.Add(has.written)
		has.written.Add(has.logs)
		used.Containers[name] = amountOf(s, has.written)
	}
	used.Used = amountOf(s, total)
	return used, nil
}

// amountOf is how much is had of what is short.
func amountOf(s eviction.Signal, u diskusage.Usage) int64 {
	if s == eviction.Inodes {
		return u.Inodes
	}
	return u.Bytes
}

// Evict implements eviction.Pods.
func (m *Manager) Evict(ctx context.Context, uid string, s eviction.Signal, message string, grace time.Duration) bool {
	w := m.worker(uid)
	if w == nil {
		return false
	}
	evicted, ok := ask(ctx, w, func() bool {
		if w.evictable() == nil {
			return false
		}
		w.evict(string(s), message, grace)
		w.disrupted = true
		return true
	})
	return ok && evicted
}

// Ended implements eviction.Pods.
func (m *Manager) Ended(ctx context.Context, uid string) bool {
	w := m.worker(uid)
	if w == nil {
		return true
	}
	over, ok := ask(ctx, w, func() bool { return w.phase >= phaseOver })
	return !ok || over
}

// all returns the workers of all pods.
func (m *Manager) all() []*worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	workers := make([]*worker, 0, len(m.workers))
	for _, w := range m.workers {
		workers = append(workers, w)
	}
	return workers
}

// worker returns a pod's worker, nil if it has none.
func (m *Manager) worker(uid string) *worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.workers[uid]
}

var _ eviction.Pods = (*Manager)(nil)

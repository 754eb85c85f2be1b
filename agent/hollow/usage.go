package hollow

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

const (
	// usedShare is the part of what it requests that a container uses all the time.
	usedShare = 0.5
	// leastCPU, in billionths of a CPU, and leastMemory, in bytes, are used by
	// containers that request nothing.
	leastCPU    = 1_000_000
	leastMemory = 8 << 20
)

// SandboxUsage implements runtime.Runtime: the sum of the containers'.
func (r *hollowRuntime) SandboxUsage(_ context.Context, uid string) (runtime.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[uid]
	if !ok {
		return runtime.Usage{}, fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
	}
	total := runtime.Usage{Time: time.Now()}
	for _, c := range s.containers {
		add(&total, r.usage(c, total.Time))
	}
	return total, nil
}

// ContainerUsage implements runtime.Runtime: a steady part of what the
// container requests.
func (r *hollowRuntime) ContainerUsage(_ context.Context, id string) (runtime.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return runtime.Usage{}, err
	}
	return r.usage(c, time.Now()), nil
}

// NodeUsage implements runtime.Runtime.
func (r *hollowRuntime) NodeUsage(context.Context) (runtime.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := runtime.Usage{Time: time.Now()}
	for _, c := range r.containers {
		add(&total, r.usage(c, total.Time))
	}
	return total, nil
}

// usage returns what a container uses now. The caller holds the lock.
func (r *hollowRuntime) usage(c *container, now time.Time) runtime.Usage {
	u := runtime.Usage{Time: now}
	if c.state != runtime.StateRunning {
		return u
	}
	cpu, memory := float64(leastCPU), float64(leastMemory)
	if pod, ok := r.pod(c.sandbox.namespace, c.sandbox.name); ok {
		requests := requestsOf(pod, c.name)
		cpu = max(cpu, usedShare*1e9*requests.Cpu().AsApproximateFloat64())
		memory = max(memory, usedShare*requests.Memory().AsApproximateFloat64())
	}
	u.CPUNanoseconds = uint64(max(0, now.Sub(c.startedAt).Seconds()) * cpu)
	u.MemoryBytes, u.MemoryWorkingSetBytes, u.MemoryRSSBytes, u.Pids = uint64(memory), uint64(memory), uint64(memory), 1
	return u
}

func requestsOf(pod *corev1.Pod, container string) corev1.ResourceList {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == container {
				return list[i].Resources.Requests
			}
		}
	}
	return nil
}

func add(total *runtime.Usage, u runtime.Usage) {
	total.CPUNanoseconds += u.CPUNanoseconds
	total.MemoryBytes += u.MemoryBytes
	total.MemoryWorkingSetBytes += u.MemoryWorkingSetBytes
	total.MemoryRSSBytes += u.MemoryRSSBytes
	total.Pids += u.Pids
}

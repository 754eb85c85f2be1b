package metrics

import (
	"context"
	"time"

	"navarch.dev/navarch/agent/runtime"
)

// Runtime returns rt with its calls counted, by the names that kubelets give the
// calls of a container runtime.
func (m *Metrics) Runtime(rt runtime.Runtime) runtime.Runtime {
	if m == nil {
		return rt
	}
	return countedRuntime{rt, m}
}

type countedRuntime struct {
	runtime.Runtime
	metrics *Metrics
}

// count runs a call and counts it.
func (r countedRuntime) count(operation string, call func() error) error {
	begun := time.Now()
	err := call()
	r.metrics.operations.WithLabelValues(operation).Inc()
	r.metrics.operationDuration.WithLabelValues(operation).Observe(time.Since(begun).Seconds())
	if err != nil {
		r.metrics.operationErrors.WithLabelValues(operation).Inc()
	}
	return err
}

// handler is that of a pod without a RuntimeClass: there is no other.
const handler = ""

// CreateSandbox implements runtime.Runtime.
func (r countedRuntime) CreateSandbox(ctx context.Context, spec runtime.SandboxSpec) error {
	begun := time.Now()
	r.metrics.startedPods.Inc()
	err := r.count("run_podsandbox", func() error { return r.Runtime.CreateSandbox(ctx, spec) })
	r.metrics.sandboxDuration.WithLabelValues(handler).Observe(time.Since(begun).Seconds())
	if err != nil {
		r.metrics.failedPods.Inc()
		r.metrics.sandboxErrors.WithLabelValues(handler).Inc()
	}
	return err
}

// StopSandbox implements runtime.Runtime.
func (r countedRuntime) StopSandbox(ctx context.Context, podUID string) error {
	return r.count("stop_podsandbox", func() error { return r.Runtime.StopSandbox(ctx, podUID) })
}

// RemoveSandbox implements runtime.Runtime.
func (r countedRuntime) RemoveSandbox(ctx context.Context, podUID string) error {
	return r.count("remove_podsandbox", func() error { return r.Runtime.RemoveSandbox(ctx, podUID) })
}

// CreateContainer implements runtime.Runtime.
func (r countedRuntime) CreateContainer(ctx context.Context, podUID string, spec runtime.ContainerSpec) error {
	return r.count("create_container", func() error { return r.Runtime.CreateContainer(ctx, podUID, spec) })
}

// StartContainer implements runtime.Runtime.
func (r countedRuntime) StartContainer(ctx context.Context, id string) error {
	return r.count("start_container", func() error { return r.Runtime.StartContainer(ctx, id) })
}

// SignalContainer implements runtime.Runtime.
func (r countedRuntime) SignalContainer(ctx context.Context, id string, signal runtime.Signal) error {
	return r.count("stop_container", func() error { return r.Runtime.SignalContainer(ctx, id, signal) })
}

// RemoveContainer implements runtime.Runtime.
func (r countedRuntime) RemoveContainer(ctx context.Context, id string) error {
	return r.count("remove_container", func() error { return r.Runtime.RemoveContainer(ctx, id) })
}

// UpdateContainerResources implements runtime.Runtime.
func (r countedRuntime) UpdateContainerResources(ctx context.Context, id string, res runtime.Resources, annotations map[string]string) error {
	return r.count("update_container", func() error { return r.Runtime.UpdateContainerResources(ctx, id, res, annotations) })
}

// UpdateSandboxResources implements runtime.Runtime.
func (r countedRuntime) UpdateSandboxResources(ctx context.Context, podUID string, res runtime.Resources) error {
	return r.count("update_podsandbox_resources", func() error { return r.Runtime.UpdateSandboxResources(ctx, podUID, res) })
}

// ContainerStatus implements runtime.Runtime.
func (r countedRuntime) ContainerStatus(ctx context.Context, id string) (status runtime.ContainerStatus, err error) {
	err = r.count("container_status", func() error {
		status, err = r.Runtime.ContainerStatus(ctx, id)
		return err
	})
	return status, err
}

// SandboxStatus implements runtime.Runtime.
func (r countedRuntime) SandboxStatus(ctx context.Context, podUID string) (status runtime.SandboxStatus, err error) {
	err = r.count("podsandbox_status", func() error {
		status, err = r.Runtime.SandboxStatus(ctx, podUID)
		return err
	})
	return status, err
}

// Exec implements runtime.Runtime.
func (r countedRuntime) Exec(ctx context.Context, id string, o runtime.ExecOptions) (code int, err error) {
	err = r.count("exec", func() error {
		code, err = r.Runtime.Exec(ctx, id, o)
		return err
	})
	return code, err
}

// Attach implements runtime.Runtime.
func (r countedRuntime) Attach(ctx context.Context, id string, o runtime.AttachOptions) error {
	return r.count("attach", func() error { return r.Runtime.Attach(ctx, id, o) })
}

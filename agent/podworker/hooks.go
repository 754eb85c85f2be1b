package podworker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/probe"
	"navarch.dev/navarch/agent/runtime"
)

// hookTarget is a container that hooks are run for.
type hookTarget struct {
	pod    *corev1.Pod
	target probe.Target
}

func (w *worker) hookTarget(c *container) hookTarget {
	pod := w.podWithIPs()
	id := c.current.Spec.ID
	return hookTarget{pod: pod, target: probe.Target{
		PodIP: pod.Status.PodIP, Ports: c.spec.Ports,
		Exec: func(ctx context.Context, command []string, out io.Writer) (int, error) {
			return w.m.deps.Runtime.Exec(ctx, id, runtime.ExecOptions{Command: command, Stdout: out, Stderr: out})
		},
	}}
}

// run runs a hook to its end.
func (h hookTarget) run(ctx context.Context, hook *corev1.LifecycleHandler) error {
	switch {
	case hook.Exec != nil:
		var out bytes.Buffer
		code, err := h.target.Exec(ctx, hook.Exec.Command, &out)
		if err != nil {
			return fmt.Errorf("run %q: %w", hook.Exec.Command, err)
		}
		if code != 0 {
			return fmt.Errorf("command %q exited with %d: %s", hook.Exec.Command, code, firstBytes(out.Bytes()))
		}
		return nil
	case hook.HTTPGet != nil:
		status, _, err := h.target.HTTPGet(ctx, hook.HTTPGet)
		if err != nil {
			return fmt.Errorf("request the hook: %w", err)
		}
		if status >= 400 {
			return fmt.Errorf("the hook's request was answered with status %d", status)
		}
		return nil
	case hook.Sleep != nil:
		select {
		case <-time.After(time.Duration(hook.Sleep.Seconds) * time.Second):
		case <-ctx.Done():
		}
		return nil
	}
	return errors.New("the hook has no supported handler")
}

func firstBytes(b []byte) []byte { return b[:min(len(b), 1024)] }

// postStart runs the container's postStart hook; if that fails the container
// is killed.
func (w *worker) postStart(c *container) {
	id, ctx, hook := c.current.Spec.ID, w.setupCtx, w.hookTarget(c)
	handler := c.spec.Lifecycle.PostStart
	w.operate(func() func() {
		err := hook.run(ctx, handler)
		return func() {
			if !c.present || c.current.Spec.ID != id {
				return
			}
			c.settled = true
			if err == nil || ctx.Err() != nil || !c.running() || c.stopping {
				return
			}
			w.event(c, corev1.EventTypeWarning, "FailedPostStartHook", err.Error())
			w.event(c, corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
			w.stopContainer(c, reasonPostStart, w.podGrace())
		}
	})
}

// beginProbes begins to probe a container that has just been started, or
// found running.
func (w *worker) beginProbes(c *container) {
	c.endProbes()
	c.startedUp = c.startedUp || c.spec.StartupProbe == nil
	c.ready = c.spec.ReadinessProbe == nil && c.startedUp
	if c.spec.StartupProbe == nil && c.spec.LivenessProbe == nil && c.spec.ReadinessProbe == nil {
		return
	}
	ctx, cancel := context.WithCancel(w.setupCtx)
	c.stopProbes = cancel
	id, spec, started, up := c.current.Spec.ID, c.spec, c.current.StartedAt, c.startedUp
	target := w.hookTarget(c).target
	subject := probe.Subject{Namespace: w.pod.Namespace, Pod: w.pod.Name, UID: w.uid, Container: spec.Name}
	go probe.Watch(ctx, spec, started, up, target, probe.Reporter{
		Decided: func(r probe.Result) { w.send(func() { w.probed(c, id, r) }) },
		Checked: func(kind probe.Kind, ok bool, took time.Duration) { w.m.deps.Probes.Checked(subject, kind, ok, took) },
		Failed: func(kind probe.Kind, output string) {
			w.send(func() {
				w.event(c, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %s", kind, output))
			})
		},
		Warned: func(kind probe.Kind, output string) {
			w.send(func() {
				w.event(c, corev1.EventTypeWarning, "ProbeWarning", fmt.Sprintf("%s probe warning: %s", kind, output))
			})
		},
	})
}

func (c *container) endProbes() {
	if c.stopProbes != nil {
		c.stopProbes()
		c.stopProbes = nil
	}
}

// probed acts on what a probe decided.
func (w *worker) probed(c *container, id string, r probe.Result) {
	if !c.running() || c.stopping || c.current.Spec.ID != id {
		return
	}
	switch {
	case r.Kind == probe.Readiness:
		c.ready = r.Success
	case r.Success && r.Kind == probe.Startup:
		c.startedUp = true
		c.ready = c.spec.ReadinessProbe == nil
	case !r.Success:
		grace := w.podGrace()
		if s := r.Probe.TerminationGracePeriodSeconds; s != nil {
			grace = max(time.Duration(*s)*time.Second, leastGrace)
		}
		word := "liveness"
		if r.Kind == probe.Startup {
			word = "startup"
		}
		w.event(c, corev1.EventTypeNormal, "Killing",
			fmt.Sprintf("Container %s failed %s probe, will be restarted", c.spec.Name, word))
		w.stopContainer(c, "", grace)
	}
}

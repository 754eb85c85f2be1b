package podworker

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/metrics"
	"navarch.dev/navarch/agent/runtime"
)

// role is what a container is for.
type role int

const (
	roleInit role = iota
	// roleSidecar is an init container that goes on running.
	roleSidecar
	roleMain
	roleEphemeral
)

// container is what a worker knows of one container of its pod. Only the
// worker's goroutine touches it.
type container struct {
	spec *corev1.Container
	role role
	// target names the container that an ephemeral one shares processes with.
	target string

	// present says that current is a container of the runtime.
	present bool
	current runtime.ContainerStatus
	// last is how the attempt before the current one ended.
	last *corev1.ContainerStateTerminated
	// attempt numbers the next one to be made.
	attempt uint32
	// old are ended attempts, which the runtime keeps until the next one runs: they
	// are what a new agent knows of the container. unborn is one that an earlier
	// agent made and did not start, "" if there is none.
	old    []string
	unborn string

	// launching is an operation under way; launched is closed once it has tried.
	launching bool
	launched  chan struct{}
	// settled says that the current attempt's postStart hook is over.
	settled bool
	// stopping says that the container is being ended, and why.
	stopping   bool
	stopReason string
	// mustRestart says that it was ended to be started anew, whatever its restart
	// policy.
	mustRestart bool
	// endedForRestart says that it was ended because its whole pod is restarted.
	endedForRestart bool
	// has are the resources of the current attempt, and size its limits.
	has  corev1.ResourceRequirements
	size runtime.Resources
	// waitReason and waitMessage explain why it does not run.
	waitReason, waitMessage string

	restarts backoff
	pulls    backoff
	awaits   imageWish // the image that pulls is about
	// counted says that the current attempt's end has been counted in restarts.
	counted bool

	// startedUp and ready are what the probes found.
	startedUp, ready bool
	stopProbes       context.CancelFunc
	imageID          string
}

// running says whether the container's process runs.
func (c *container) running() bool { return c.present && c.current.State == runtime.StateRunning }

// exited says whether its process has ended.
func (c *container) exited() bool { return c.present && c.current.State == runtime.StateExited }

// succeeded says whether it ended well.
func (c *container) succeeded() bool { return c.exited() && c.current.ExitCode == 0 }

// idle says that it does not run and nothing is under way with it.
func (c *container) idle() bool { return !c.launching && !c.stopping && !c.running() }

// restartable says whether the container, having ended, is to be started
// again.
func (c *container) restartable(pod *corev1.Pod) bool {
	if c.mustRestart {
		return true
	}
	switch c.role {
	case roleEphemeral:
		return false
	case roleSidecar:
		return true
	}
	if c.exited() && matchingRule(c.spec.RestartPolicyRules, c.current.ExitCode) != nil {
		return true
	}
	policy := pod.Spec.RestartPolicy
	if c.spec.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.spec.RestartPolicy)
	}
	switch {
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure, c.role == roleInit:
		return !c.succeeded()
	}
	return true
}

// matchingRule returns the first rule that has a container which ended so be
// started again, whatever its policy (KEP-5307), or nil.
func matchingRule(rules []corev1.ContainerRestartRule, exitCode int) *corev1.ContainerRestartRule {
	for i := range rules {
		codes := rules[i].ExitCodes
		if codes == nil {
			continue
		}
		in := slices.Contains(codes.Values, int32(exitCode)) //nolint:gosec // at most 255
		if in == (codes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return &rules[i]
		}
	}
	return nil
}

// kind is what metrics call the container.
func (c *container) kind() string {
	switch c.role {
	case roleInit, roleSidecar:
		return metrics.InitContainer
	case roleEphemeral:
		return metrics.EphemeralContainer
	}
	return metrics.Container
}

// take gives the container a newer spec. Another image is another program: how
// often the one before failed, or could not be pulled, does not hold it up.
func (c *container) take(spec *corev1.Container) {
	if c.spec.Image != spec.Image {
		c.restarts, c.pulls = backoff{}, backoff{}
	}
	c.spec = spec
}

// noteExit counts the current attempt's end once.
func (c *container) noteExit(now time.Time) {
	if c.counted {
		return
	}
	c.counted = true
	at := c.current.FinishedAt
	if at.IsZero() {
		at = now
	}
	c.restarts.fail(at, at.Sub(c.current.StartedAt))
}

// containersOf makes the state of every container of a pod.
func containersOf(pod *corev1.Pod) []*container {
	var all []*container
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		r := roleInit
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			r = roleSidecar
		}
		all = append(all, &container{spec: c, role: r})
	}
	for i := range pod.Spec.Containers {
		all = append(all, &container{spec: &pod.Spec.Containers[i], role: roleMain})
	}
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		c := corev1.Container(e.EphemeralContainerCommon)
		all = append(all, &container{spec: &c, role: roleEphemeral, target: e.TargetContainerName})
	}
	return all
}

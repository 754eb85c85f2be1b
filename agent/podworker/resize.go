package podworker

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"navarch.dev/navarch/agent/runtime"
)

// A pod is resized in two steps (KEP-1287). First the node grants what the
// spec asks for, or says why it cannot (room.go); until then the pod is run with
// what it was given. Then the cgroups are brought to that size: the pod's is
// raised, its containers' are set, or they are restarted where their policy says
// so, and last the pod's is lowered. So no container ever has more than its pod.

// resizing is a granted resize that the cgroups do not show in full yet.
type resizing struct {
	// generation is the pod's that asked for it.
	generation int64
	// saved says that the allocation is remembered.
	saved bool
	// problem is how the last one failed.
	problem string
	retry   backoff
}

// take makes a version of the pod the newest: with the resources that it has
// been given, not those that it may ask for.
func (w *worker) take(pod *corev1.Pod) {
	w.desired, w.pod = pod, w.given.applied(pod)
}

// resize asks for what the spec says and was not given, and brings the
// cgroups to what was.
func (w *worker) resize(now time.Time, soonest func(time.Time)) {
	if w.static {
		return
	}
	if w.desired != w.considered {
		w.considered = w.desired
		w.considerResize(now)
	}
	if r := w.resizing; r != nil && !w.sizing {
		if r.retry.waiting(now) {
			soonest(r.retry.until)
			return
		}
		w.actuate()
	}
}

// considerResize compares a new version of the pod with what was given.
func (w *worker) considerResize(now time.Time) {
	wanted := allocationOf(w.desired)
	switch {
	case w.given == nil, wanted.equal(w.given):
		w.ask, w.unanswered, w.refused = nil, false, nil
		w.m.withdrawResize(w.uid)
	case w.ask == nil || !wanted.equal(w.ask.allocation):
		since := now
		if w.refused != nil {
			since = w.refused.since
		}
		w.ask, w.unanswered = newAsk(w, w.desired, wanted, since), true
		w.m.askResize(w.ask)
	}
}

// resizeGranted takes what was asked for.
func (w *worker) resizeGranted(ask *resizeAsk) {
	if w.ask != ask {
		return
	}
	w.unanswered = false
	if w.phase != phaseRunning {
		return
	}
	w.ask, w.refused = nil, nil
	w.given = ask.allocation
	w.take(w.desired)
	w.followSpec()
	w.resizing = &resizing{generation: ask.generation}
	w.event(nil, corev1.EventTypeNormal, "ResizeStarted", resizeMessage("Pod resize started", w.pod, ask.generation, ""))
	w.refreshVolumes() // the downward API shows them
}

// refusedResize is why, and since when, the last resize is not granted.
type refusedResize struct {
	refusal
	generation int64
	since      time.Time
}

func (w *worker) resizeRefused(ask *resizeAsk, why refusal) {
	if w.ask != ask {
		return
	}
	w.unanswered = false
	if w.phase != phaseRunning {
		return
	}
	before := w.refused
	w.refused = &refusedResize{refusal: why, generation: ask.generation, since: ask.since}
	if before != nil && before.reason == why.reason && before.generation == ask.generation {
		return
	}
	reason := "ResizeDeferred"
	if why.reason == corev1.PodReasonInfeasible {
		reason = "ResizeInfeasible"
	}
	w.event(nil, corev1.EventTypeWarning, reason, resizeMessage("Pod resize "+why.reason, w.desired, ask.generation, why.message))
}

// actuate takes the next step towards what was given.
func (w *worker) actuate() {
	if w.sandbox == nil || !w.sandbox.finished() || w.sandbox.err != nil {
		return // the next one is made with what was given
	}
	target := podResources(w.pod)
	updates, restarts := w.outgrown()
	raised := larger(w.cgroup, target)
	switch {
	case !w.resizing.saved || raised != w.cgroup || len(updates) > 0:
		w.applySizes(sizes{before: w.cgroup, pod: raised, containers: updates, given: w.given})
	case len(restarts) > 0:
		for _, c := range restarts {
			w.event(c, corev1.EventTypeNormal, "Killing", fmt.Sprintf("Container %s resize requires restart", c.spec.Name))
			c.mustRestart = true
			w.stopContainer(c, "", w.podGrace())
		}
	case w.restarting():
	case target != w.cgroup:
		w.applySizes(sizes{before: w.cgroup, pod: target, given: w.given})
	default:
		w.event(nil, corev1.EventTypeNormal, "ResizeCompleted", resizeMessage("Pod resize completed", w.pod, w.resizing.generation, ""))
		w.resizing = nil
		w.m.settleResize(w.uid, grantOf(w.pod))
	}
}

// outgrown returns the running containers that do not have what they were
// given: those that can be changed as they run, and those that must not.
func (w *worker) outgrown() (updates []containerSize, restarts []*container) {
	for _, c := range w.containers {
		if !c.running() || c.stopping || c.launching || c.role == roleEphemeral {
			continue
		}
		size := resourcesOf(w.pod, c.spec)
		switch names := c.outgrown(size); {
		case len(names) == 0:
		case restartsFor(c.spec, names):
			restarts = append(restarts, c)
		default:
			updates = append(updates, containerSize{
				container: c, name: c.spec.Name, id: c.current.Spec.ID, wants: c.spec.Resources, before: c.size, size: size,
			})
		}
	}
	return updates, restarts
}

// restarting says whether a container is on its way from one size to another
// by a restart.
func (w *worker) restarting() bool {
	for _, c := range w.containers {
		if c.role != roleEphemeral && (c.stopping || c.launching || c.mustRestart) {
			return true
		}
	}
	return false
}

// mustGrow says whether the pod's cgroup is too small for containers that are
// to be started.
func (w *worker) mustGrow() bool {
	return w.resizing != nil && w.sandbox != nil && larger(w.cgroup, podResources(w.pod)) != w.cgroup
}

// outgrown returns of which resources a container does not have what its spec
// says, or what follows from its pod's: a limit of the pod is that of
// containers without one.
func (c *container) outgrown(size runtime.Resources) (names []corev1.ResourceName) {
	other := func(name corev1.ResourceName) bool {
		return !equality.Semantic.DeepEqual(c.has.Requests[name], c.spec.Resources.Requests[name]) ||
			!equality.Semantic.DeepEqual(c.has.Limits[name], c.spec.Resources.Limits[name])
	}
	if c.size.CPUShares != size.CPUShares || c.size.CPUQuota != size.CPUQuota || other(corev1.ResourceCPU) {
		names = append(names, corev1.ResourceCPU)
	}
	if c.size.MemoryLimit != size.MemoryLimit || other(corev1.ResourceMemory) {
		names = append(names, corev1.ResourceMemory)
	}
	return names
}

// restartsFor says whether a container is to be restarted for other amounts of
// some resources. Without a policy it is not.
func restartsFor(spec *corev1.Container, names []corev1.ResourceName) bool {
	for _, name := range names {
		for _, p := range spec.ResizePolicy {
			if p.ResourceName == name && p.RestartPolicy == corev1.RestartContainer {
				return true
			}
		}
	}
	return false
}

// larger returns, of each limit, the one that allows more; none is more than
// any.
func larger(a, b runtime.Resources) runtime.Resources {
	out := runtime.Resources{CPUShares: max(a.CPUShares, b.CPUShares)}
	if a.CPUQuota != 0 && b.CPUQuota != 0 {
		out.CPUQuota = max(a.CPUQuota, b.CPUQuota)
	}
	if a.MemoryLimit != 0 && b.MemoryLimit != 0 {
		out.MemoryLimit = max(a.MemoryLimit, b.MemoryLimit)
	}
	return out
}

// sizes are what cgroups are to be set to.
type sizes struct {
	before, pod runtime.Resources
	containers  []containerSize
	given       *allocation
}

type containerSize struct {
	container    *container // the worker's
	name, id     string
	wants        corev1.ResourceRequirements
	before, size runtime.Resources
}

// applySizes sets cgroups, beside the worker.
func (w *worker) applySizes(s sizes) {
	r, uid := w.resizing, w.uid
	w.sizing = true
	save := !r.saved
	ctx := context.WithoutCancel(w.ctx)
	w.operate(func() func() {
		var err error
		if save {
			err = w.m.saveAllocation(uid, s.given)
		}
		saved := err == nil
		if err == nil {
			err = w.m.checkShrinking(ctx, uid, s)
		}
		pod := s.before
		if err == nil && s.pod != s.before {
			if err = w.m.deps.Runtime.UpdateSandboxResources(ctx, uid, s.pod); err == nil {
				pod = s.pod
			}
		}
		var done []containerSize
		for i := 0; err == nil && i < len(s.containers); i++ {
			if err = w.m.updateContainer(ctx, s.containers[i]); err == nil {
				done = append(done, s.containers[i])
			}
		}
		return func() { w.sizesApplied(r, saved, pod, done, err) }
	})
}

func (w *worker) sizesApplied(r *resizing, saved bool, pod runtime.Resources, done []containerSize, err error) {
	w.cgroup = pod
	for _, d := range done {
		if c := d.container; c.present && c.current.Spec.ID == d.id {
			c.has, c.size = d.wants, d.size
		}
	}
	w.sizing = false
	if w.resizing != r { // another was granted meanwhile
		return
	}
	r.saved = r.saved || saved
	if err == nil {
		r.problem, r.retry = "", backoff{}
		return
	}
	r.retry.failSlowly(time.Now())
	if problem := err.Error(); problem != r.problem {
		r.problem = problem
		w.log.WarnContext(w.ctx, "the pod was not resized, trying again", "error", err)
		w.event(nil, corev1.EventTypeWarning, "ResizeError", resizeMessage("Pod resize error", w.pod, r.generation, problem))
	}
}

// updateContainer sets a running container's limits. One that has ended needs
// none.
func (m *Manager) updateContainer(ctx context.Context, c containerSize) error {
	annotations, err := annotate(annotationResources, &c.wants)
	if err != nil {
		return err
	}
	err = m.deps.Runtime.UpdateContainerResources(ctx, c.id, c.size, annotations)
	if errors.Is(err, runtime.ErrNotFound) || errors.Is(err, runtime.ErrNotRunning) {
		return nil
	}
	return err
}

// checkShrinking refuses limits of memory below what is used of it: the kernel
// would kill for them.
func (m *Manager) checkShrinking(ctx context.Context, uid string, s sizes) error {
	var errs []error
	if limit := s.pod.MemoryLimit; limit != 0 && (s.before.MemoryLimit == 0 || limit < s.before.MemoryLimit) {
		switch usage, err := m.deps.Runtime.SandboxUsage(ctx, uid); {
		case err != nil:
			errs = append(errs, fmt.Errorf("missing pod memory usage: %w", err))
		case usage.MemoryBytes >= uint64(limit):
			errs = append(errs, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", limit, usage.MemoryBytes))
		}
	}
	for _, c := range s.containers {
		was, limit := c.before.MemoryLimit, c.size.MemoryLimit
		if limit == 0 || was != 0 && limit >= was {
			continue
		}
		switch usage, err := m.deps.Runtime.ContainerUsage(ctx, c.id); {
		case errors.Is(err, runtime.ErrNotFound):
		case err != nil:
			errs = append(errs, fmt.Errorf("missing container %q memory usage: %w", c.name, err))
		case usage.MemoryBytes >= uint64(limit):
			errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.name, limit, usage.MemoryBytes))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot decrease memory limits: %w", err)
	}
	return nil
}

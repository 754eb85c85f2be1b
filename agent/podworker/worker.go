package podworker

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
)

// phase is how far a worker has come with its pod.
type phase int

const (
	// phaseNew: not admitted yet.
	phaseNew phase = iota
	// phaseRunning: its containers are started, watched and restarted.
	phaseRunning
	// phaseStopping: its containers are being ended.
	phaseStopping
	// phaseTearingDown: what they used is being given back.
	phaseTearingDown
	// phaseOver: nothing of it runs any more; it waits to be deleted.
	phaseOver
	// phaseGone: nothing is left, and the Store knows.
	phaseGone
)

// worker runs one pod. All fields but the first ones belong to its goroutine.
type worker struct {
	m   *Manager
	uid string
	log *slog.Logger
	// key is the pod's name.
	key   types.NamespacedName
	mail  chan func()
	ended chan struct{} // closed when the goroutine has returned
	ops   sync.WaitGroup

	// ctx ends with the agent; span is the pod's start.
	ctx       context.Context
	span      trace.Span
	spanEnded bool
	// seen is when this agent has first known of the pod. ran says that it has run
	// since; found that it had run before.
	seen       time.Time
	ran, found bool

	pod        *corev1.Pod // the newest version seen, with the resources it was given; never changed
	desired    *corev1.Pod // that version as the Store has it
	static     bool        // from a file; the Store has a mirror of it
	mirror     *corev1.Pod // that mirror, nil if there is none
	deleted    bool        // the Store has it no more
	phase      phase
	rejected   *corev1.PodStatus // why it was not admitted, or was ended
	turnedAway bool              // it was not admitted
	evicted    bool              // it took more storage than it may, or what the node is short of
	// evictionGrace is how long it may take to end then.
	evictionGrace time.Duration
	disrupted     bool // the node was short of something
	startTime     time.Time
	containers    []*container
	// initialized says that the init containers are over.
	initialized bool
	// restarts is how often all containers were restarted, restartingAll that they
	// are being ended for that.
	restarts      int
	restartingAll bool

	sandbox  *future[struct{}]
	netns    *future[string]
	attached *future[network.Attachment]
	volumes  *future[volume.Volumes]
	// imageVolumes are the volumes that are images, those of them that containers
	// which were launched mount.
	imageVolumes map[string]*future[volume.Volume]
	devices      *future[struct{}]
	// usersFailed says that the sandbox was counted as one that failed (usersProblem).
	usersFailed bool
	// refreshing are the volumes' updates under way.
	refreshing sync.WaitGroup
	setupWait  backoff
	setupCtx   context.Context
	cancelOps  context.CancelFunc // ends what makes the pod, not what ends it

	given      *allocation       // nil before it is admitted
	considered *corev1.Pod       // the version whose resources were compared with given
	ask        *resizeAsk        // what it asks for and was not given yet
	unanswered bool              // whether it gets it is not known yet
	refused    *refusedResize    // why not
	resizing   *resizing         // what it was given and does not have yet
	cgroup     runtime.Resources // what the sandbox has
	sizing     bool              // cgroups are being set

	measuring bool      // its storage is being measured
	measureAt time.Time // when that is done next

	// fence is what the shim has been told, if that is known.
	fence                 *runtime.Fence
	fenceKnown, refencing bool
	refenceAt             time.Time

	graceEnd time.Time // when stopping containers are killed
	// left is closed when a stopping pod gets no new traffic; nil if it got none.
	left       chan struct{}
	status     *corev1.PodStatus
	written    *corev1.PodStatus // what the Store has of ours, nil once others have written
	stored     string            // the version of the pod that this made
	writing    bool
	writeAfter time.Time
	retryWrite backoff
	timer      *time.Timer
}

// newWorker returns the worker of a pod. given is what an earlier agent gave
// the pod, nil if it is new.
func newWorker(ctx context.Context, m *Manager, pod *corev1.Pod, static bool, given *allocation) *worker {
	w := &worker{
		m: m, uid: string(pod.UID), static: static, given: given,
		log:  m.deps.Log.With("namespace", pod.Namespace, "pod", pod.Name, "uid", string(pod.UID)),
		key:  types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		mail: make(chan func(), 64), ended: make(chan struct{}),
	}
	w.seen, w.found = time.Now(), pod.Status.Phase == corev1.PodRunning
	w.take(pod)
	w.containers = containersOf(w.pod)
	if pod.Status.StartTime != nil {
		w.startTime = pod.Status.StartTime.Time
	}
	w.ctx, w.span = m.deps.Tracer.Start(ctx, "agent.startPod", trace.WithAttributes(
		attribute.String("k8s.namespace.name", pod.Namespace), attribute.String("k8s.pod.name", pod.Name),
		attribute.String("k8s.pod.uid", w.uid), attribute.String("k8s.node.name", m.cfg.NodeName),
	))
	w.setupCtx, w.cancelOps = context.WithCancel(w.ctx)
	w.timer = time.NewTimer(time.Hour)
	return w
}

// send puts a letter into the worker's mail. It is done by whoever is not the
// worker.
func (w *worker) send(letter func()) {
	select {
	case w.mail <- letter:
	case <-w.ended:
	case <-w.ctx.Done():
	}
}

// operate runs f beside the worker and then, in the worker, what f returned.
func (w *worker) operate(f func() (then func())) {
	w.ops.Go(func() { w.send(f()) })
}

// run is the worker's goroutine. It returns when the pod is gone, or when the
// agent ends; then the pod goes on running.
func (w *worker) run() {
	defer w.end()
	for w.phase != phaseGone {
		w.step()
		if w.phase == phaseGone {
			return
		}
		select {
		case <-w.ctx.Done():
			return
		case letter := <-w.mail:
			letter()
			w.drain()
		case <-w.timer.C:
		}
	}
}

// drain reads what else is in the mail, so that one step answers all of it.
func (w *worker) drain() {
	for {
		select {
		case letter := <-w.mail:
			letter()
		default:
			return
		}
	}
}

func (w *worker) end() {
	close(w.ended)
	w.cancelOps()
	w.timer.Stop()
	for _, c := range w.containers {
		c.endProbes()
	}
	w.m.deps.Probes.Forget(w.pod.Namespace, w.pod.Name, w.uid)
	w.endSpan()
	if w.phase == phaseGone {
		w.m.forget(w)
	}
}

func (w *worker) endSpan() {
	if !w.spanEnded {
		w.spanEnded = true
		w.span.End()
	}
}

// update takes a newer version of the pod over.
func (w *worker) update(pod *corev1.Pod) {
	if w.static {
		w.mirror = pod
		w.noteForeignWrite()
		return
	}
	if !newer(pod, w.pod) {
		return
	}
	w.adoptSpec(pod)
	w.noteForeignWrite()
}

// adoptSpec makes the containers follow the pod's spec: what may change of it
// are images, resources and the list of ephemeral containers.
func (w *worker) adoptSpec(pod *corev1.Pod) {
	renamed := !maps.Equal(w.pod.Labels, pod.Labels) || !maps.Equal(w.pod.Annotations, pod.Annotations)
	w.take(pod)
	if renamed {
		w.refreshVolumes() // the downward API shows them
	}
	w.followSpec()
}

// followSpec gives the containers the spec of the pod at hand.
func (w *worker) followSpec() {
	for _, fresh := range containersOf(w.pod) {
		if c := w.find(fresh.spec.Name); c != nil {
			c.take(fresh.spec)
		} else {
			w.containers = append(w.containers, fresh)
		}
	}
}

func (w *worker) find(name string) *container {
	for _, c := range w.containers {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}

func (w *worker) findID(id string) *container {
	for _, c := range w.containers {
		if c.present && c.current.Spec.ID == id {
			return c
		}
	}
	return nil
}

// ref names the pod for the network.
func (w *worker) ref() network.PodRef {
	return network.PodRef{Namespace: w.pod.Namespace, Name: w.pod.Name, UID: w.uid}
}

// event records an event about the pod, or one of its containers.
func (w *worker) event(c *container, eventType, reason, message string) {
	field := ""
	if c != nil {
		field = c.fieldPath()
	}
	pod := w.pod
	if w.mirror != nil {
		pod = w.mirror
	}
	w.m.deps.Events.EventAt(pod, field, eventType, reason, message)
}

func (c *container) fieldPath() string {
	switch c.role {
	case roleMain:
		return "spec.containers{" + c.spec.Name + "}"
	case roleEphemeral:
		return "spec.ephemeralContainers{" + c.spec.Name + "}"
	}
	return "spec.initContainers{" + c.spec.Name + "}"
}

// wakeAt asks for a step at a time, if nothing happens before.
func (w *worker) wakeAt(at time.Time) {
	w.timer.Reset(max(0, time.Until(at)))
}

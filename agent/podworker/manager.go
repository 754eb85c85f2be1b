package podworker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/client"
)

type podRef = network.PodRef

// mirrorAnnotation marks the Store's image of a pod that comes from a file.
const mirrorAnnotation = corev1.MirrorPodAnnotationKey

// Manager runs the pods of a node, each by a worker.
type Manager struct {
	cfg  Config
	deps Deps
	busy slots
	ctx  context.Context // ends the workers; set by Run
	held atomic.Bool     // some worker waits for the fence to open
	// orphans holds one element while there may be devices of pods that are gone.
	orphans chan struct{}

	mu      sync.Mutex // guards the fields below
	workers map[string]*worker
	waiting map[string]*corev1.Pod // pods whose name is still used by an ending one
	granted map[string]grant       // what admitted pods have of the node
	asks    map[string]*resizeAsk  // resizes that wait for room
	// unsettled are the pods of an earlier agent that are yet to be admitted: they
	// go before any resize.
	unsettled map[string]bool
	// unfenced are pods that an earlier agent left, and whose shims have yet to
	// be told of the fence.
	unfenced map[string]bool
	judged   judgment
	running  bool
	wg       sync.WaitGroup
}

// New returns a manager. It must be told of the runtime's events, from before
// the runtime's Recover on.
func New(cfg Config, deps Deps) *Manager {
	return &Manager{
		cfg: cfg, deps: deps, busy: make(slots, max(cfg.ParallelStarts, 1)),
		workers: make(map[string]*worker), waiting: make(map[string]*corev1.Pod), granted: make(map[string]grant), asks: make(map[string]*resizeAsk),
		unsettled: make(map[string]bool), unfenced: make(map[string]bool), orphans: make(chan struct{}, 1),
	}
}

// Run recovers what an earlier agent left, then runs the node's pods until
// ctx ends. The pods go on running then.
func (m *Manager) Run(ctx context.Context) error {
	if m.cfg.LogsDir != "" {
		if err := os.MkdirAll(m.cfg.LogsDir, 0o755); err != nil {
			return fmt.Errorf("make the folder of logs: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	// Those who may start workers end before the workers are waited for.
	var followers sync.WaitGroup
	defer func() {
		cancel()
		followers.Wait()
		m.wg.Wait()
	}()
	m.ctx = ctx
	m.deps.Pods.AddHandler(client.Handler[*corev1.Pod]{
		OnAdd:    m.podChanged,
		OnUpdate: func(_, pod *corev1.Pod) { m.podChanged(pod) },
		OnDelete: m.podDeleted,
	})
	followers.Go(func() { m.deps.Pods.Run(ctx) })
	select {
	case <-m.deps.Pods.Synced():
	case <-ctx.Done():
		return nil
	}
	if m.deps.Leased != nil {
		select {
		case <-m.deps.Leased:
		case <-ctx.Done():
			return nil
		}
	}
	static, err := m.readStatic(ctx)
	if err != nil {
		return err
	}
	if err := m.recover(ctx, static); err != nil {
		return fmt.Errorf("recover the node's pods: %w", err)
	}
	if m.cfg.StaticPodDir != "" {
		followers.Go(func() { m.watchStatic(ctx) })
	}
	for {
		select {
		case <-m.orphans:
			m.unprepareOrphans(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// podChanged takes a pod of the watch over. Before recovery is over the pods
// are only noted, in the informer.
func (m *Manager) podChanged(pod *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running {
		return
	}
	if _, ok := pod.Annotations[mirrorAnnotation]; ok {
		m.mirrorChanged(pod)
		return
	}
	m.ensure(pod)
}

// ensure gives a pod to its worker, making one if it has none. The caller
// holds the lock.
func (m *Manager) ensure(pod *corev1.Pod) {
	uid := string(pod.UID)
	if w, ok := m.workers[uid]; ok {
		go w.send(func() { w.update(pod) })
		return
	}
	m.start(pod, false, remains{})
}

// remains are what an earlier agent left of a pod.
type remains struct {
	given      *allocation
	containers []runtime.ContainerStatus
}

// start makes a pod's worker. The caller holds the lock.
func (m *Manager) start(pod *corev1.Pod, static bool, left remains) {
	key := cache.MetaObjectToName(pod).String()
	ctx := m.deps.Pods.TraceContext(m.ctx, key)
	w := newWorker(ctx, m, pod, static, left.given)
	w.adopt(left.containers)
	m.workers[w.uid] = w
	m.wg.Go(w.run)
}

func (m *Manager) podDeleted(pod *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := pod.Annotations[mirrorAnnotation]; ok {
		m.mirrorDeleted(pod)
		return
	}
	if w, ok := m.workers[string(pod.UID)]; ok {
		m.takeBack(w.uid) // the Scheduler counts on its room now, though it has yet to end
		go w.send(func() { w.deleted = true })
	}
}

// forget removes the worker of a pod that is gone.
func (m *Manager) forget(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.workers[w.uid] == w {
		delete(m.workers, w.uid)
	}
	m.takeBack(w.uid)
	m.nowFenced(w.uid)
	if next, ok := m.waiting[w.uid]; ok {
		delete(m.waiting, w.uid)
		m.start(next, true, remains{})
	}
}

// RuntimeEvent is told that a sandbox or a container has changed by itself. It
// does not block.
func (m *Manager) RuntimeEvent(e runtime.Event) {
	told := time.Now()
	m.mu.Lock()
	w, ok := m.workers[e.PodUID]
	m.mu.Unlock()
	if !ok {
		return
	}
	go w.send(func() {
		defer func() { m.deps.Metrics.EventHandled(time.Since(told)) }()
		if e.ContainerID == "" {
			w.checkSandbox()
			return
		}
		w.refresh(e.ContainerID)
	})
}

// refresh reads a container's state again.
func (w *worker) refresh(id string) {
	c := w.findID(id)
	if c == nil {
		return
	}
	status, err := w.m.deps.Runtime.ContainerStatus(w.ctx, id)
	if errors.Is(err, runtime.ErrNotFound) && w.phase >= phaseTearingDown {
		return // it has been removed with its sandbox
	}
	if err != nil {
		w.log.WarnContext(w.ctx, "a container's state cannot be read", "container", c.spec.Name, "error", err)
		return
	}
	ended := status.State == runtime.StateExited && c.current.State != runtime.StateExited
	c.current = status
	if ended {
		w.m.deps.Metrics.ContainerEnded(c.kind(), status.ExitCode, status.Reason)
	}
	if status.State == runtime.StateExited {
		c.ready = false
		c.endProbes()
		w.m.explainExit(c)
	}
}

// checkSandbox looks whether the sandbox is still there.
func (w *worker) checkSandbox() {
	status, err := w.m.deps.Runtime.SandboxStatus(w.ctx, w.uid)
	if err == nil && status.Ready {
		return
	}
	w.sandboxLost()
}

func (m *Manager) allocatable() corev1.ResourceList {
	if m.cfg.Allocatable == nil {
		return nil
	}
	return m.cfg.Allocatable()
}

func (m *Manager) removeLogs(ref podRef) error {
	if ref.Name == "" || m.cfg.LogsDir == "" {
		return nil
	}
	if err := os.RemoveAll(m.logDir(ref.Namespace, ref.Name, ref.UID)); err != nil {
		return fmt.Errorf("remove the pod's logs: %w", err)
	}
	return nil
}

// withIPs returns a copy of the pod that knows its addresses.
func (m *Manager) withIPs(pod *corev1.Pod, ips []netip.Addr) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Status.PodIPs = nil
	for i, ip := range ips {
		if i == 0 {
			pod.Status.PodIP = ip.String()
		}
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	return pod
}

func podAttributes(pod types.NamespacedName) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("k8s.namespace.name", pod.Namespace), attribute.String("k8s.pod.name", pod.Name),
	}
}

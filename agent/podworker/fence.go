package podworker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/fencing"
)

// Fence tells how long a pod may still run without word from the Store.
// *fence.Fence implements it. The shims stop the pods; here it only keeps the
// workers from starting what a shim would refuse.
type Fence interface {
	Left(now, after time.Duration) (left time.Duration, bounded bool)
}

const (
	// reasonFenced is why a container waits on a node that is cut off.
	reasonFenced = "NodeFenced"
	// refenceDelay is how long after a failure a shim is told of its fence again.
	refenceDelay = 5 * time.Second
)

// condemned is a fence that is closed whatever the Store says.
var condemned = &runtime.Fence{After: -1 << 62}

// wantFence returns the fence that the pod is to be under; nil for none.
func (w *worker) wantFence() *runtime.Fence {
	if w.m.cfg.Promise == 0 || w.static {
		return nil
	}
	after, fenced := fencing.After(w.pod, w.m.cfg.Promise)
	if !fenced {
		return nil
	}
	return &runtime.Fence{After: after, Grace: fencing.Grace(w.m.cfg.Promise)}
}

// followFence tells the shim of another fence: the pod was adopted, or tolerates
// its node's silence for another time than before.
func (w *worker) followFence(now time.Time, soonest func(time.Time)) {
	want := w.wantFence()
	if w.m.cfg.Promise == 0 || w.refencing || w.deleted || w.sandbox == nil || w.fenceKnown && sameFence(w.fence, want) {
		return
	}
	if now.Before(w.refenceAt) {
		soonest(w.refenceAt)
		return
	}
	w.refencing = true
	ctx, sandbox := context.WithoutCancel(w.ctx), w.sandbox
	w.operate(func() func() {
		settle(sandbox)
		err := w.m.deps.Runtime.FenceSandbox(ctx, w.uid, want)
		return func() { w.refenced(want, err) }
	})
}

func (w *worker) refenced(fence *runtime.Fence, err error) {
	w.refencing = false
	if err != nil && !errors.Is(err, runtime.ErrNotFound) && !errors.Is(err, runtime.ErrShimDied) {
		w.log.WarnContext(w.ctx, "the pod was not put under the node's fence, trying again", "error", err)
		w.refenceAt = time.Now().Add(refenceDelay)
		return
	}
	w.noteFence(fence)
}

// noteFence notes what the pod's shim has been told.
func (w *worker) noteFence(fence *runtime.Fence) {
	w.fence, w.fenceKnown = fence, true
	w.m.noteFenced(w.uid)
}

func sameFence(a, b *runtime.Fence) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// fencePending says that the shim has yet to be told what the pod's newest
// version says of its fence. Until then that version is not observed, so that
// nobody relies on it.
func (w *worker) fencePending() bool {
	return w.m.cfg.Promise > 0 && w.sandbox != nil && w.phase < phaseOver && (!w.fenceKnown || !sameFence(w.fence, w.wantFence()))
}

// held says that the fence is closed over the pod: nothing may be started.
func (w *worker) held() bool {
	if w.fence == nil || w.m.deps.Fence == nil {
		return false
	}
	left, bounded := w.m.deps.Fence.Left(w.m.deps.Now(), w.fence.After)
	if !bounded || left > w.fence.Grace {
		return false
	}
	w.m.held.Store(true)
	return true
}

// Renewed is told that the Store has been heard of: what waited for that goes on.
func (m *Manager) Renewed() {
	if !m.held.Swap(false) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		go w.send(func() {})
	}
}

// Fenced says whether every pod of the node that is to be under the fence is.
func (m *Manager) Fenced() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running && len(m.unfenced) == 0
}

func (m *Manager) noteFenced(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nowFenced(uid)
}

// nowFenced notes that a pod needs no fence that it does not have, and tells of
// the last one. m.mu is held.
func (m *Manager) nowFenced(uid string) {
	if !m.unfenced[uid] {
		return
	}
	delete(m.unfenced, uid)
	m.tellFenced()
}

// tellFenced tells whoever asked that all pods are under the fence, if they are.
// m.mu is held.
func (m *Manager) tellFenced() {
	if m.running && len(m.unfenced) == 0 && m.deps.OnFenced != nil {
		m.deps.OnFenced()
	}
}

// judgment is what the Store had of the node's pods when the node took up its
// Lease again after a mark.
type judgment struct {
	revision uint64
	// kept are the pods that may go on, gone those that have been given up, of
	// this judgment and the ones before.
	kept, gone map[string]bool
}

// Condemn gives up the pods that may run elsewhere by now: those that were
// stopped, or not yet begun, while the node's Lease was marked. They are removed
// from the Store, and not started here again, however late the watch tells of
// them. promise is what the controller went by.
func (m *Manager) Condemn(ctx context.Context, promise time.Duration) error {
	var list corev1.PodList
	err := m.deps.Client.List(ctx, &list, client.ListOptions{Fields: fields.OneTermEqualSelector("spec.nodeName", m.cfg.NodeName)})
	if err != nil {
		return fmt.Errorf("list the node's pods: %w", err)
	}
	revision, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("list the node's pods: version %q: %w", list.ResourceVersion, err)
	}
	v := judgment{revision: revision, kept: make(map[string]bool), gone: make(map[string]bool)}
	var lapsed []*corev1.Pod
	for i := range list.Items {
		pod := &list.Items[i]
		if m.lapsed(pod, promise) {
			v.gone[string(pod.UID)] = true
			lapsed = append(lapsed, pod)
		} else {
			v.kept[string(pod.UID)] = true
		}
	}
	if err := m.pass(ctx, v); err != nil {
		return err
	}
	for _, pod := range lapsed {
		if err := m.giveUp(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

// lapsed says whether the controller may have taken the pod for stopped.
func (m *Manager) lapsed(pod *corev1.Pod, promise time.Duration) bool {
	after, fenced := fencing.After(pod, promise)
	if !fenced || finished(pod) {
		return false
	}
	left, bounded := m.deps.Fence.Left(m.deps.Now(), after)
	return !bounded || left <= 0 || pod.Status.StartTime == nil
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// pass puts a judgment in force, and returns when no worker can start anything
// that it forbids.
func (m *Manager) pass(ctx context.Context, v judgment) error {
	m.mu.Lock()
	for uid := range m.judged.gone {
		v.gone[uid] = true
	}
	m.judged = v
	var told []chan error
	for _, w := range m.workers {
		done := make(chan error, 1)
		told = append(told, done)
		go w.send(func() { w.obey(done) })
		go func() {
			select {
			case <-w.ended:
				tell(done, nil)
			case <-ctx.Done():
			}
		}()
	}
	m.mu.Unlock()
	var errs []error
	for _, done := range told {
		select {
		case err := <-done:
			errs = append(errs, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

// tell answers once; whoever answers second says the same.
func tell(done chan<- error, err error) {
	select {
	case done <- err:
	default:
	}
}

// obey ends the pod if it has been given up. Its shim is closed for good, for a
// start may be on its way there.
func (w *worker) obey(done chan<- error) {
	if !w.m.forbidden(w.pod, w.static) {
		tell(done, nil)
		return
	}
	w.log.InfoContext(w.ctx, "giving up a pod that may have been replaced while the node was cut off")
	w.deleted = true
	w.cancelOps()
	ctx, sandbox := context.WithoutCancel(w.ctx), w.sandbox
	w.operate(func() func() {
		settle(sandbox)
		err := w.m.deps.Runtime.FenceSandbox(ctx, w.uid, condemned)
		if errors.Is(err, runtime.ErrNotFound) || errors.Is(err, runtime.ErrShimDied) {
			err = nil
		}
		tell(done, err)
		return func() {}
	})
}

// forbidden says whether the pod has been given up: by name, or because its last
// version that is known here is older than the judgment, which did not find it.
func (m *Manager) forbidden(pod *corev1.Pod, static bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	uid := string(pod.UID)
	if static || m.judged.revision == 0 {
		return false
	}
	if m.judged.gone[uid] {
		return true
	}
	if _, fenced := fencing.After(pod, fencing.Shortest); !fenced || m.judged.kept[uid] {
		return false
	}
	version, err := strconv.ParseUint(pod.ResourceVersion, 10, 64)
	return err != nil || version <= m.judged.revision
}

// giveUp removes a pod from the Store, as the controller would have.
func (m *Manager) giveUp(ctx context.Context, pod *corev1.Pod) error {
	status := pod.Status.DeepCopy()
	status.Phase, status.Reason, status.Message = corev1.PodFailed, "NodeLost", "The pod was stopped because its node was cut off from the cluster"
	keepCondition(status, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: "DeletionByTaintManager", Message: "The node was cut off from the cluster",
	})
	if _, err := m.writeStatus(ctx, pod, status); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	zero := int64(0)
	err := m.deps.Client.Delete(ctx, pod, client.DeleteOptions{GracePeriodSeconds: &zero, UID: pod.UID})
	if err != nil && !gone(err) {
		return fmt.Errorf("remove pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

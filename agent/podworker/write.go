package podworker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// write begins to write the status; one write is under way at a time, and
// what changes meanwhile is written after it.
func (w *worker) write() {
	w.writing, w.writeAfter = true, time.Time{}
	base, status := w.base(), w.status
	ctx := context.WithoutCancel(w.ctx)
	w.operate(func() func() {
		stored, err := w.m.writeStatus(ctx, base, status)
		return func() { w.wrote(status, stored, err) }
	})
}

func (w *worker) wrote(status *corev1.PodStatus, stored *corev1.Pod, err error) {
	w.writing = false
	if err != nil {
		if apierrors.IsNotFound(err) {
			w.written, w.stored = status, "" // the watch will tell
			return
		}
		w.log.WarnContext(w.ctx, "status not written, trying again", "error", err)
		w.retryWrite.until = time.Now().Add(time.Second)
		return
	}
	w.written, w.stored = status, stored.ResourceVersion
	switch {
	case !w.static && stored.ResourceVersion != w.pod.ResourceVersion && newer(stored, w.pod):
		w.take(stored)
	case w.static && w.mirror != nil && newer(stored, w.mirror):
		w.mirror = stored
	}
	w.noteForeignWrite()
}

// noteForeignWrite forgets what was written once there is a later version than
// the one that made: others may have changed the status, as the node lifecycle
// controller does to a silent node's pods, and then it is written again.
func (w *worker) noteForeignWrite() {
	if version := w.base().ResourceVersion; w.stored != "" && version != w.stored && notBefore(version, w.stored) {
		w.written, w.stored = nil, ""
	}
}

// writeStatus writes a pod's status. Conditions of others that the copy at
// hand does not know yet are kept.
func (m *Manager) writeStatus(ctx context.Context, base *corev1.Pod, status *corev1.PodStatus) (*corev1.Pod, error) {
	pod := base.DeepCopy()
	pod.Status = *status.DeepCopy()
	err := m.deps.Client.UpdateStatus(ctx, pod)
	for range 5 {
		if !apierrors.IsConflict(err) {
			break
		}
		fresh := &corev1.Pod{}
		if err := m.deps.Client.Get(ctx, base.Namespace, base.Name, fresh); err != nil {
			return nil, err
		}
		if fresh.UID != base.UID {
			return nil, apierrors.NewNotFound(corev1.Resource("pods"), base.Name)
		}
		others := foreignConditions(&fresh.Status)
		fresh.Status = *status.DeepCopy()
		for _, c := range others {
			keepCondition(&fresh.Status, c)
		}
		pod = fresh
		err = m.deps.Client.UpdateStatus(ctx, pod)
	}
	if err != nil {
		return nil, fmt.Errorf("write the pod's status: %w", err)
	}
	return pod, nil
}

// foreignConditions are those that the agent does not own.
func foreignConditions(s *corev1.PodStatus) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, c := range s.Conditions {
		switch c.Type {
		case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
			corev1.PodResizePending, corev1.PodResizeInProgress:
		default:
			out = append(out, c)
		}
	}
	return out
}

func keepCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	if have := findCondition(s, c.Type); have != nil {
		*have = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

// gone says that the pod of an error is no longer in the Store, or is another.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// newer says whether a is a later version of an object than b.
func newer(a, b *corev1.Pod) bool { return notBefore(a.ResourceVersion, b.ResourceVersion) }

func notBefore(a, b string) bool {
	ra, errA := strconv.ParseUint(a, 10, 64)
	rb, errB := strconv.ParseUint(b, 10, 64)
	return errA != nil || errB != nil || ra >= rb
}

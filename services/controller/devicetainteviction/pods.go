package devicetainteviction

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// reasonEviction is that of the events about an eviction.
const reasonEviction = "DeviceTaintManagerEviction"

// reconcilePod evicts a pod when it is time.
func (r *reconciler) reconcilePod(ctx context.Context, key string) (runner.Outcome, error) {
	pod, ok := r.pods.GetByKey(key)
	if !ok {
		r.settle(key, nil)
		return runner.Done(), nil
	}
	e := r.ofPod(pod)
	if before := r.settle(key, e); before != nil && e == nil && pod.DeletionTimestamp == nil && podset.IsActive(pod) {
		r.events.Event(pod, corev1.EventTypeNormal, reasonEviction, "Cancelling deletion")
	}
	if e == nil || r.isDeleted(key, pod.UID) {
		return runner.Done(), nil
	}
	now := time.Now()
	if wait := e.at.Sub(now); wait > 0 {
		return runner.RequeueAfter(wait), nil
	}
	gone, err := r.evict(ctx, pod, now)
	if err == nil && !gone {
		r.count(key, pod.UID, e)
	}
	return runner.Done(), err
}

func (r *reconciler) isDeleted(key string, uid types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deleted[key] == uid
}

// settle notes when a pod has to go, nil if it has not or is gone, and has the
// rules say so. It returns what was noted before.
func (r *reconciler) settle(key string, e *eviction) (before *eviction) {
	r.mu.Lock()
	before = r.leaving[key]
	if e == nil {
		delete(r.leaving, key)
		delete(r.deleted, key)
	} else {
		r.leaving[key] = e
	}
	r.mu.Unlock()
	if both := join(before, e); both != nil && (before == nil || e == nil || !maps.Equal(before.rules, e.rules)) {
		r.enqueue(slices.Collect(maps.Values(both.rules))...)
	}
	return before
}

// count notes that a pod was evicted.
func (r *reconciler) count(key string, pod types.UID, e *eviction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deleted[key] = pod
	for uid := range e.rules {
		r.evicted[uid]++
	}
}

// evict says in a pod's status why it goes, and deletes it. gone says that
// somebody else did.
func (r *reconciler) evict(ctx context.Context, pod *corev1.Pod, now time.Time) (gone bool, err error) {
	marked := pod.DeepCopy()
	condition := podset.Condition(marked, corev1.DisruptionTarget)
	if condition == nil {
		marked.Status.Conditions = append(marked.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget})
		condition = podset.Condition(marked, corev1.DisruptionTarget)
	}
	if condition.Status != corev1.ConditionTrue {
		*condition = corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation, LastTransitionTime: metav1.NewTime(now),
			Reason: "DeletionByDeviceTaintManager", Message: "Device Taint manager: deleting due to NoExecute taint",
		}
		if err := r.client.UpdateStatus(ctx, marked); apierrors.IsNotFound(err) {
			return true, nil
		} else if err != nil {
			return false, fmt.Errorf("mark pod %s/%s for eviction: %w", pod.Namespace, pod.Name, err)
		}
	}
	r.events.Event(pod, corev1.EventTypeNormal, reasonEviction, "Marking for deletion")
	err = r.client.Delete(ctx, pod, client.DeleteOptions{UID: pod.UID})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("evict pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return false, nil
}

package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/toleration"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// evict deletes the pods whose toleration of the node's taints has ended, and
// asks to be called when the next one ends. Those, and others that are being
// deleted, are removed at once where the node's agent has stopped them.
func (r *reconciler) evict(ctx context.Context, node *corev1.Node, last renewal, pods []*corev1.Pod, now time.Time) (runner.Outcome, error) {
	taints := noExecute(node)
	if len(taints) == 0 {
		return runner.Done(), nil
	}
	light, lit := r.light(now)
	if !lit && nodeReady(node) != corev1.ConditionTrue {
		return runner.Done(), nil // a node that becomes ready brings all back
	}
	fenced := last.promise > 0 && unreachable(taints) && nodeReady(node) == corev1.ConditionUnknown
	next := runner.Done()
	var errs []error
	var stopped []*corev1.Pod
	for _, pod := range pods {
		deleting := pod.DeletionTimestamp != nil
		if !deleting {
			at, evicted := deadline(pod, taints, light)
			if !evicted || podset.IsFinished(pod) {
				continue
			}
			if at.After(now) {
				next = next.Sooner(runner.RequeueAfter(at.Sub(now)))
				continue
			}
		}
		wait, known := r.untilReplaced(last, pod, now)
		switch {
		case fenced && known && wait <= 0:
			stopped = append(stopped, pod)
			continue
		case fenced && known:
			next = next.Sooner(runner.RequeueAfter(wait))
		}
		if !deleting {
			errs = append(errs, r.evictPod(ctx, pod, now))
		}
	}
	if len(stopped) > 0 {
		again, err := r.replace(ctx, node, last, stopped, now)
		next, errs = next.Sooner(again), append(errs, err)
	}
	return next, errors.Join(errs...)
}

// light says whether any node is ready, and since when if we have seen a time
// without.
func (r *reconciler) light(now time.Time) (since time.Time, lit bool) {
	lit = r.zones.lit()
	r.mu.Lock()
	defer r.mu.Unlock()
	if lit && r.dark {
		r.lightSince = now
	}
	r.dark = !lit
	return r.lightSince, lit
}

// deadline returns when a pod must leave a node with the taints; false if it
// may stay. A taint that the pod does not tolerate ends its stay at once, one
// that it tolerates for some seconds so long after the taint was added. Time
// in the dark does not count.
func deadline(pod *corev1.Pod, taints []corev1.Taint, light time.Time) (at time.Time, evicted bool) {
	for _, t := range taints {
		added := light
		if t.TimeAdded != nil && t.TimeAdded.After(light) {
			added = t.TimeAdded.Time
		}
		seconds, bounded := toleration.For(pod, t)
		if !bounded {
			continue
		}
		if end := added.Add(time.Duration(seconds) * time.Second); !evicted || end.Before(at) {
			at, evicted = end, true
		}
	}
	return at, evicted
}

// evictPod says in the pod's status why it goes, and deletes it.
func (r *reconciler) evictPod(ctx context.Context, pod *corev1.Pod, now time.Time) error {
	changed := pod.DeepCopy()
	if podset.Condition(changed, corev1.DisruptionTarget) == nil {
		changed.Status.Conditions = append(changed.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
			Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
		})
		if err := r.client.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("mark pod %s/%s for eviction: %w", pod.Namespace, pod.Name, err)
		}
	}
	r.events.Event(pod, corev1.EventTypeNormal, "TaintManagerEviction", fmt.Sprintf("Marking for deletion Pod %s/%s", pod.Namespace, pod.Name))
	err := r.client.Delete(ctx, pod, client.DeleteOptions{UID: pod.UID})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("evict pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

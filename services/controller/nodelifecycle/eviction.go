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
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// evict deletes the pods whose toleration of the node's taints has ended, and
// asks to be called when the next one ends.
func (r *reconciler) evict(ctx context.Context, node *corev1.Node, pods []*corev1.Pod, now time.Time) (runner.Outcome, error) {
	taints := noExecute(node)
	if len(taints) == 0 {
		return runner.Done(), nil
	}
	light, lit := r.light(now)
	if !lit && nodeReady(node) != corev1.ConditionTrue {
		return runner.Done(), nil // a node that becomes ready brings all back
	}
	next := runner.Done()
	var errs []error
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil || podset.IsFinished(pod) {
			continue
		}
		deadline, evicted := deadline(pod, taints, light)
		switch {
		case !evicted:
		case deadline.After(now):
			next = next.Sooner(runner.RequeueAfter(deadline.Sub(now)))
		default:
			errs = append(errs, r.evictPod(ctx, pod, now))
		}
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
		seconds, bounded := toleratedFor(pod, t)
		if !bounded {
			continue
		}
		if end := added.Add(time.Duration(seconds) * time.Second); !evicted || end.Before(at) {
			at, evicted = end, true
		}
	}
	return at, evicted
}

// toleratedFor returns how many seconds a pod tolerates a taint: the least of
// its tolerations that match; not bounded if one has no limit and none has
// less.
func toleratedFor(pod *corev1.Pod, taint corev1.Taint) (seconds int64, bounded bool) {
	matched := false
	for _, t := range pod.Spec.Tolerations {
		if !tolerates(t, taint) {
			continue
		}
		matched = true
		if t.TolerationSeconds != nil {
			s := max(*t.TolerationSeconds, 0)
			if !bounded || s < seconds {
				seconds, bounded = s, true
			}
		}
	}
	return seconds, bounded || !matched
}

// tolerates follows the documented rules of tolerations: an empty effect
// matches all effects, an empty key with Exists all keys.
func tolerates(t corev1.Toleration, taint corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return t.Key != "" && t.Value == taint.Value
	default:
		return false
	}
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

package disruption

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

// stale takes back the word of disruptions that do not happen. Who disrupts a
// pod marks it first and deletes it then; if the second fails, the mark would
// make a later failure of the pod look like a disruption.
type stale struct {
	client *client.Client
	pods   *client.Informer[*corev1.Pod]
}

// NewStale returns the controller that unmarks pods which nobody deletes.
func NewStale(deps runner.Deps) (*runner.Controller, error) {
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	c := runner.New("staledisruption", &stale{deps.Client, pods}, deps, runner.Options{})
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{Keys: func(p *corev1.Pod) []string {
		if !isMarked(p) {
			return nil
		}
		return runner.Self(p)
	}})
	return c, nil
}

// isMarked says whether a pod is to be deleted and has neither been nor ended.
func isMarked(pod *corev1.Pod) bool {
	c := podset.Condition(pod, corev1.DisruptionTarget)
	return c != nil && c.Status == corev1.ConditionTrue && podset.IsActive(pod)
}

// Reconcile implements runner.Reconciler.
func (s *stale) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	stored, ok := s.pods.GetByKey(key)
	if !ok || !isMarked(stored) {
		return runner.Done(), nil
	}
	now := time.Now()
	mark := podset.Condition(stored, corev1.DisruptionTarget)
	if wait := mark.LastTransitionTime.Add(evictionTimeout).Sub(now); wait > 0 {
		return runner.RequeueAfter(wait), nil
	}
	pod := stored.DeepCopy()
	*podset.Condition(pod, corev1.DisruptionTarget) = corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse,
		ObservedGeneration: pod.Generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	}
	if err := s.client.UpdateStatus(ctx, pod); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("take back the disruption: %w", err)
	}
	return runner.Done(), nil
}

package scheduler

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// evictor ends the victims of preemption. It implements preemption.Cluster.
type evictor struct{ scheduler *Scheduler }

// Budgets returns a namespace's disruption budgets.
func (e *evictor) Budgets(namespace string) []*policyv1.PodDisruptionBudget {
	return e.scheduler.budgets.InNamespace(namespace)
}

// Nominated returns the pods for which room is being made on a node, and that
// have at least the pod's priority.
func (e *evictor) Nominated(node string, pod *snapshot.PodInfo) []*snapshot.PodInfo {
	return e.scheduler.nominations.On(node, pod)
}

// Evict marks the victim's end as a disruption, which its controller does not
// count as a failure, and deletes it. Its grace period holds.
func (e *evictor) Evict(ctx context.Context, victim, pod *corev1.Pod, node string) error {
	if victim.DeletionTimestamp != nil {
		return nil
	}
	if e.scheduler.waiting.Reject(victim.UID, "", "preempted") {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            fmt.Sprintf("%s: preempting to accommodate a higher priority pod", pod.Spec.SchedulerName),
		LastTransitionTime: metav1.Now(),
	}}}})
	if err != nil {
		return fmt.Errorf("encode disruption condition: %w", err)
	}
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: victim.Namespace, Name: victim.Name}}
	if err := e.scheduler.client.Patch(ctx, target, types.StrategicMergePatchType, patch, "status"); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("mark disruption: %w", err)
	}
	target = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: victim.Namespace, Name: victim.Name}}
	if err := e.scheduler.client.Delete(ctx, target, client.DeleteOptions{UID: victim.UID}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete: %w", err)
	}
	e.scheduler.event(victim, pod, corev1.EventTypeNormal, "Preempted", fmt.Sprintf("Preempted by pod %s on node %s", pod.UID, node))
	return nil
}

// Displace takes the nominations to a node back of pods with a lower priority than
// pod's: they may not fit there any more, and look elsewhere at once rather than
// when the victims have ended.
func (e *evictor) Displace(node string, pod *snapshot.PodInfo) {
	for _, lower := range e.scheduler.nominations.displace(node, pod) {
		e.scheduler.conditions.clearNomination(lower.Pod)
		e.scheduler.noLongerNominated(lower, node, true)
	}
}

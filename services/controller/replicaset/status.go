package replicaset

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/podset"
)

// updateStatus writes the status if it is not what is stored.
func (r *reconciler) updateStatus(ctx context.Context, rs *appsv1.ReplicaSet, owner kinds.Object, pods []*corev1.Pod, manageErr error, now time.Time) error {
	status := computeStatus(rs, pods, manageErr, now)
	if !r.source.countsTerminating {
		status.TerminatingReplicas = nil
	}
	if equality.Semantic.DeepEqual(status, rs.Status) {
		return nil
	}
	changed := rs.DeepCopy()
	changed.Status = status
	if err := r.source.writeStatus(ctx, changed, owner); err != nil {
		return fmt.Errorf("update the status: %w", err)
	}
	return nil
}

// computeStatus counts the pods of a set. Terminating pods are counted apart.
func computeStatus(rs *appsv1.ReplicaSet, pods []*corev1.Pod, manageErr error, now time.Time) appsv1.ReplicaSetStatus {
	status := *rs.Status.DeepCopy()
	status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0, 0
	status.ObservedGeneration = rs.Generation
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	var terminating int32
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			terminating++
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		if podset.IsReady(pod) {
			status.ReadyReplicas++
		}
		if podset.IsAvailable(pod, rs.Spec.MinReadySeconds, now) {
			status.AvailableReplicas++
		}
	}
	status.TerminatingReplicas = &terminating
	status.Conditions = failureCondition(status.Conditions, int(replicas(rs))-int(status.Replicas), manageErr, now)
	return status
}

// failureCondition returns the conditions with ReplicaFailure while pods
// cannot be created or deleted, and without it otherwise.
func failureCondition(conditions []appsv1.ReplicaSetCondition, missing int, err error, now time.Time) []appsv1.ReplicaSetCondition {
	isFailure := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	if err == nil {
		return slices.DeleteFunc(conditions, isFailure)
	}
	if slices.ContainsFunc(conditions, isFailure) {
		return conditions
	}
	reason := "FailedCreate"
	if missing < 0 {
		reason = "FailedDelete"
	}
	return append(conditions, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: err.Error(),
	})
}

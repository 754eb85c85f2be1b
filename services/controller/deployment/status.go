package deployment

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"navarch.dev/navarch/services/controller/runner"
)

// status computes the Deployment's status from its ReplicaSets'.
func (ro *rollout) status() appsv1.DeploymentStatus {
	s := *ro.d.Status.DeepCopy()
	s.ObservedGeneration = ro.d.Generation
	s.Replicas, s.ReadyReplicas, s.UpdatedReplicas, s.AvailableReplicas = 0, 0, 0, 0
	var terminating int32
	for _, rs := range ro.all() {
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
		if rs.Status.TerminatingReplicas != nil {
			terminating += *rs.Status.TerminatingReplicas
		}
	}
	s.TerminatingReplicas = &terminating
	if ro.newRS != nil {
		s.UpdatedReplicas = ro.newRS.Status.Replicas
	}
	s.UnavailableReplicas = max(totalSize(ro.all())-s.AvailableReplicas, 0)
	if s.AvailableReplicas >= *ro.d.Spec.Replicas-maxUnavailable(ro.d) {
		setCondition(&s, ro.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue,
			reasonAvailable, "Deployment has minimum availability."))
	} else {
		setCondition(&s, ro.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse,
			reasonUnavailable, "Deployment does not have minimum availability."))
	}
	return s
}

// report writes the status of a rollout under way, with its progress.
func (ro *rollout) report(ctx context.Context) (runner.Outcome, error) {
	s := ro.status()
	ro.noteProgress(&s)
	ro.noteFailure(&s)
	if err := ro.writeStatus(ctx, s); err != nil {
		return runner.Done(), err
	}
	return runner.RequeueAfter(ro.deadlineIn(s)), nil
}

// noteFailure takes over the ReplicaFailure condition of the new ReplicaSet
// or, without it, of an old one.
func (ro *rollout) noteFailure(s *appsv1.DeploymentStatus) {
	sets := ro.all()
	for i := len(sets) - 1; i >= 0; i-- {
		for _, c := range sets[i].Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				setCondition(s, ro.condition(appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message))
				return
			}
		}
	}
	dropCondition(s, appsv1.DeploymentReplicaFailure)
}

// writeStatus stores a status unless the stored one is the same.
func (ro *rollout) writeStatus(ctx context.Context, s appsv1.DeploymentStatus) error {
	stored, ok := ro.deployments.Get(ro.d.Namespace, ro.d.Name)
	if ok && stored.UID == ro.d.UID && equality.Semantic.DeepEqual(stored.Status, s) {
		return nil
	}
	changed := ro.d.DeepCopy()
	changed.Status = s
	if err := ro.client.UpdateStatus(ctx, changed); err != nil {
		return fmt.Errorf("update the status: %w", err)
	}
	ro.d.ResourceVersion, ro.d.Status = changed.ResourceVersion, changed.Status
	return nil
}

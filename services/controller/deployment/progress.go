package deployment

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of the conditions. kubectl rollout status reads
// reasonTimedOut, people the others.
const (
	reasonNewReplicaSetCreated   = "NewReplicaSetCreated"
	reasonFoundNewReplicaSet     = "FoundNewReplicaSet"
	reasonReplicaSetUpdated      = "ReplicaSetUpdated"
	reasonNewReplicaSetAvailable = "NewReplicaSetAvailable"
	reasonFailedCreate           = "ReplicaSetCreateError"
	reasonTimedOut               = "ProgressDeadlineExceeded"
	reasonPaused                 = "DeploymentPaused"
	reasonResumed                = "DeploymentResumed"
	reasonAvailable              = "MinimumReplicasAvailable"
	reasonUnavailable            = "MinimumReplicasUnavailable"
)

func condition(s appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func dropCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

// setCondition puts a condition in place of the one of its type, unless that
// says the same already. Only a change of status is a transition.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if have := condition(*s, c.Type); have != nil {
		if have.Status == c.Status && have.Reason == c.Reason {
			return
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
	}
	dropCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func (ro *rollout) condition(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	now := metav1.NewTime(ro.now)
	return appsv1.DeploymentCondition{
		Type: t, Status: status, LastUpdateTime: now, LastTransitionTime: now, Reason: reason, Message: message,
	}
}

func (ro *rollout) progressing(status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	return ro.condition(appsv1.DeploymentProgressing, status, reason, message)
}

// progressDeadline is how long a rollout may make no progress; 0 is forever.
func (ro *rollout) progressDeadline() time.Duration {
	s := ro.d.Spec.ProgressDeadlineSeconds
	if s == nil || *s == math.MaxInt32 {
		return 0
	}
	return time.Duration(*s) * time.Second
}

// notePause shows in the Progressing condition that the rollout was paused or
// resumed, so that the time in between does not count against its deadline.
func (ro *rollout) notePause(ctx context.Context) error {
	if ro.progressDeadline() == 0 {
		return nil
	}
	c := condition(ro.d.Status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == reasonTimedOut {
		return nil
	}
	status := *ro.d.Status.DeepCopy()
	isPaused := c != nil && c.Reason == reasonPaused
	switch {
	case ro.d.Spec.Paused && !isPaused:
		setCondition(&status, ro.progressing(corev1.ConditionUnknown, reasonPaused, "Deployment is paused"))
	case !ro.d.Spec.Paused && isPaused:
		setCondition(&status, ro.progressing(corev1.ConditionUnknown, reasonResumed, "Deployment is resumed"))
	default:
		return nil
	}
	return ro.writeStatus(ctx, status)
}

// isComplete says whether every pod is of the new version and available.
func isComplete(d *appsv1.Deployment, s appsv1.DeploymentStatus) bool {
	want := *d.Spec.Replicas
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

// hasProgressed says whether the rollout moved on from one status to another.
func hasProgressed(from, to appsv1.DeploymentStatus) bool {
	return to.UpdatedReplicas > from.UpdatedReplicas ||
		to.Replicas-to.UpdatedReplicas < from.Replicas-from.UpdatedReplicas ||
		to.ReadyReplicas > from.ReadyReplicas || to.AvailableReplicas > from.AvailableReplicas
}

// hasTimedOut says whether the rollout has made no progress for too long.
func (ro *rollout) hasTimedOut(s appsv1.DeploymentStatus) bool {
	c := condition(s, appsv1.DeploymentProgressing)
	if c == nil || c.Reason == reasonNewReplicaSetAvailable {
		return false
	}
	if c.Reason == reasonTimedOut {
		return true
	}
	return c.LastUpdateTime.Add(ro.progressDeadline()).Before(ro.now)
}

// noteProgress sets the Progressing condition of a status to come.
func (ro *rollout) noteProgress(s *appsv1.DeploymentStatus) {
	have := condition(ro.d.Status, appsv1.DeploymentProgressing)
	if ro.progressDeadline() == 0 {
		dropCondition(s, appsv1.DeploymentProgressing)
		return
	}
	if s.Replicas == s.UpdatedReplicas && have != nil && have.Reason == reasonNewReplicaSetAvailable {
		return // complete before; what happens to its pods now is no rollout
	}
	name := fmt.Sprintf("Deployment %q", ro.d.Name)
	if ro.newRS != nil {
		name = fmt.Sprintf("ReplicaSet %q", ro.newRS.Name)
	}
	switch {
	case isComplete(ro.d, *s):
		setCondition(s, ro.progressing(corev1.ConditionTrue, reasonNewReplicaSetAvailable, name+" has successfully progressed."))
	case hasProgressed(ro.d.Status, *s):
		c := ro.progressing(corev1.ConditionTrue, reasonReplicaSetUpdated, name+" is progressing.")
		if have != nil && have.Status == corev1.ConditionTrue {
			c.LastTransitionTime = have.LastTransitionTime
		}
		// Removed first: the time of the update must move on with every
		// progress, it is what the deadline is measured from.
		dropCondition(s, appsv1.DeploymentProgressing)
		setCondition(s, c)
	case ro.hasTimedOut(*s):
		setCondition(s, ro.progressing(corev1.ConditionFalse, reasonTimedOut, name+" has timed out progressing."))
	}
}

// deadlineIn returns how long until a rollout that makes no progress has timed
// out; 0 if there is nothing to wait for.
func (ro *rollout) deadlineIn(s appsv1.DeploymentStatus) time.Duration {
	c := condition(s, appsv1.DeploymentProgressing)
	if ro.progressDeadline() == 0 || c == nil || c.Reason == reasonTimedOut || c.Reason == reasonNewReplicaSetAvailable || isComplete(ro.d, s) {
		return 0
	}
	// Times are stored in whole seconds: one more, to be surely past it.
	return max(c.LastUpdateTime.Add(ro.progressDeadline()).Sub(ro.now), 0) + time.Second
}

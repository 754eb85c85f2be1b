package job

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/runner"
)

func (s *step) condition(t batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range s.job.Status.Conditions {
		if s.job.Status.Conditions[i].Type == t {
			return &s.job.Status.Conditions[i]
		}
	}
	return nil
}

func (s *step) has(t batchv1.JobConditionType) bool {
	c := s.condition(t)
	return c != nil && c.Status == corev1.ConditionTrue
}

func (s *step) set(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(s.now)
	fresh := batchv1.JobCondition{Type: t, Status: status, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
	if c := s.condition(t); c != nil {
		*c = fresh
		return
	}
	s.job.Status.Conditions = append(s.job.Status.Conditions, fresh)
}

func (s *step) isFinished() bool { return s.has(batchv1.JobComplete) || s.has(batchv1.JobFailed) }

// isEnding says whether the outcome is known and pods may still have to go.
func (s *step) isEnding() bool {
	return s.has(batchv1.JobSuccessCriteriaMet) || s.has(batchv1.JobFailureTarget)
}

func (s *step) finishedAt() time.Time {
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if s.has(t) {
			return s.condition(t).LastTransitionTime.Time
		}
	}
	return s.now
}

// judge decides whether the Job has reached its end. The outcome is noted
// first (FailureTarget, SuccessCriteriaMet), and becomes final when no pod of
// the Job runs any more and all are counted.
func (s *step) judge() {
	if !s.isEnding() {
		if reason, message := s.failure(); reason != "" {
			s.set(batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message)
		} else if reason, message := s.success(); reason != "" {
			s.set(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, reason, message)
		}
	}
	list := s.job.Status.UncountedTerminatedPods
	if !s.isEnding() || len(s.active)+len(s.terminating)+len(list.Succeeded)+len(list.Failed)+s.uncounted > 0 {
		return
	}
	if c := s.condition(batchv1.JobFailureTarget); c != nil {
		s.set(batchv1.JobFailed, corev1.ConditionTrue, c.Reason, c.Message)
		s.events.Event(s.job, corev1.EventTypeWarning, c.Reason, c.Message)
		return
	}
	c := s.condition(batchv1.JobSuccessCriteriaMet)
	s.set(batchv1.JobComplete, corev1.ConditionTrue, c.Reason, c.Message)
	s.job.Status.CompletionTime = ptr.To(metav1.NewTime(s.now))
	if most := s.job.Spec.Completions; most != nil && s.job.Status.Succeeded > *most {
		s.events.Event(s.job, corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	s.events.Event(s.job, corev1.EventTypeNormal, "Completed", "Job completed")
}

// failure returns why the Job has failed; an empty reason if it has not.
func (s *step) failure() (reason, message string) {
	for _, pod := range s.pods {
		if !isTracked(pod) || !s.hasFailed(pod) {
			continue
		}
		if v := verdictOn(s.job.Spec.PodFailurePolicy, pod); v.action == batchv1.PodFailurePolicyActionFailJob {
			return batchv1.JobReasonPodFailurePolicy, v.message
		}
	}
	limit := ptr.Deref(s.job.Spec.BackoffLimit, 6)
	if s.failedPods() > limit || s.restartsBeyond(limit) {
		return batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	}
	if left := s.untilDeadline(); s.hasDeadline() && left.After() == 0 {
		return batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
	}
	if !limitsIndexes(s.job) {
		return "", ""
	}
	if most := s.job.Spec.MaxFailedIndexes; most != nil && len(s.failed) > int(*most) {
		return batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes"
	}
	if len(s.failed) > 0 && len(s.failed)+len(s.completed) >= s.completions() {
		return batchv1.JobReasonFailedIndexes, "Job has failed indexes"
	}
	return "", ""
}

// restartsBeyond counts container restarts where the agent restarts failed
// containers itself.
func (s *step) restartsBeyond(limit int32) bool {
	if s.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var restarts int32
	for _, pod := range s.active {
		for _, c := range pod.Status.ContainerStatuses {
			restarts += c.RestartCount
		}
		for _, c := range pod.Status.InitContainerStatuses {
			restarts += c.RestartCount
		}
	}
	if limit == 0 {
		return restarts > 0
	}
	return restarts >= limit
}

func (s *step) hasDeadline() bool {
	return s.job.Spec.ActiveDeadlineSeconds != nil && s.job.Status.StartTime != nil
}

// untilDeadline asks to be called when the Job's time is up.
func (s *step) untilDeadline() runner.Outcome {
	if !s.hasDeadline() {
		return runner.Done()
	}
	end := s.job.Status.StartTime.Add(time.Duration(*s.job.Spec.ActiveDeadlineSeconds) * time.Second)
	return runner.RequeueAfter(end.Sub(s.now))
}

// success returns why the Job has succeeded; an empty reason if it has not.
func (s *step) success() (reason, message string) {
	if rule, ok := s.successRule(); ok {
		return batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule)
	}
	if s.isComplete() {
		return batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods"
	}
	return "", ""
}

// isComplete says whether nothing is left to do. Without a number of
// completions, one success ends the Job once its other pods have ended too.
func (s *step) isComplete() bool {
	if s.job.Spec.Completions == nil {
		return s.successes() > 0 && len(s.active)+len(s.terminating) == 0
	}
	return s.successes() >= *s.job.Spec.Completions
}

package kinds

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds/rule"
)

// validateJobStatus: whoever controls a job (KEP-4368) tells a story that its
// readers can rely on. What was wrong before does not keep the rest from being
// told.
func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	return rule.Join(
		validateJobCounts(&j.Status),
		rule.Unchanged(validateJobStory(j), validateJobStory(old)),
		validateJobProgress(j, old),
	)
}

func validateJobCounts(s *batchv1.JobStatus) field.ErrorList {
	at := field.NewPath("status")
	errs := rule.Join(
		rule.NonNegative(&s.Active, at.Child("active")), rule.NonNegative(&s.Succeeded, at.Child("succeeded")), rule.NonNegative(&s.Failed, at.Child("failed")),
		rule.NonNegative(s.Ready, at.Child("ready")), rule.NonNegative(s.Terminating, at.Child("terminating")),
	)
	if s.UncountedTerminatedPods == nil {
		return errs
	}
	seen, at := rule.Seen[types.UID]{}, at.Child("uncountedTerminatedPods")
	once := func(uid *types.UID, at *field.Path) field.ErrorList {
		if *uid == "" {
			return field.ErrorList{field.Invalid(at, *uid, "must not be empty")}
		}
		return seen.Once(*uid, at)
	}
	return rule.Join(errs, rule.Each(s.UncountedTerminatedPods.Succeeded, at.Child("succeeded"), once), rule.Each(s.UncountedTerminatedPods.Failed, at.Child("failed"), once))
}

// validateJobStory: what a status says fits together, and with what was asked for.
func validateJobStory(j *batchv1.Job) field.ErrorList {
	return rule.Join(validateJobConditions(j), validateJobTimes(j), validateFinishedJob(j), validateReportedIndexes(j))
}

func validateJobConditions(j *batchv1.Job) field.ErrorList {
	complete, failed := hasCondition(j, batchv1.JobComplete), hasCondition(j, batchv1.JobFailed)
	failing, succeeded := hasCondition(j, batchv1.JobFailureTarget), hasCondition(j, batchv1.JobSuccessCriteriaMet)
	var errs field.ErrorList
	for _, c := range []struct {
		wrong bool
		said  string
	}{
		{complete && failed, "cannot set Complete=True and Failed=true conditions"},
		{complete && failing, "cannot set Complete=True and FailureTarget=true conditions"},
		{failed && !failing, "cannot set Failed=True condition without the FailureTarget=true condition"},
		{complete && !succeeded, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		{succeeded && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"},
		{succeeded && failing, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
		{j.Spec.SuccessPolicy != nil && complete && !succeeded, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"},
	} {
		if c.wrong {
			errs = append(errs, field.Invalid(field.NewPath("status", "conditions"), field.OmitValueType{}, c.said))
		}
	}
	return errs
}

func validateJobTimes(j *batchv1.Job) field.ErrorList {
	s, complete := &j.Status, hasCondition(j, batchv1.JobComplete)
	at := field.NewPath("status", "completionTime")
	switch {
	case s.CompletionTime == nil && complete:
		return field.ErrorList{field.Required(at, "completionTime is required for Complete jobs")}
	case s.CompletionTime == nil:
		return nil
	}
	var errs field.ErrorList
	if !complete {
		errs = append(errs, field.Invalid(at, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	}
	if s.StartTime != nil && s.CompletionTime.Before(s.StartTime) {
		errs = append(errs, field.Invalid(at, s.CompletionTime, "must be equal to or after `startTime`"))
	}
	return errs
}

// validateFinishedJob: nothing of a job goes on when it has ended.
func validateFinishedJob(j *batchv1.Job) field.ErrorList {
	s, at := &j.Status, field.NewPath("status")
	var errs field.ErrorList
	if s.Ready != nil && *s.Ready > s.Active {
		errs = append(errs, field.Invalid(at.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
	}
	if !hasCondition(j, batchv1.JobComplete) && !hasCondition(j, batchv1.JobFailed) {
		return errs
	}
	if s.Active > 0 {
		errs = append(errs, field.Invalid(at.Child("active"), s.Active, "active>0 is invalid for finished job"))
	}
	if neverRan := deref(j.Spec.Suspend) && ptr.Equal(j.Spec.Completions, ptr.To[int32](0)); s.StartTime == nil && !neverRan {
		errs = append(errs, field.Required(at.Child("startTime"), "startTime is required for finished job"))
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Succeeded)+len(u.Failed) > 0 {
		errs = append(errs, field.Invalid(at.Child("uncountedTerminatedPods"), u, "must be empty for finished job"))
	}
	if deref(s.Terminating) > 0 {
		errs = append(errs, field.Invalid(at.Child("terminating"), *s.Terminating, "terminating>0 is invalid for finished job"))
	}
	return errs
}

// validateReportedIndexes: indexes are told of jobs that have any, once each.
func validateReportedIndexes(j *batchv1.Job) field.ErrorList {
	s, completed, failed := &j.Status, field.NewPath("status", "completedIndexes"), field.NewPath("status", "failedIndexes")
	var errs field.ErrorList
	if s.CompletedIndexes != "" && deref(j.Spec.CompletionMode) != batchv1.IndexedCompletion {
		errs = append(errs, field.Invalid(completed, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
	}
	if s.FailedIndexes != nil && j.Spec.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(failed, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
	}
	if j.Spec.Completions == nil {
		return errs
	}
	if _, err := countIndexes(s.CompletedIndexes, *j.Spec.Completions); err != nil {
		errs = append(errs, field.Invalid(completed, s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %v", err)))
	}
	if s.FailedIndexes == nil {
		return errs
	}
	if _, err := countIndexes(*s.FailedIndexes, *j.Spec.Completions); err != nil && j.Spec.BackoffLimitPerIndex != nil {
		errs = append(errs, field.Invalid(failed, *s.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %v", err)))
	}
	if both, found := firstInBoth(s.CompletedIndexes, *s.FailedIndexes, *j.Spec.Completions); found {
		errs = append(errs, field.Invalid(failed, *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", both)))
	}
	return errs
}

// firstInBoth returns the first index that two texts have in common. What is none is
// left out. Both are in order, so each interval is looked at once.
func firstInBoth(a, b string, completions int32) (int32, bool) {
	as, bs := strings.Split(a, ","), strings.Split(b, ",")
	for len(as) > 0 && len(bs) > 0 {
		aFirst, aLast, err := parseInterval(as[0], completions)
		if err != nil {
			as = as[1:]
			continue
		}
		bFirst, bLast, err := parseInterval(bs[0], completions)
		switch {
		case err != nil:
			bs = bs[1:]
		case aFirst <= bLast && bFirst <= aLast:
			return max(aFirst, bFirst), true
		case aFirst <= bFirst:
			as = as[1:]
		default:
			bs = bs[1:]
		}
	}
	return 0, false
}

// validateJobProgress: what has been counted stays counted, and what has ended
// stays so.
func validateJobProgress(j, old *batchv1.Job) field.ErrorList {
	s, was, at := &j.Status, &old.Status, field.NewPath("status")
	var errs field.ErrorList
	for _, ended := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if hasCondition(old, ended) && !hasCondition(j, ended) {
			errs = append(errs, field.Invalid(at.Child("conditions"), field.OmitValueType{}, fmt.Sprintf("cannot disable the terminal %s=True condition", ended)))
		}
	}
	if s.Failed < was.Failed {
		errs = append(errs, field.Invalid(at.Child("failed"), s.Failed, "cannot decrease the failed counter"))
	}
	shrinks := deref(j.Spec.CompletionMode) == batchv1.IndexedCompletion && ptr.Equal(j.Spec.Completions, j.Spec.Parallelism)
	if s.Succeeded < was.Succeeded && !shrinks {
		errs = append(errs, field.Invalid(at.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter"))
	}
	if s.CompletionTime != nil && was.CompletionTime != nil && !s.CompletionTime.Equal(was.CompletionTime) {
		errs = append(errs, field.Invalid(at.Child("completionTime"), s.CompletionTime, "field is immutable"))
	}
	resumes := hasCondition(old, batchv1.JobSuspended) && isJobCondition(j, batchv1.JobSuspended, corev1.ConditionFalse)
	if was.StartTime != nil && !was.StartTime.Equal(s.StartTime) && !deref(j.Spec.Suspend) && !resumes {
		errs = append(errs, field.Invalid(at.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set"))
	}
	before, now := hasCondition(old, batchv1.JobSuccessCriteriaMet), hasCondition(j, batchv1.JobSuccessCriteriaMet)
	if before && !now {
		errs = append(errs, field.Invalid(at.Child("conditions"), field.OmitValueType{}, "cannot disable the SuccessCriteriaMet=True condition"))
	}
	if now && !before && hasCondition(old, batchv1.JobComplete) {
		errs = append(errs, field.Invalid(at.Child("conditions"), field.OmitValueType{}, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"))
	}
	return errs
}

func hasCondition(j *batchv1.Job, of batchv1.JobConditionType) bool {
	return isJobCondition(j, of, corev1.ConditionTrue)
}

func isJobCondition(j *batchv1.Job, of batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == of && c.Status == status })
}

package cronjob

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
)

// jobName names the Job of a CronJob's run.
func jobName(c *batchv1.CronJob, due time.Time) string {
	return fmt.Sprintf("%s-%d", c.Name, due.Unix()/60)
}

// newJob returns the Job that is due at a time.
func (s *step) newJob(due time.Time) *batchv1.Job {
	template := s.cronJob.Spec.JobTemplate.DeepCopy()
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = make(map[string]string)
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.In(statedZone(s.cronJob)).Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.cronJob.Namespace, Name: jobName(s.cronJob, due),
			Labels: template.Labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s.cronJob, s.cronJobs.Kind().GVK())},
		},
		Spec: template.Spec,
	}
}

// create makes the Job of a time. A namespace that is being deleted is no
// error: there is just nothing to create.
func (s *step) create(ctx context.Context, due time.Time) error {
	job := s.newJob(due)
	err := s.client.Create(ctx, job)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		return s.takeOver(ctx, job, due)
	case err != nil:
		s.warn("FailedCreate", "Error creating job: "+err.Error())
		return fmt.Errorf("create job %s: %w", job.Name, err)
	}
	s.jobsBarrier.Wrote(s.key, job)
	s.note("SuccessfulCreate", "Created job "+job.Name)
	s.started(job, due)
	return nil
}

// takeOver counts a Job that is there already as this run's, if it is ours.
func (s *step) takeOver(ctx context.Context, job *batchv1.Job, due time.Time) error {
	if err := s.client.Get(ctx, job.Namespace, job.Name, job); err != nil {
		return fmt.Errorf("look at the job %s that is there already: %w", job.Name, err)
	}
	if !metav1.IsControlledBy(job, s.cronJob) {
		s.warn("FailedCreate", "Error creating job: "+job.Name+" exists and belongs to somebody else")
		s.cronJob.Status.LastScheduleTime = &metav1.Time{Time: due}
		return nil
	}
	s.started(job, due)
	return nil
}

// started records a run in the status.
func (s *step) started(job *batchv1.Job, due time.Time) {
	status := &s.cronJob.Status
	status.LastScheduleTime = &metav1.Time{Time: due}
	if !refersTo(status.Active, job) && outcomeOf(job) == "" {
		status.Active = append(status.Active, referenceTo(job))
	}
}

// trimHistory deletes the oldest ended Jobs beyond the numbers that are kept.
func (s *step) trimHistory(ctx context.Context) error {
	for outcome, limit := range map[batchv1.JobConditionType]*int32{
		batchv1.JobComplete: s.cronJob.Spec.SuccessfulJobsHistoryLimit,
		batchv1.JobFailed:   s.cronJob.Spec.FailedJobsHistoryLimit,
	} {
		ended := filter(s.jobs, func(j *batchv1.Job) bool { return outcomeOf(j) == outcome && j.DeletionTimestamp == nil })
		if limit == nil || len(ended) <= int(*limit) {
			continue
		}
		slices.SortStableFunc(ended, func(a, b *batchv1.Job) int { return startOf(a).Compare(startOf(b)) })
		if err := s.deleteJobs(ctx, ended[:len(ended)-int(*limit)]); err != nil {
			return err
		}
	}
	return nil
}

func (s *step) deleteJobs(ctx context.Context, jobs []*batchv1.Job) error {
	var errs []error
	for _, job := range jobs {
		err := s.client.Delete(ctx, job, client.DeleteOptions{UID: job.UID, Propagation: metav1.DeletePropagationBackground})
		switch {
		case err == nil:
			s.note("SuccessfulDelete", "Deleted job "+job.Name)
		case !apierrors.IsNotFound(err):
			s.warn("FailedDelete", "Error deleting job: "+err.Error())
			errs = append(errs, fmt.Errorf("delete job %s: %w", job.Name, err))
		}
	}
	return errors.Join(errs...)
}

// isRun says whether a Job of a CronJob is named for the time that it says it was
// due, as this package names them.
func isRun(c *batchv1.CronJob, job *batchv1.Job) bool {
	due, err := time.Parse(time.RFC3339, job.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	return err == nil && job.Name == jobName(c, due)
}

func refersTo(refs []corev1.ObjectReference, job *batchv1.Job) bool {
	return slices.ContainsFunc(refs, func(r corev1.ObjectReference) bool { return r.UID == job.UID })
}

// outcomeOf returns how a Job has ended: Complete, Failed, or not at all.
func outcomeOf(job *batchv1.Job) batchv1.JobConditionType {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

func startOf(job *batchv1.Job) time.Time {
	if job.Status.StartTime != nil {
		return job.Status.StartTime.Time
	}
	return job.CreationTimestamp.Time
}

func referenceTo(job *batchv1.Job) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: job.Namespace, Name: job.Name, UID: job.UID}
}

func filter(jobs []*batchv1.Job, keep func(*batchv1.Job) bool) []*batchv1.Job {
	var out []*batchv1.Job
	for _, j := range jobs {
		if keep(j) {
			out = append(out, j)
		}
	}
	return out
}

// Package cronjob runs CronJobs: it makes a Job whenever a schedule says so.
//
// A Job is named for its CronJob and the minute it was due, so that however
// often a run is attempted, and by whomever, there is one Job of it.
//
//	cronjob.go   what is watched; one reconcile from start to end
//	schedule.go  when Jobs are due
//	jobs.go      making Jobs, and deleting old ones
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/runner"
)

// settleTimeout is the longest wait for the informers to show our own writes
// before looking again.
const settleTimeout = time.Second

// manyMissed is after how many missed runs users are told that there is something
// wrong, if only with a clock.
const manyMissed = 100

type reconciler struct {
	client   *client.Client
	events   runner.EventRecorder
	cronJobs *client.Informer[*batchv1.CronJob]
	jobs     *client.Informer[*batchv1.Job]
	// A reconcile that does not see the Job or the status that the one before
	// wrote would run the same time again.
	jobsBarrier     *runner.Barrier[*batchv1.Job]
	cronJobsBarrier *runner.Barrier[*batchv1.CronJob]
}

// New returns the controller of CronJobs.
func New(deps runner.Deps) (*runner.Controller, error) {
	cronJobs, err := client.InformerFor[*batchv1.CronJob](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	jobs, err := client.InformerFor[*batchv1.Job](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	r := &reconciler{
		client: deps.Client, events: deps.Events("cronjob-controller"), cronJobs: cronJobs, jobs: jobs,
		jobsBarrier: runner.NewBarrier(jobs), cronJobsBarrier: runner.NewBarrier(cronJobs),
	}
	c := runner.New("cronjob", r, deps, runner.Options{Trace: cronJobs.TraceContext})
	runner.Primary(c, cronJobs)
	runner.Watch(c, jobs, runner.Input[*batchv1.Job]{Keys: makers})
	return c, nil
}

// makers returns the CronJob that made a Job.
func makers(job *batchv1.Job) []string {
	ref := metav1.GetControllerOfNoCopy(job)
	if ref == nil || ref.Kind != "CronJob" {
		return nil
	}
	return []string{job.Namespace + "/" + ref.Name}
}

// Reconcile accounts for a CronJob's Jobs and starts the one that is due, unless
// the CronJob is being deleted.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	cronJob, ok := r.cronJobs.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	if !r.jobsBarrier.Passed(key) || !r.cronJobsBarrier.Passed(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	owned, err := ownership.Owned(r.jobs, cronJob.UID)
	if err != nil {
		return runner.Done(), err
	}
	slices.SortFunc(owned, func(a, b *batchv1.Job) int { return strings.Compare(a.Name, b.Name) })
	s := &step{reconciler: r, key: key, cronJob: cronJob.DeepCopy(), jobs: owned, now: time.Now()}
	s.account()
	if err := s.trimHistory(ctx); err != nil {
		return runner.Done(), err
	}
	if cronJob.DeletionTimestamp != nil {
		return runner.Done(), s.writeStatus(ctx)
	}
	outcome, err := s.run(ctx)
	// What was started is recorded whatever failed after it.
	return outcome, errors.Join(err, s.writeStatus(ctx))
}

// step is one reconcile's view of a CronJob. cronJob is a copy that may be
// changed, jobs are all that belong to it.
type step struct {
	*reconciler
	key     string
	cronJob *batchv1.CronJob
	jobs    []*batchv1.Job
	now     time.Time
}

// run starts the Job that is due and says when the next one is.
func (s *step) run(ctx context.Context) (runner.Outcome, error) {
	if ptr.Deref(s.cronJob.Spec.Suspend, false) {
		return runner.Done(), nil
	}
	times, err := scheduleOf(s.cronJob)
	if err != nil {
		reason := "UnparseableSchedule"
		if errors.As(err, new(zoneError)) {
			reason = "UnknownTimeZone"
		}
		s.warn(reason, err.Error())
		return runner.Done(), runner.Terminal(err)
	}
	outcome := runner.Done()
	if next := times.next(s.now); !next.IsZero() {
		outcome = runner.RequeueAfter(next.Sub(s.now))
	}
	due := times.latest(s.now)
	if due.IsZero() {
		return outcome, nil
	}
	if deadline := s.cronJob.Spec.StartingDeadlineSeconds; deadline != nil {
		if s.now.Sub(due) > time.Duration(*deadline)*time.Second {
			s.warn("MissSchedule", "Missed scheduled time to start a job: "+due.UTC().Format(time.RFC1123Z))
			return outcome, nil
		}
	}
	if times.missed(s.now, s.cronJob.Spec.StartingDeadlineSeconds) > manyMissed {
		s.warn("TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	return outcome, s.startJob(ctx, due)
}

// startJob makes the Job of a time, as far as those that still run allow it.
func (s *step) startJob(ctx context.Context, due time.Time) error {
	for _, job := range s.jobs {
		if job.Name == jobName(s.cronJob, due) {
			s.started(job, due) // and the status could not be written
			return nil
		}
	}
	if active := s.active(); len(active) > 0 {
		switch s.cronJob.Spec.ConcurrencyPolicy {
		case batchv1.ForbidConcurrent:
			s.note("JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
			return nil
		case batchv1.ReplaceConcurrent:
			if err := s.deleteJobs(ctx, active); err != nil {
				return err
			}
			s.cronJob.Status.Active = nil
		}
	}
	return s.create(ctx, due)
}

// account takes what has become of the Jobs over into the status.
func (s *step) account() {
	status := &s.cronJob.Status
	for _, ref := range status.Active {
		i := slices.IndexFunc(s.jobs, func(j *batchv1.Job) bool { return j.UID == ref.UID })
		if i < 0 {
			s.note("MissingJob", "Active job went missing: "+ref.Name)
			continue
		}
		if end := outcomeOf(s.jobs[i]); end != "" {
			s.note("SawCompletedJob", fmt.Sprintf("Saw completed job: %s, condition: %s", ref.Name, end))
		}
	}
	known := status.Active
	status.Active = nil
	for _, job := range s.jobs {
		switch {
		case outcomeOf(job) != "":
		case refersTo(known, job) || isRun(s.cronJob, job):
			status.Active = append(status.Active, referenceTo(job))
		default:
			s.warn("UnexpectedJob", "Saw a job that the controller did not create or forgot: "+job.Name)
		}
	}
	for _, job := range s.jobs {
		end := job.Status.CompletionTime
		if outcomeOf(job) == batchv1.JobComplete && end != nil && (status.LastSuccessfulTime == nil || status.LastSuccessfulTime.Before(end)) {
			status.LastSuccessfulTime = end.DeepCopy()
		}
	}
}

// active returns the runs that have not ended. One that is being deleted may still
// have pods. What users make of the CronJob themselves, as kubectl create job --from
// does, is no run: it keeps none from starting, and is not replaced.
func (s *step) active() []*batchv1.Job {
	return filter(s.jobs, func(j *batchv1.Job) bool { return refersTo(s.cronJob.Status.Active, j) })
}

// writeStatus stores the status unless the stored one is the same.
func (s *step) writeStatus(ctx context.Context) error {
	stored, ok := s.cronJobs.GetByKey(s.key)
	if ok && equality.Semantic.DeepEqual(stored.Status, s.cronJob.Status) {
		return nil
	}
	if err := s.client.UpdateStatus(ctx, s.cronJob); err != nil {
		return fmt.Errorf("update the status: %w", err)
	}
	s.cronJobsBarrier.Wrote(s.key, s.cronJob)
	return nil
}

func (s *step) note(reason, message string) {
	s.events.Event(s.cronJob, corev1.EventTypeNormal, reason, message)
}

func (s *step) warn(reason, message string) {
	s.events.Event(s.cronJob, corev1.EventTypeWarning, reason, message)
}

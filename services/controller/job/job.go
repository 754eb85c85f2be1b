// Package job runs Jobs: pods that are to succeed so many times, then end.
//
// Every pod of a Job has the finalizer batch.kubernetes.io/job-tracking until
// it has been counted, so that none is counted twice or not at all, whoever
// deletes it and whenever this process dies. Counting takes two writes: first
// the pod's uid goes into status.uncountedTerminatedPods; then the finalizer
// comes off the pod; then the uid leaves the list and the count rises.
//
//	job.go       what is watched; one reconcile from start to end
//	strays.go    pods that a Job has lost
//	tally.go     counting pods
//	ending.go    when a Job is complete or has failed
//	policy.go    what the failure and success policies say
//	pods.go      making pods, which indexes they get, how long to wait
//	indexes.go   sets of completion indexes, "0-3,7"
package job

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client  *client.Client
	events  runner.EventRecorder
	jobs    *client.Informer[*batchv1.Job]
	control *podset.Control
	// written holds a Job back until its status is seen as it was written: a pod that
	// it counts has lost its finalizer, and by an older status it would be missing.
	written *runner.Barrier[*batchv1.Job]
}

// settleTimeout is the longest wait for that. Usually the write's event wakes the key
// much sooner.
const settleTimeout = time.Second

// New returns the controller of Jobs.
func New(deps runner.Deps) (*runner.Controller, error) {
	jobs, err := client.InformerFor[*batchv1.Job](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	if _, err := client.InformerFor[*corev1.Pod](deps.Informers, strayIndexers()); err != nil {
		return nil, err
	}
	control, err := podset.NewControl(deps, "job-controller", jobs, func(j *batchv1.Job) (labels.Selector, error) {
		return metav1.LabelSelectorAsSelector(j.Spec.Selector)
	})
	if err != nil {
		return nil, err
	}
	control.Finalizer = batchv1.JobTrackingFinalizer // no pod ends uncounted
	r := &reconciler{client: deps.Client, events: control.Events, jobs: jobs, control: control, written: runner.NewBarrier(jobs)}
	return podset.NewController("job", r, deps, control, jobs), nil
}

// Reconcile moves one Job on.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	job, ok := r.jobs.GetByKey(key)
	if ok && ptr.Deref(job.Spec.ManagedBy, batchv1.JobControllerName) != batchv1.JobControllerName {
		return runner.Done(), nil // another controller's
	}
	if err := r.freeStrays(ctx, key, job); err != nil {
		return runner.Done(), err
	}
	if !ok {
		r.control.Forget(key)
		return runner.Done(), nil
	}
	if wait, settled := r.control.Settled(key); !settled {
		return wait, nil
	}
	if !r.written.Passed(key) {
		return runner.RequeueAfter(settleTimeout), nil
	}
	pods, err := r.control.Claim(ctx, job, job.Spec.Selector, nil)
	if err != nil {
		return runner.Done(), err
	}
	s := &step{reconciler: r, job: job.DeepCopy(), now: time.Now()}
	s.look(pods)
	switch {
	case job.DeletionTimestamp != nil:
		return runner.Done(), s.windUp(ctx)
	case s.isFinished():
		if err := s.freeAll(ctx); err != nil {
			return runner.Done(), err
		}
		return s.expire(ctx)
	}
	return s.run(ctx)
}

// step is one reconcile's view of a Job. job is a copy that may be changed.
type step struct {
	*reconciler
	job *batchv1.Job
	now time.Time

	pods []*corev1.Pod
	// active pods run, or will; terminating ones are being deleted and have
	// not ended.
	active, terminating []*corev1.Pod
	// counted are the pods that may lose their finalizers once the status,
	// which has their uids, is stored; uncounted is how many more have ended.
	counted   []*corev1.Pod
	uncounted int

	// completed and failed are the indexes that have ended. last is the failed
	// pod that the next attempt at an index follows, where each index has a
	// backoff limit of its own.
	completed, failed indexSet
	last              map[int]*corev1.Pod
}

// run does one round: count, judge, write the status, free what was counted,
// and make or delete pods.
func (s *step) run(ctx context.Context) (runner.Outcome, error) {
	s.tally()
	s.start()
	s.judge()
	if err := s.writeStatus(ctx); err != nil {
		return runner.Done(), err
	}
	for _, pod := range s.counted {
		if err := s.free(ctx, pod); err != nil {
			return runner.Done(), err
		}
	}
	switch {
	case s.isFinished():
		return s.expire(ctx)
	case s.endedByUs():
		return runner.Done(), s.remove(ctx, s.active)
	case s.isEnding():
		return runner.Done(), s.control.Delete(ctx, s.job, s.active)
	}
	next, err := s.manage(ctx)
	return next.Sooner(s.untilDeadline()), err
}

// windUp counts what becomes of the pods of a Job that is being deleted, and lets
// go of them.
func (s *step) windUp(ctx context.Context) error {
	if !s.isFinished() {
		s.tally()
		s.judge()
		if err := s.writeStatus(ctx); err != nil {
			return err
		}
	}
	return s.freeAll(ctx)
}

// writeStatus stores the status unless the stored one is the same.
func (s *step) writeStatus(ctx context.Context) error {
	stored, ok := s.jobs.Get(s.job.Namespace, s.job.Name)
	if ok && stored.UID == s.job.UID && equality.Semantic.DeepEqual(stored.Status, s.job.Status) {
		return nil
	}
	if err := s.client.UpdateStatus(ctx, s.job); err != nil {
		return fmt.Errorf("update the status: %w", err)
	}
	s.written.Wrote(cache.MetaObjectToName(s.job).String(), s.job)
	return nil
}

// freeAll lets go of every pod that has ended or is being deleted.
func (s *step) freeAll(ctx context.Context) error {
	for _, pod := range s.pods {
		if podset.IsActive(pod) {
			continue
		}
		if err := s.free(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

// expire deletes a finished Job when its time to live has passed.
func (s *step) expire(ctx context.Context) (runner.Outcome, error) {
	ttl := s.job.Spec.TTLSecondsAfterFinished
	if ttl == nil {
		return runner.Done(), nil
	}
	left := s.finishedAt().Add(time.Duration(*ttl) * time.Second).Sub(s.now)
	if left > 0 {
		return runner.RequeueAfter(left), nil
	}
	err := s.client.Delete(ctx, s.job, client.DeleteOptions{UID: s.job.UID, Propagation: metav1.DeletePropagationForeground})
	if err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("delete the job after its time to live: %w", err)
	}
	return runner.Done(), nil
}

func parallelism(job *batchv1.Job) int32 { return ptr.Deref(job.Spec.Parallelism, 1) }

func isIndexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

package simulation_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// statefulSets is the promise of StatefulSets that make their pods in order.
type statefulSets struct{}

func (statefulSets) check(s *state, e event) error {
	pod, ok := e.obj.(*corev1.Pod)
	if !ok || e.old != nil {
		return nil
	}
	set, ok := s.objects[owner(pod).UID].(*appsv1.StatefulSet)
	if !ok || set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement {
		return nil
	}
	ready := make(map[int]bool)
	for _, other := range s.pods[set.UID] {
		ready[ordinal(other)] = s.seemsReady(other)
	}
	for before := range ordinal(pod) {
		if !ready[before] {
			return fmt.Errorf("statefulset %s makes pod %s while pod %d is not ready", set.Name, pod.Name, before)
		}
	}
	return nil
}

func ordinal(pod *corev1.Pod) int { return ordinalIn(pod.Name[strings.LastIndex(pod.Name, "-")+1:]) }

func ordinalIn(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// jobs is the promise of Jobs: how many pods run, and that the Job's account is
// that of its pods.
type jobs struct {
	accounts map[types.UID]*account
}

// account is what became of a Job's pods.
type account struct {
	succeeded, failed map[types.UID]bool
	indexes           map[string]bool // those that succeeded
	parallelism       []sighting
}

func (j *jobs) of(job types.UID) *account {
	if j.accounts == nil {
		j.accounts = make(map[types.UID]*account)
	}
	if j.accounts[job] == nil {
		j.accounts[job] = &account{succeeded: make(map[types.UID]bool), failed: make(map[types.UID]bool), indexes: make(map[string]bool)}
	}
	return j.accounts[job]
}

func (j *jobs) check(s *state, e event) error {
	switch o := e.obj.(type) {
	case *corev1.Pod:
		job, ok := s.objects[owner(o).UID].(*batchv1.Job)
		if !ok {
			return nil
		}
		a := j.of(job.UID)
		a.enter(o)
		if e.old == nil {
			return a.started(s, job)
		}
	case *batchv1.Job:
		a := j.of(o.UID)
		a.sight(s.now, *o.Spec.Parallelism)
		if old, ok := e.old.(*batchv1.Job); ok && jobEnd(old) == "" && jobEnd(o) != "" {
			return a.ended(o)
		}
	}
	return nil
}

func (a *account) enter(pod *corev1.Pod) {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		a.succeeded[pod.UID] = true
		a.indexes[pod.Annotations[batchv1.JobCompletionIndexAnnotation]] = true
	case pod.Status.Phase == corev1.PodFailed, pod.DeletionTimestamp != nil:
		a.failed[pod.UID] = true
	}
}

func (a *account) sight(now time.Time, parallelism int32) {
	a.parallelism = append(a.parallelism, sighting{now, parallelism})
	for len(a.parallelism) > 1 && now.Sub(a.parallelism[1].since) > lateness {
		a.parallelism = a.parallelism[1:]
	}
}

func (a *account) started(s *state, job *batchv1.Job) error {
	active, allowed := s.countActive(job.UID), int32(0)
	for i, seen := range a.parallelism {
		if i+1 == len(a.parallelism) || s.now.Sub(a.parallelism[i+1].since) <= lateness {
			allowed = max(allowed, seen.n)
		}
	}
	if active > allowed {
		return fmt.Errorf("job %s runs %d pods, its parallelism is %d", job.Name, active, allowed)
	}
	if job.Spec.Completions == nil || isIndexed(job) {
		return nil
	}
	if done := int32(len(a.succeeded)); done+active > *job.Spec.Completions {
		return fmt.Errorf("job %s: %d pods have succeeded and %d run, needed are %d", job.Name, done, active, *job.Spec.Completions)
	}
	return nil
}

func (a *account) ended(job *batchv1.Job) error {
	if n := int32(len(a.failed)); job.Status.Failed > n {
		return fmt.Errorf("job %s counts %d failed pods, %d have failed", job.Name, job.Status.Failed, n)
	}
	if jobEnd(job) == batchv1.JobFailed {
		if n := int32(len(a.failed)); n <= *job.Spec.BackoffLimit {
			return fmt.Errorf("job %s failed with %d failed pods, its limit is %d", job.Name, n, *job.Spec.BackoffLimit)
		}
		return nil
	}
	done := int32(len(a.succeeded))
	if isIndexed(job) {
		done = int32(len(a.indexes))
	}
	if job.Status.Succeeded != *job.Spec.Completions || done != *job.Spec.Completions {
		return fmt.Errorf("job %s is complete with %d of %d, %d have succeeded", job.Name, job.Status.Succeeded, *job.Spec.Completions, done)
	}
	return nil
}

func isIndexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

// jobEnd is how a Job ended, "" while it has not.
func jobEnd(job *batchv1.Job) batchv1.JobConditionType {
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return c.Type
		}
	}
	return ""
}

// cronJobs is the promise of CronJobs that forbid two Jobs at once.
type cronJobs struct{}

func (cronJobs) check(s *state, e event) error {
	job, ok := e.obj.(*batchv1.Job)
	if !ok || e.old != nil || owner(job).Kind != "CronJob" {
		return nil
	}
	for _, obj := range s.objects {
		other, ok := obj.(*batchv1.Job)
		if ok && other.UID != job.UID && owner(other).UID == owner(job).UID && jobEnd(other) == "" && other.DeletionTimestamp == nil {
			return fmt.Errorf("job %s starts beside %s", job.Name, other.Name)
		}
	}
	return nil
}

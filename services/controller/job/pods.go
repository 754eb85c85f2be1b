package job

import (
	"context"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/podset"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// firstDelay is how long the replacement of the first failed pod waits;
	// each failure doubles it, up to longestDelay.
	firstDelay   = 10 * time.Second
	longestDelay = 10 * time.Minute
	// indexVariable tells a container its completion index.
	indexVariable = "JOB_COMPLETION_INDEX"
	// longestPrefix leaves room for the generated end of a pod's name.
	longestPrefix = 63 - 5
)

// manage makes the number of active pods what the Job needs now.
func (s *step) manage(ctx context.Context) (runner.Outcome, error) {
	if surplus := s.surplus(); len(surplus) > 0 {
		return runner.Done(), s.remove(ctx, surplus)
	}
	have := len(s.active)
	if s.replacesOnlyFailed() {
		have += len(s.terminating)
	}
	missing := min(s.wanted()-have, podset.BurstLimit)
	if missing <= 0 {
		return runner.Done(), nil
	}
	pods, wait := s.newPods(missing)
	_, err := s.control.Create(ctx, s.job, pods)
	return runner.RequeueAfter(wait), err
}

// wanted is how many pods should run now.
func (s *step) wanted() int {
	parallel := int(parallelism(s.job))
	switch {
	case s.job.Spec.Completions == nil && s.successes() > 0:
		return len(s.active) // those that run end by themselves
	case s.job.Spec.Completions == nil:
		return parallel
	}
	return max(min(parallel, int(*s.job.Spec.Completions-s.successes())), 0)
}

// surplus returns the active pods that are not needed: those whose index is
// not asked for, or asked for but run twice, and as many others as are too many.
func (s *step) surplus() []*corev1.Pod {
	podset.SortForDeletion(s.active, s.active, s.now)
	var surplus, left []*corev1.Pod
	seen := make(indexSet)
	for n := len(s.active) - 1; n >= 0; n-- { // the last are the ones to keep
		pod := s.active[n]
		index, ok := s.index(pod)
		if isIndexed(s.job) && (!ok || seen[index]) {
			surplus = append(surplus, pod)
			continue
		}
		seen[index] = true
		left = append(left, pod)
	}
	for extra := len(s.active) - s.wanted() - len(surplus); extra > 0; extra-- {
		surplus, left = append(surplus, left[len(left)-1]), left[:len(left)-1]
	}
	return surplus[:min(len(surplus), podset.BurstLimit)]
}

// remove deletes pods that the Job does not need. They lose their finalizers
// first: how they end counts for nothing.
func (s *step) remove(ctx context.Context, pods []*corev1.Pod) error {
	for _, pod := range pods {
		if err := s.free(ctx, pod); err != nil {
			return err
		}
	}
	return s.control.Delete(ctx, s.job, pods)
}

// delay is how much longer to wait after failures. It is read from the failed
// pods, so that a restart of this process does not shorten it.
func (s *step) delay() time.Duration {
	var last, lastSuccess time.Time
	for _, pod := range s.pods {
		if end := endOf(pod); pod.Status.Phase == corev1.PodSucceeded && end.After(lastSuccess) {
			lastSuccess = end
		}
	}
	failed := 0
	for _, pod := range s.pods {
		end := endOf(pod)
		if !s.hasFailed(pod) || !end.After(lastSuccess) {
			continue
		}
		failed++
		if end.After(last) {
			last = end
		}
	}
	return s.delayAfter(failed, last)
}

// delayAfter is how much longer to wait after so many failures in a row.
func (s *step) delayAfter(failures int, last time.Time) time.Duration {
	if failures == 0 {
		return 0
	}
	d := longestDelay
	if failures < 7 {
		d = min(firstDelay<<(failures-1), longestDelay)
	}
	return max(last.Add(d).Sub(s.now), 0)
}

// endOf returns when a pod ended: its last container or, where nobody has said
// when that was, the pod's readiness or its deletion.
func endOf(pod *corev1.Pod) time.Time {
	var end time.Time
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.FinishedAt.After(end) {
			end = t.FinishedAt.Time
		}
	}
	ready := podset.Condition(pod, corev1.PodReady)
	switch {
	case !end.IsZero():
		return end
	case ready != nil && ready.Status == corev1.ConditionFalse && !ready.LastTransitionTime.IsZero():
		return ready.LastTransitionTime.Time
	case pod.DeletionTimestamp != nil:
		return pod.DeletionTimestamp.Add(-time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	return pod.CreationTimestamp.Time
}

// newPods returns up to n pods that may be made now, and how long until more
// may be.
func (s *step) newPods(n int) (pods []*corev1.Pod, wait time.Duration) {
	if !limitsIndexes(s.job) {
		if wait = s.delay(); wait > 0 {
			return nil, wait
		}
	}
	if !isIndexed(s.job) {
		for range n {
			pods = append(pods, s.newPod())
		}
		return pods, 0
	}
	indexes, wait := s.freeIndexes(n)
	for _, index := range indexes {
		pod := s.newPod()
		giveIndex(s.job, pod, index)
		if limitsIndexes(s.job) {
			s.passOnFailures(pod, s.last[index])
		}
		pods = append(pods, pod)
	}
	return pods, wait
}

func (s *step) newPod() *corev1.Pod {
	pod := podset.FromTemplate(&s.job.Spec.Template, s.job, s.jobs.Kind().GVK())
	if !isTracked(pod) {
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	}
	return pod
}

// freeIndexes returns up to n of the lowest indexes that have neither ended
// nor are run by a pod. Those that have to wait after a failure are passed
// over; wait is the shortest of their waits.
func (s *step) freeIndexes(n int) (free []int, wait time.Duration) {
	taken := make(indexSet)
	occupants := s.active
	if s.replacesOnlyFailed() {
		occupants = append(occupants[:len(occupants):len(occupants)], s.terminating...)
	}
	for _, pod := range occupants {
		if i, ok := s.index(pod); ok {
			taken[i] = true
		}
	}
	for i := 0; i < s.completions() && len(free) < n; i++ {
		if taken[i] || s.completed[i] || s.failed[i] {
			continue
		}
		if before := s.last[i]; before != nil {
			if d := s.delayAfter(attempts(before)+1, endOf(before)); d > 0 {
				if wait == 0 || d < wait {
					wait = d
				}
				continue
			}
		}
		free = append(free, i)
	}
	return free, wait
}

// giveIndex tells a pod and its containers which index it has.
func giveIndex(job *batchv1.Job, pod *corev1.Pod, index int) {
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	if pod.Labels == nil {
		pod.Labels = make(map[string]string)
	}
	suffix := "-" + strconv.Itoa(index)
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(index)
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(index)
	pod.GenerateName = job.Name[:min(len(job.Name), longestPrefix-len(suffix)-1)] + suffix + "-"
	pod.Spec.Hostname = job.Name + suffix
	source := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
		APIVersion: "v1", FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']",
	}}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			containers[i].Env = setVariable(containers[i].Env, corev1.EnvVar{Name: indexVariable, ValueFrom: source})
		}
	}
}

func setVariable(env []corev1.EnvVar, v corev1.EnvVar) []corev1.EnvVar {
	for i := range env {
		if env[i].Name == v.Name {
			return env // the author's own value stays
		}
	}
	return append(env, v)
}

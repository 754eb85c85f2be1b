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
)

// manage makes the number of active pods what the Job needs now.
func (s *step) manage(ctx context.Context) (runner.Outcome, error) {
	have := len(s.active)
	if ptr.Deref(s.job.Spec.PodReplacementPolicy, "") == batchv1.Failed {
		have += len(s.terminating)
	}
	missing := s.wanted() - have
	switch {
	case missing < 0:
		podset.SortForDeletion(s.active, s.active, s.now)
		return runner.Done(), s.control.Delete(ctx, s.job, s.active[:min(-missing, len(s.active))])
	case missing == 0:
		return runner.Done(), nil
	}
	if wait := s.delay(); wait > 0 {
		return runner.RequeueAfter(wait), nil
	}
	_, err := s.control.Create(ctx, s.job, s.newPods(min(missing, podset.BurstLimit)))
	return runner.Done(), err
}

// wanted is how many pods should run now.
func (s *step) wanted() int {
	parallel := int(parallelism(s.job))
	switch {
	case s.job.Spec.Completions == nil && s.succeeded() > 0:
		return min(parallel, len(s.active)) // those that run end by themselves
	case s.job.Spec.Completions == nil:
		return parallel
	case isIndexed(s.job):
		return min(parallel, int(*s.job.Spec.Completions)-len(parseIndexes(s.job.Status.CompletedIndexes)))
	}
	return min(parallel, int(*s.job.Spec.Completions-s.succeeded()))
}

// delay is how much longer to wait after failures. It is read from the failed
// pods, so that a restart of this process does not shorten it.
func (s *step) delay() time.Duration {
	var last, lastSuccess time.Time
	failures := 0
	for _, pod := range s.pods {
		end := endOf(pod)
		switch pod.Status.Phase {
		case corev1.PodFailed:
			failures++
			if end.After(last) {
				last = end
			}
		case corev1.PodSucceeded:
			if end.After(lastSuccess) {
				lastSuccess = end
			}
		}
	}
	if failures == 0 || lastSuccess.After(last) {
		return 0
	}
	d := longestDelay
	if failures < 7 {
		d = min(firstDelay<<(failures-1), longestDelay)
	}
	return last.Add(d).Sub(s.now)
}

// endOf returns when a pod's last container ended.
func endOf(pod *corev1.Pod) time.Time {
	end := pod.CreationTimestamp.Time
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.FinishedAt.After(end) {
			end = t.FinishedAt.Time
		}
	}
	return end
}

func (s *step) newPods(n int) []*corev1.Pod {
	kind := s.jobs.Kind().GVK()
	if !isIndexed(s.job) {
		pods := make([]*corev1.Pod, n)
		for i := range pods {
			pods[i] = podset.FromTemplate(&s.job.Spec.Template, s.job, kind)
			pods[i].Finalizers = append(pods[i].Finalizers, batchv1.JobTrackingFinalizer)
		}
		return pods
	}
	var pods []*corev1.Pod
	for _, index := range s.freeIndexes(n) {
		pod := podset.FromTemplate(&s.job.Spec.Template, s.job, kind)
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
		giveIndex(s.job, pod, index)
		pods = append(pods, pod)
	}
	return pods
}

// freeIndexes returns the lowest indexes that are neither complete nor run by
// a pod.
func (s *step) freeIndexes(n int) []int {
	taken := parseIndexes(s.job.Status.CompletedIndexes)
	for _, pod := range s.active {
		if i, ok := indexOf(pod); ok {
			taken[i] = true
		}
	}
	var free []int
	for i := 0; i < int(ptr.Deref(s.job.Spec.Completions, 0)) && len(free) < n; i++ {
		if !taken[i] {
			free = append(free, i)
		}
	}
	return free
}

// giveIndex tells a pod and its containers which index it has.
func giveIndex(job *batchv1.Job, pod *corev1.Pod, index int) {
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	if pod.Labels == nil {
		pod.Labels = make(map[string]string)
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(index)
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(index)
	pod.GenerateName = podName(job, index) + "-"
	pod.Spec.Hostname = podName(job, index)
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

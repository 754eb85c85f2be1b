package job_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/job"
)

// active returns the pods that have not ended.
func active(all []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// TestParallelismIsKept shows how many pods run at once.
func TestParallelismIsKept(t *testing.T) {
	one := ptr.To[int32]
	for name, tt := range map[string]struct {
		parallelism, completions *int32
		want                     int
	}{
		"one by default":                    {nil, nil, 1},
		"as many as may":                    {one(3), one(10), 3},
		"no more than are to complete":      {one(10), one(3), 3},
		"a work queue: as many as may":      {one(4), nil, 4},
		"none: paused":                      {one(0), one(3), 0},
		"none to complete: done at once":    {one(3), one(0), 0},
		"completions without a parallelism": {nil, one(3), 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.Apply(work("runs", func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = tt.parallelism, tt.completions }))
			controllertest.Await(c, "the status", func(all []*batchv1.Job) bool {
				return all[0].Status.StartTime != nil && int(all[0].Status.Active) == tt.want && int(*all[0].Status.Ready) == tt.want
			})
			controllertest.Await(c, "as many pods", func(all []*corev1.Pod) bool { return len(all) == tt.want })
		})
	}
}

// TestWorkQueue has four pods of a Job without completions, one of which
// succeeds: no further pods are made, and the Job completes with the last.
func TestWorkQueue(t *testing.T) {
	c := start(t)
	c.Apply(work("runs", func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = ptr.To[int32](3), nil }))
	controllertest.Await(c, "three ready pods", func(all []*batchv1.Job) bool { return ptr.Deref(all[0].Status.Ready, 0) == 3 })
	pods := controllertest.Await(c, "three pods", func(all []*corev1.Pod) bool { return len(all) == 3 })
	for i, pod := range pods {
		if err := c.Finish(t.Context(), pod, corev1.PodSucceeded); err != nil {
			t.Fatal(err)
		}
		controllertest.Await(c, "one less", func(all []*batchv1.Job) bool {
			return int(all[0].Status.Succeeded) == i+1 && int(all[0].Status.Active) == 2-i
		})
	}
	controllertest.Await(c, "completion", completed)
	controllertest.Await(c, "no further pod", func(all []*corev1.Pod) bool { return len(all) == 3 })
}

// A pod that a Job has adopted counts for it like those that it made.
func TestAdoptedPodIsCounted(t *testing.T) {
	c := start(t)
	template := controllertest.Template("work", "runs")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	c.Apply(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: template.Labels}, Spec: template.Spec})
	controllertest.Await(c, "it runs", func(all []*corev1.Pod) bool { return len(all) == 1 && all[0].Status.Phase == corev1.PodRunning })
	c.Apply(work("runs", nil))
	controllertest.Await(c, "it is the Job's", func(all []*batchv1.Job) bool { return all[0].Status.Active == 1 })
	pod := controllertest.Await(c, "no other pod", func(all []*corev1.Pod) bool {
		return len(all) == 1 && metav1.GetControllerOf(all[0]) != nil && slices.Contains(all[0].Finalizers, batchv1.JobTrackingFinalizer)
	})[0]
	if err := c.Finish(t.Context(), pod, corev1.PodSucceeded); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "completion", completed)
	controllertest.Await(c, "no other pod", func(all []*corev1.Pod) bool { return len(all) == 1 && len(all[0].Finalizers) == 0 })
}

// Pods of which more have succeeded than were asked for count, and users are told.
func TestTooManySucceed(t *testing.T) {
	c := start(t)
	template := controllertest.Template("work", "ok")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	for _, name := range []string{"a", "b"} {
		c.Apply(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: template.Labels}, Spec: template.Spec})
	}
	controllertest.Await(c, "both have succeeded", func(all []*corev1.Pod) bool {
		return len(all) == 2 && len(active(all)) == 0
	})
	c.Apply(work("runs", nil))
	controllertest.Await(c, "completion", func(all []*batchv1.Job) bool { return completed(all) && all[0].Status.Succeeded == 2 })
	c.AwaitEvent("Warning TooManySucceededPods")
}

// TestParallelismChanges resizes a running Job.
func TestParallelismChanges(t *testing.T) {
	c := start(t)
	j := work("runs", func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = ptr.To[int32](1), ptr.To[int32](5) })
	c.Apply(j)
	for _, n := range []int32{1, 4, 2, 0, 3} {
		controllertest.Change(c, j, "", func(j *batchv1.Job) { j.Spec.Parallelism = &n })
		controllertest.Await(c, "as many active", func(all []*batchv1.Job) bool { return all[0].Status.Active == n })
		controllertest.Await(c, "as many pods", func(all []*corev1.Pod) bool { return len(active(all)) == int(n) })
	}
}

// TestElasticIndexedJob changes how many indexes there are.
func TestElasticIndexedJob(t *testing.T) {
	c := start(t)
	j := work("runs", func(s *batchv1.JobSpec) {
		s.Parallelism, s.Completions, s.CompletionMode = ptr.To[int32](2), ptr.To[int32](2), ptr.To(batchv1.IndexedCompletion)
	})
	c.Apply(j)
	indexes := func(want ...string) {
		t.Helper()
		controllertest.Await(c, "the indexes", func(all []*corev1.Pod) bool {
			var got []string
			for _, pod := range active(all) {
				got = append(got, pod.Annotations[batchv1.JobCompletionIndexAnnotation])
			}
			slices.Sort(got)
			return slices.Equal(got, want)
		})
	}
	indexes("0", "1")
	controllertest.Change(c, j, "", func(j *batchv1.Job) { j.Spec.Parallelism, j.Spec.Completions = ptr.To[int32](4), ptr.To[int32](4) })
	indexes("0", "1", "2", "3")
	controllertest.Change(c, j, "", func(j *batchv1.Job) { j.Spec.Parallelism, j.Spec.Completions = ptr.To[int32](1), ptr.To[int32](1) })
	indexes("0")
}

// TestRestartsCountWhereTheAgentRestarts has a pod whose container the agent
// starts again and again.
func TestRestartsCountWhereTheAgentRestarts(t *testing.T) {
	c := start(t)
	j := work("runs", func(s *batchv1.JobSpec) {
		s.BackoffLimit = ptr.To[int32](2)
		s.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	})
	c.Apply(j)
	controllertest.Await(c, "an active pod", func(all []*batchv1.Job) bool { return all[0].Status.Active == 1 })
	restarts := func(n int32) {
		pod := controllertest.Await(c, "the pod", func(all []*corev1.Pod) bool { return len(all) == 1 })[0]
		controllertest.Change(c, pod, "status", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Image: "runs", RestartCount: n}}
		})
	}
	restarts(1)
	controllertest.Await(c, "it active still", func(all []*batchv1.Job) bool { return all[0].Status.Active == 1 && len(all[0].Status.Conditions) == 0 })
	restarts(2)
	controllertest.Await(c, "failure", func(all []*batchv1.Job) bool {
		return has(all[0], batchv1.JobFailed, corev1.ConditionTrue, "BackoffLimitExceeded")
	})
	controllertest.Await(c, "no pod left running", func(all []*corev1.Pod) bool { return len(active(all)) == 0 })
}

// TestFinishedJobsKeepTheirPods until somebody deletes them.
func TestFinishedJobsKeepTheirPods(t *testing.T) {
	c := start(t)
	j := work("ok", nil)
	c.Apply(j)
	controllertest.Await(c, "completion", completed)
	pod := controllertest.Await(c, "its pod", func(all []*corev1.Pod) bool { return len(all) == 1 })[0]
	if ref := metav1.GetControllerOf(pod); ref == nil || ref.UID != j.UID {
		t.Errorf("the pod's owners: %+v", pod.OwnerReferences)
	}
	c.Remove(j, metav1.DeletePropagationBackground)
	controllertest.Await(c, "no pod", func(all []*corev1.Pod) bool { return len(all) == 0 })
}

// A pod that was counted is not made again, however late the controller sees its own
// count: with its finalizer the pod has lost what says that it counts. The Job waits
// after a failure; meanwhile it adopts a pod that has succeeded.
func TestCountedPodIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		c.Apply(work("bad", nil))
		time.Sleep(time.Second)
		synctest.Wait()
		controllertest.Await(c, "a failure", func(all []*batchv1.Job) bool { return all[0].Status.Failed == 1 })
		template := controllertest.Template("work", "ok")
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan"}, Spec: template.Spec}
		c.Apply(orphan)
		synctest.Wait()
		release := c.HoldBack("jobs")
		controllertest.Change(c, orphan, "", func(p *corev1.Pod) { p.Labels = template.Labels })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		controllertest.Await(c, "no third pod", func(all []*corev1.Pod) bool { return len(all) == 2 })
		release()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		controllertest.Await(c, "completion", func(all []*batchv1.Job) bool {
			return completed(all) && all[0].Status.Succeeded == 1 && all[0].Status.Failed == 1
		})
		controllertest.Await(c, "no third pod", func(all []*corev1.Pod) bool { return len(all) == 2 })
	})
}

// TestTheFirstFailureWins deletes nothing that has ended, and makes nothing
// anew, once the Job has failed.
func TestTheFirstFailureWins(t *testing.T) {
	c := start(t)
	c.Apply(work("runs", func(s *batchv1.JobSpec) {
		s.Parallelism, s.Completions, s.BackoffLimit = ptr.To[int32](3), ptr.To[int32](3), ptr.To[int32](0)
	}))
	controllertest.Await(c, "three ready pods", func(all []*batchv1.Job) bool { return ptr.Deref(all[0].Status.Ready, 0) == 3 })
	pods := controllertest.Await(c, "three pods", func(all []*corev1.Pod) bool { return len(all) == 3 })
	if err := c.Finish(t.Context(), pods[0], corev1.PodFailed); err != nil {
		t.Fatal(err)
	}
	failed := controllertest.Await(c, "failure", func(all []*batchv1.Job) bool {
		return has(all[0], batchv1.JobFailed, corev1.ConditionTrue, "BackoffLimitExceeded")
	})[0]
	if s := failed.Status; s.Active != 0 || s.CompletionTime != nil {
		t.Errorf("status %+v", s)
	}
	controllertest.Await(c, "only the pod that failed", func(all []*corev1.Pod) bool { return len(all) == 1 && all[0].UID == pods[0].UID })
}

// TestStatusWhileBeingDeleted deletes a job in the foreground, with nobody who deletes
// its pods.
func TestStatusWhileBeingDeleted(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(job.New(c.Deps)))
	j := work("runs", func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = ptr.To[int32](2), ptr.To[int32](2) })
	c.Apply(j)
	controllertest.Await(c, "two active pods", func(all []*batchv1.Job) bool { return all[0].Status.Active == 2 })
	pods := controllertest.Await(c, "two pods", func(all []*corev1.Pod) bool { return len(all) == 2 })
	c.Remove(j, metav1.DeletePropagationForeground)
	if err := c.Finish(t.Context(), pods[0], corev1.PodSucceeded); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "one success", func(all []*batchv1.Job) bool { return all[0].Status.Succeeded == 1 && all[0].Status.Active == 1 })
	if err := c.Finish(t.Context(), pods[1], corev1.PodFailed); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "one failure", func(all []*batchv1.Job) bool { return all[0].Status.Failed == 1 && all[0].Status.Active == 0 })
	controllertest.Await(c, "no pod more, and none that is held", func(all []*corev1.Pod) bool {
		return len(all) == 2 && len(all[0].Finalizers)+len(all[1].Finalizers) == 0
	})
}

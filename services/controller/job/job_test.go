package job_test

import (
	"context"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/garbagecollector"
	"navarch.dev/navarch/services/controller/job"
	"navarch.dev/navarch/services/controller/runner"
)

// agent ends pods as their image says: "ok" succeeds, "bad" fails, all others
// run on.
type agent struct {
	*controllertest.Cluster
	pods *client.Informer[*corev1.Pod]
}

func (a agent) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	pod, ok := a.pods.GetByKey(key)
	switch {
	case !ok:
		return runner.Done(), nil
	case pod.DeletionTimestamp != nil:
		return runner.Done(), a.End(ctx, pod)
	case pod.Status.Phase != corev1.PodPending && pod.Status.Phase != "":
		return runner.Done(), nil
	}
	switch pod.Spec.Containers[0].Image {
	case "ok":
		return runner.Done(), a.Finish(ctx, pod, corev1.PodSucceeded)
	case "bad":
		return runner.Done(), a.Finish(ctx, pod, corev1.PodFailed)
	}
	return runner.Done(), a.SetReady(ctx, pod, true)
}

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	pods, err := client.InformerFor[*corev1.Pod](c.Deps.Informers, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := runner.New("agent", agent{c, pods}, c.Deps, runner.Options{})
	runner.Primary(a, pods)
	c.Start(c.Controller(job.New(c.Deps)), c.Controller(garbagecollector.New(c.Deps, c.Inventory)), a)
	return c
}

func work(image string, change func(*batchv1.JobSpec)) *batchv1.Job {
	template := controllertest.Template("work", image)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "work"}, Spec: batchv1.JobSpec{
		Template: template, ManualSelector: ptr.To(true), Selector: controllertest.Selector("work"),
		Parallelism: ptr.To[int32](1), Completions: ptr.To[int32](1),
	}}
	if change != nil {
		change(&j.Spec)
	}
	return j
}

func has(j *batchv1.Job, t batchv1.JobConditionType, status corev1.ConditionStatus, reason string) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == t {
			return c.Status == status && c.Reason == reason
		}
	}
	return false
}

func completed(all []*batchv1.Job) bool {
	return len(all) == 1 && has(all[0], batchv1.JobComplete, corev1.ConditionTrue, "CompletionsReached")
}

func TestCompletions(t *testing.T) {
	c := start(t)
	c.Apply(work("ok", func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = ptr.To[int32](5), ptr.To[int32](2) }))
	j := controllertest.Await(c, "completion", completed)[0]
	if s := j.Status; s.Succeeded != 5 || s.Failed != 0 || s.Active != 0 || s.CompletionTime == nil || s.StartTime == nil {
		t.Errorf("status %+v", s)
	}
	pods := controllertest.Await(c, "five pods, all counted", func(all []*corev1.Pod) bool {
		for _, pod := range all {
			if len(pod.Finalizers) > 0 {
				return false
			}
		}
		return true
	})
	if len(pods) != 5 {
		t.Errorf("%d pods were made for 5 completions", len(pods))
	}
}

func TestIndexed(t *testing.T) {
	c := start(t)
	c.Apply(work("ok", func(s *batchv1.JobSpec) {
		s.Completions, s.Parallelism = ptr.To[int32](4), ptr.To[int32](3)
		s.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	}))
	j := controllertest.Await(c, "completion", completed)[0]
	if s := j.Status; s.Succeeded != 4 || s.CompletedIndexes != "0-3" {
		t.Errorf("status %+v", s)
	}
}

func TestFailure(t *testing.T) {
	c := start(t)
	c.Apply(work("bad", func(s *batchv1.JobSpec) { s.BackoffLimit = ptr.To[int32](0) }))
	j := controllertest.Await(c, "failure", func(all []*batchv1.Job) bool {
		return has(all[0], batchv1.JobFailed, corev1.ConditionTrue, "BackoffLimitExceeded")
	})[0]
	if s := j.Status; s.Failed != 1 || s.Succeeded != 0 || !has(j, batchv1.JobFailureTarget, corev1.ConditionTrue, "BackoffLimitExceeded") {
		t.Errorf("status %+v", s)
	}
}

func TestSuspendAndResume(t *testing.T) {
	c := start(t)
	j := work("runs", func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = ptr.To[int32](2), ptr.To[int32](2) })
	c.Apply(j)
	controllertest.Await(c, "two active pods", func(all []*batchv1.Job) bool { return all[0].Status.Active == 2 })
	controllertest.Change(c, j, "", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
	controllertest.Await(c, "no pod", func(all []*corev1.Pod) bool { return len(all) == 0 })
	controllertest.Await(c, "suspension without failures", func(all []*batchv1.Job) bool {
		return has(all[0], batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended") && all[0].Status.Active == 0 && all[0].Status.Failed == 0
	})
	controllertest.Change(c, j, "", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
	controllertest.Await(c, "two active pods again", func(all []*batchv1.Job) bool {
		return all[0].Status.Active == 2 && has(all[0], batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed")
	})
}

func TestDeadlineAndTimeToLive(t *testing.T) {
	c := start(t)
	c.Apply(work("runs", func(s *batchv1.JobSpec) {
		s.ActiveDeadlineSeconds, s.TTLSecondsAfterFinished = ptr.To[int64](1), ptr.To[int32](1)
	}))
	controllertest.Await(c, "the deadline", func(all []*batchv1.Job) bool {
		return len(all) == 1 && has(all[0], batchv1.JobFailed, corev1.ConditionTrue, "DeadlineExceeded")
	})
	controllertest.Await(c, "neither job", func(all []*batchv1.Job) bool { return len(all) == 0 })
	controllertest.Await(c, "nor pod", func(all []*corev1.Pod) bool { return len(all) == 0 })
}

func TestDeletedJobLetsGoOfItsPods(t *testing.T) {
	for _, way := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
		c := start(t)
		j := work("runs", nil)
		c.Apply(j)
		controllertest.Await(c, "an active pod", func(all []*batchv1.Job) bool { return all[0].Status.Active == 1 })
		c.Remove(j, way)
		controllertest.Await(c, "no pod", func(all []*corev1.Pod) bool { return len(all) == 0 })
		controllertest.Await(c, "no job", func(all []*batchv1.Job) bool { return len(all) == 0 })
	}
}

func TestIndexesFailByThemselves(t *testing.T) {
	c := start(t)
	c.Apply(work("bad", func(s *batchv1.JobSpec) {
		s.Completions, s.Parallelism, s.CompletionMode = ptr.To[int32](2), ptr.To[int32](2), ptr.To(batchv1.IndexedCompletion)
		s.BackoffLimitPerIndex = ptr.To[int32](0)
	}))
	j := controllertest.Await(c, "failure", func(all []*batchv1.Job) bool {
		return has(all[0], batchv1.JobFailed, corev1.ConditionTrue, "FailedIndexes")
	})[0]
	if s := j.Status; s.Failed != 2 || ptr.Deref(s.FailedIndexes, "") != "0,1" || !has(j, batchv1.JobFailureTarget, corev1.ConditionTrue, "FailedIndexes") {
		t.Errorf("status %+v", s)
	}
	pods := controllertest.Await(c, "pods", func(all []*corev1.Pod) bool { return len(all) == 2 })
	for _, pod := range pods {
		if pod.Annotations[batchv1.JobIndexFailureCountAnnotation] != "0" {
			t.Errorf("annotations %v", pod.Annotations)
		}
	}
}

func TestPodsThatAreNotNeededHaveNotFailed(t *testing.T) {
	c := start(t)
	j := work("runs", func(s *batchv1.JobSpec) {
		s.Parallelism, s.Completions, s.BackoffLimit = ptr.To[int32](3), ptr.To[int32](3), ptr.To[int32](0)
	})
	c.Apply(j)
	controllertest.Await(c, "three active pods", func(all []*batchv1.Job) bool { return all[0].Status.Active == 3 })
	controllertest.Change(c, j, "", func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](1) })
	controllertest.Await(c, "one pod", func(all []*corev1.Pod) bool { return len(all) == 1 })
	controllertest.Await(c, "no failure", func(all []*batchv1.Job) bool {
		if has(all[0], batchv1.JobFailureTarget, corev1.ConditionTrue, "BackoffLimitExceeded") {
			t.Fatal("pods that were not needed count as failed")
		}
		return all[0].Status.Active == 1 && *all[0].Status.Terminating == 0 && all[0].Status.Failed == 0
	})
}

func TestOthersJobsAreLeftAlone(t *testing.T) {
	c := start(t)
	theirs := work("ok", func(s *batchv1.JobSpec) { s.ManagedBy = ptr.To("example.com/queue") })
	ours := work("ok", func(s *batchv1.JobSpec) { s.ManagedBy = ptr.To(batchv1.JobControllerName) })
	ours.Name = "zwork"
	ours.Spec.Selector, ours.Spec.Template = controllertest.Selector("zwork"), controllertest.Template("zwork", "ok")
	ours.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	c.Apply(theirs, ours)
	all := controllertest.Await(c, "completion of ours", func(all []*batchv1.Job) bool { return len(all) == 2 && completed(all[1:]) })
	if all[0].Status.StartTime != nil {
		t.Errorf("another controller's job was started: %+v", all[0].Status)
	}
}

package cronjob_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/cronjob"
)

// In a bubble of fake time, which begins at midnight UTC on 2000-01-01, a
// CronJob is made and time passes.
func bubble(t *testing.T, test func(*controllertest.Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := controllertest.New(t)
		c.Start(c.Controller(cronjob.New(c.Deps)))
		test(c)
	})
}

func every(minutes string, change func(*batchv1.CronJobSpec)) *batchv1.CronJob {
	template := controllertest.Template("work", "work:1")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tick"}, Spec: batchv1.CronJobSpec{
		Schedule: minutes + " * * * *", TimeZone: ptr.To("Etc/UTC"),
		JobTemplate: batchv1.JobTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"made-by": "tick"}},
			Spec:       batchv1.JobSpec{Template: template},
		},
	}}
	if change != nil {
		change(&c.Spec)
	}
	return c
}

// pass lets fake time pass and everything settle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func jobs(c *controllertest.Cluster) []*batchv1.Job {
	return controllertest.Await(c, "any jobs", func([]*batchv1.Job) bool { return true })
}

func names[T kinds.Object](all []T) string {
	var out []string
	for _, j := range all {
		out = append(out, j.GetName())
	}
	return strings.Join(out, " ")
}

func status(c *controllertest.Cluster) batchv1.CronJobStatus {
	return controllertest.Await(c, "the cron job", func(all []*batchv1.CronJob) bool { return len(all) == 1 })[0].Status
}

// end ends a job.
func end(c *controllertest.Cluster, job *batchv1.Job, how batchv1.JobConditionType) {
	now := metav1.Now()
	controllertest.Change(c, job.DeepCopy(), "status", func(j *batchv1.Job) {
		before := batchv1.JobSuccessCriteriaMet
		if how == batchv1.JobFailed {
			before = batchv1.JobFailureTarget
		}
		j.Status.StartTime = &now
		j.Status.UncountedTerminatedPods = nil
		if how == batchv1.JobComplete {
			j.Status.CompletionTime = &now
			j.Status.Succeeded = 1
		}
		for _, t := range []batchv1.JobConditionType{before, how} {
			j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now})
		}
	})
}

func has(c *controllertest.Cluster, event string) bool {
	return slices.ContainsFunc(c.Events.All(), func(e string) bool { return strings.HasPrefix(e, event) })
}

func TestRunsOnTime(t *testing.T) {
	bubble(t, func(c *controllertest.Cluster) {
		c.Apply(every("*/10", nil))
		pass(9 * time.Minute)
		if got := jobs(c); len(got) != 0 {
			t.Fatalf("jobs before their time: %s", names(got))
		}
		pass(time.Minute + time.Second)
		got := jobs(c)
		if names(got) != "tick-15778090" { // ten minutes into 2000, in minutes
			t.Fatalf("jobs %q", names(got))
		}
		job := got[0]
		if job.Labels["made-by"] != "tick" || job.Annotations[batchv1.CronJobScheduledTimestampAnnotation] != "2000-01-01T00:10:00Z" {
			t.Errorf("labels %v, annotations %v", job.Labels, job.Annotations)
		}
		if ref := metav1.GetControllerOf(job); ref == nil || ref.Kind != "CronJob" || ref.Name != "tick" {
			t.Errorf("controlled by %+v", ref)
		}
		if s := status(c); len(s.Active) != 1 || s.Active[0].UID != job.UID || s.LastScheduleTime == nil || s.LastScheduleTime.Minute() != 10 {
			t.Errorf("status %+v", s)
		}
		end(c, job, batchv1.JobComplete)
		pass(time.Second)
		if s := status(c); len(s.Active) != 0 || s.LastSuccessfulTime == nil {
			t.Errorf("status after the job ended: %+v", s)
		}
		if !has(c, "Normal SuccessfulCreate tick: Created job tick-15778090") || !has(c, "Normal SawCompletedJob tick") {
			t.Errorf("events %q", c.Events.All())
		}
	})
}

func TestConcurrency(t *testing.T) {
	for _, tt := range []struct {
		policy      batchv1.ConcurrencyPolicy
		active      int
		names, note string
	}{
		{batchv1.AllowConcurrent, 2, "tick-15778090 tick-15778100", "Normal SuccessfulCreate"},
		{batchv1.ForbidConcurrent, 1, "tick-15778090", "Normal JobAlreadyActive"},
		{batchv1.ReplaceConcurrent, 1, "tick-15778100", "Normal SuccessfulDelete"},
	} {
		t.Run(string(tt.policy), func(t *testing.T) {
			bubble(t, func(c *controllertest.Cluster) {
				c.Apply(every("*/10", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = tt.policy }))
				pass(21 * time.Minute)
				if got := names(jobs(c)); got != tt.names {
					t.Errorf("jobs %q, want %q", got, tt.names)
				}
				if s := status(c); len(s.Active) != tt.active {
					t.Errorf("active %+v", s.Active)
				}
				if !has(c, tt.note) {
					t.Errorf("events %q", c.Events.All())
				}
			})
		})
	}
}

// byHand is what kubectl create job --from=cronjob/tick makes.
func byHand(c *controllertest.Cluster) *batchv1.Job {
	tick := controllertest.Await(c, "the cron job", func(all []*batchv1.CronJob) bool { return len(all) == 1 })[0]
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "by-hand", Annotations: map[string]string{"cronjob.kubernetes.io/instantiate": "manual"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(tick, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
		},
		Spec: *tick.Spec.JobTemplate.Spec.DeepCopy(),
	}
}

// A Job that a user has made of the CronJob keeps none of its runs from starting, and
// is not replaced by them.
func TestJobsMadeByHandAreNoRuns(t *testing.T) {
	for _, policy := range []batchv1.ConcurrencyPolicy{batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent} {
		t.Run(string(policy), func(t *testing.T) {
			bubble(t, func(c *controllertest.Cluster) {
				c.Apply(every("*/10", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = policy }))
				c.Apply(byHand(c))
				pass(10*time.Minute + time.Second)
				if got := names(jobs(c)); got != "by-hand tick-15778090" {
					t.Errorf("jobs %q", got)
				}
				if s := status(c); len(s.Active) != 1 || s.Active[0].Name != "tick-15778090" {
					t.Errorf("active %+v", s.Active)
				}
				if !has(c, "Warning UnexpectedJob tick: Saw a job that the controller did not create or forgot: by-hand") {
					t.Errorf("events %q", c.Events.All())
				}
			})
		})
	}
}

// A run is a run whether or not its status could be written.
func TestForgottenRunIsFound(t *testing.T) {
	bubble(t, func(c *controllertest.Cluster) {
		tick := every("*/10", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ForbidConcurrent })
		c.Apply(tick)
		pass(10*time.Minute + time.Second)
		controllertest.Change(c, tick, "status", func(c *batchv1.CronJob) { c.Status = batchv1.CronJobStatus{} })
		pass(10 * time.Minute)
		if got := names(jobs(c)); got != "tick-15778090" {
			t.Errorf("jobs %q", got)
		}
		if s := status(c); len(s.Active) != 1 {
			t.Errorf("active %+v", s.Active)
		}
	})
}

// Until the last pods of a run that is being deleted are gone it runs.
func TestRunThatIsBeingDeletedForbidsOthers(t *testing.T) {
	bubble(t, func(c *controllertest.Cluster) {
		c.Apply(every("*/10", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ForbidConcurrent }))
		pass(10*time.Minute + time.Second)
		first := jobs(c)[0]
		controllertest.Change(c, first.DeepCopy(), "", func(j *batchv1.Job) { j.Finalizers = append(j.Finalizers, "example.com/slow") })
		c.Remove(first, metav1.DeletePropagationBackground)
		pass(10 * time.Minute)
		if got := names(jobs(c)); got != first.Name {
			t.Errorf("jobs %q", got)
		}
		controllertest.Change(c, first.DeepCopy(), "", func(j *batchv1.Job) { j.Finalizers = nil })
		pass(time.Second)
		if got := names(jobs(c)); got != "tick-15778100" {
			t.Errorf("jobs %q after it is gone", got)
		}
	})
}

// A run that a running job forbade is made up for when that job ends.
func TestForbiddenRunIsMadeUpFor(t *testing.T) {
	bubble(t, func(c *controllertest.Cluster) {
		c.Apply(every("*/10", func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ForbidConcurrent }))
		pass(25 * time.Minute)
		end(c, jobs(c)[0], batchv1.JobComplete)
		pass(time.Second)
		if got := names(jobs(c)); got != "tick-15778090 tick-15778100" {
			t.Errorf("jobs %q", got)
		}
	})
}

func TestSuspension(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deadline *int64
		want     string
	}{
		{"the last missed run is made up for", nil, "tick-15778110"},
		{"not after its deadline", ptr.To[int64](60), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(c *controllertest.Cluster) {
				tick := every("*/10", func(s *batchv1.CronJobSpec) { s.Suspend, s.StartingDeadlineSeconds = ptr.To(true), tt.deadline })
				c.Apply(tick)
				pass(35 * time.Minute)
				if got := jobs(c); len(got) != 0 {
					t.Fatalf("jobs while suspended: %s", names(got))
				}
				controllertest.Change(c, tick, "", func(c *batchv1.CronJob) { c.Spec.Suspend = ptr.To(false) })
				pass(time.Second)
				if got := names(jobs(c)); got != tt.want {
					t.Errorf("jobs %q, want %q", got, tt.want)
				}
				if missed := has(c, "Warning MissSchedule"); missed != (tt.want == "") {
					t.Errorf("events %q", c.Events.All())
				}
			})
		})
	}
}

func TestHistoryIsTrimmed(t *testing.T) {
	bubble(t, func(c *controllertest.Cluster) {
		c.Apply(every("*/10", func(s *batchv1.CronJobSpec) {
			s.SuccessfulJobsHistoryLimit, s.FailedJobsHistoryLimit = ptr.To[int32](2), ptr.To[int32](0)
		}))
		for i := range 5 {
			pass(10*time.Minute + time.Second)
			all := jobs(c)
			how := batchv1.JobComplete
			if i == 3 {
				how = batchv1.JobFailed
			}
			end(c, all[len(all)-1], how)
		}
		pass(time.Second)
		if got := names(jobs(c)); got != "tick-15778110 tick-15778130" {
			t.Errorf("jobs %q", got)
		}
	})
}

// TestOfAnotherTemplate changes a CronJob: runs that have begun stay what they
// were.
func TestOfAnotherTemplate(t *testing.T) {
	bubble(t, func(c *controllertest.Cluster) {
		tick := every("*/10", nil)
		c.Apply(tick)
		pass(10*time.Minute + time.Second)
		controllertest.Change(c, tick, "", func(c *batchv1.CronJob) {
			c.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = "work:2"
			c.Spec.Schedule = "15,17 * * * *"
		})
		pass(6 * time.Minute)
		all := jobs(c)
		if got := names(all); got != "tick-15778090 tick-15778095" {
			t.Fatalf("jobs %q", got)
		}
		for i, want := range []string{"work:1", "work:2"} {
			if got := all[i].Spec.Template.Spec.Containers[0].Image; got != want {
				t.Errorf("%s runs %s, want %s", all[i].Name, got, want)
			}
		}
	})
}

// TestManyMissedRuns has the controller away for nine hours.
func TestManyMissedRuns(t *testing.T) {
	for _, tt := range []struct {
		name, minutes string
		deadline      *int64
		told          bool
	}{
		{"9", "0", nil, false},
		{"108", "*/5", nil, true},
		{"most of which are too late", "*/5", ptr.To[int64](3600), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controllertest.New(t)
				c.Apply(every(tt.minutes, func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = tt.deadline }))
				pass(9*time.Hour + time.Minute)
				c.Start(c.Controller(cronjob.New(c.Deps)))
				pass(time.Second)
				if got := len(jobs(c)); got != 1 {
					t.Errorf("%d jobs, want one", got)
				}
				if told := has(c, "Warning TooManyMissedTimes"); told != tt.told {
					t.Errorf("events %q", c.Events.All())
				}
			})
		})
	}
}

// TestStartingDeadline has the controller away while runs are due.
func TestStartingDeadline(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deadline *int64
		want     string
	}{
		{"only the last run is made up for", nil, "tick-15778110"},
		{"within its deadline", ptr.To[int64](600), "tick-15778110"},
		{"not when it is too late", ptr.To[int64](60), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controllertest.New(t)
				c.Apply(every("*/10", func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = tt.deadline }))
				pass(35 * time.Minute)
				c.Start(c.Controller(cronjob.New(c.Deps)))
				pass(time.Second)
				if got := names(jobs(c)); got != tt.want {
					t.Errorf("jobs %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestStatusWhileBeingDeleted(t *testing.T) {
	bubble(t, func(c *controllertest.Cluster) {
		cronJob := every("*/10", nil)
		c.Apply(cronJob)
		pass(10*time.Minute + time.Second)
		c.Remove(cronJob, metav1.DeletePropagationForeground)
		end(c, jobs(c)[0], batchv1.JobComplete)
		pass(10 * time.Minute)
		if s := status(c); len(s.Active) != 0 || s.LastSuccessfulTime == nil {
			t.Errorf("status %+v", s)
		}
		if got := jobs(c); len(got) != 1 {
			t.Errorf("jobs %q", names(got))
		}
	})
}

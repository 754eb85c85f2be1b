package job

import (
	"slices"
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
)

func exits(action batchv1.PodFailurePolicyAction, op batchv1.PodFailurePolicyOnExitCodesOperator, container string, codes ...int32) batchv1.PodFailurePolicyRule {
	r := batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: op, Values: codes}}
	if container != "" {
		r.OnExitCodes.ContainerName = &container
	}
	return r
}

func conditioned(action batchv1.PodFailurePolicyAction, t corev1.PodConditionType) batchv1.PodFailurePolicyRule {
	return batchv1.PodFailurePolicyRule{Action: action, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: t, Status: corev1.ConditionTrue}}}
}

func policy(rules ...batchv1.PodFailurePolicyRule) *batchv1.PodFailurePolicy {
	return &batchv1.PodFailurePolicy{Rules: rules}
}

const (
	failJob   = batchv1.PodFailurePolicyActionFailJob
	failIndex = batchv1.PodFailurePolicyActionFailIndex
	ignore    = batchv1.PodFailurePolicyActionIgnore
	count     = batchv1.PodFailurePolicyActionCount
	in        = batchv1.PodFailurePolicyOnExitCodesOpIn
	notIn     = batchv1.PodFailurePolicyOnExitCodesOpNotIn
)

func TestVerdict(t *testing.T) {
	// The pod's container main failed with 42, its init container with 3; a
	// sidecar ended well. The pod was disrupted.
	ended := func(name string, code int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Status: corev1.PodStatus{
		InitContainerStatuses: []corev1.ContainerStatus{ended("setup", 3)},
		ContainerStatuses:     []corev1.ContainerStatus{ended("main", 42), ended("sidecar", 0)},
		Conditions:            []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}, {Type: "Other", Status: corev1.ConditionFalse}},
	}}
	for name, tt := range map[string]struct {
		policy *batchv1.PodFailurePolicy
		want   verdict
	}{
		"no policy":                   {nil, verdict{}},
		"no rule matches":             {policy(exits(failJob, in, "", 1)), verdict{}},
		"a code":                      {policy(exits(failJob, in, "", 42)), verdict{failJob, "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 0"}},
		"an init container's code":    {policy(exits(failIndex, in, "", 3)), verdict{failIndex, "Container setup for pod ns/p failed with exit code 3 matching FailIndex rule at index 0"}},
		"another container's code":    {policy(exits(failJob, in, "setup", 42)), verdict{}},
		"none of these codes":         {policy(exits(ignore, notIn, "main", 1, 2)), verdict{ignore, "Container main for pod ns/p failed with exit code 42 matching Ignore rule at index 0"}},
		"one of the excepted codes":   {policy(exits(ignore, notIn, "main", 42)), verdict{}},
		"success matches nothing":     {policy(exits(failJob, notIn, "sidecar", 1)), verdict{}},
		"a condition":                 {policy(conditioned(ignore, corev1.DisruptionTarget)), verdict{ignore, "Pod ns/p has condition DisruptionTarget matching Ignore rule at index 0"}},
		"a condition that is not met": {policy(conditioned(ignore, "Other")), verdict{}},
		"the first rule that matches": {
			policy(exits(failJob, in, "", 1), conditioned(count, corev1.DisruptionTarget), exits(failJob, in, "", 42)),
			verdict{count, "Pod ns/p has condition DisruptionTarget matching Count rule at index 1"},
		},
	} {
		if got := verdictOn(tt.policy, pod); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// attempt is a pod of an index (-1: none) in a state: r(unning), s(ucceeded),
// f(ailed), d(eleted while running); failures is what it was told of earlier
// attempts.
type attempt struct {
	index    int
	state    byte
	code     int32
	failures int
}

func (a attempt) pod(n int, now time.Time) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "p" + strconv.Itoa(n), UID: types.UID("p" + strconv.Itoa(n)),
		Finalizers: []string{batchv1.JobTrackingFinalizer}, Annotations: map[string]string{},
	}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	if a.index >= 0 {
		pod.Annotations[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(a.index)
	}
	if a.failures > 0 {
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(a.failures)
	}
	switch a.state {
	case 's':
		pod.Status.Phase = corev1.PodSucceeded
	case 'f':
		pod.Status.Phase = corev1.PodFailed
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: a.code, FinishedAt: metav1.NewTime(now)},
		}}}
	case 'd':
		pod.DeletionTimestamp = ptr.To(metav1.NewTime(now))
	}
	return pod
}

// TestRound shows what one look at a Job's pods concludes.
func TestRound(t *testing.T) {
	one := ptr.To[int32]
	type want struct {
		reason, message   string // of FailureTarget or SuccessCriteriaMet
		completed, failed string
		uncountedFailed   int   // on the list
		next              []int // indexes that may be tried now
	}
	for name, tt := range map[string]struct {
		spec batchv1.JobSpec // Indexed, 4 completions and a backoff limit of 6 unless it says otherwise
		pods []attempt
		want want
	}{
		"work goes on": {
			pods: []attempt{{0, 's', 0, 0}, {1, 'r', 0, 0}},
			want: want{completed: "0", next: []int{2, 3}},
		},
		"all indexes complete": {
			pods: []attempt{{0, 's', 0, 0}, {1, 's', 0, 0}, {2, 's', 0, 0}, {3, 's', 0, 0}},
			want: want{reason: "CompletionsReached", message: "Reached expected number of succeeded pods", completed: "0-3"},
		},
		"an index that succeeds twice is one": {
			pods: []attempt{{0, 's', 0, 0}, {0, 's', 0, 0}, {9, 's', 0, 0}},
			want: want{completed: "0", next: []int{1, 2, 3}},
		},
		"a failed pod uses up the backoff limit": {
			spec: batchv1.JobSpec{BackoffLimit: one(0)},
			pods: []attempt{{0, 'f', 1, 0}},
			want: want{reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit", uncountedFailed: 1},
		},
		"a pod that somebody deletes has failed": {
			pods: []attempt{{0, 'd', 0, 0}},
			want: want{uncountedFailed: 1, next: []int{0, 1, 2, 3}},
		},
		"or keeps its place until it has ended": {
			spec: batchv1.JobSpec{PodReplacementPolicy: ptr.To(batchv1.Failed)},
			pods: []attempt{{0, 'd', 0, 0}},
			want: want{next: []int{1, 2, 3}},
		},
		"an ignored failure does not count": {
			spec: batchv1.JobSpec{BackoffLimit: one(0), PodFailurePolicy: policy(exits(ignore, in, "", 5))},
			pods: []attempt{{0, 'f', 5, 0}, {1, 'r', 0, 0}},
			want: want{next: []int{0, 2, 3}},
		},
		"a code fails the job at once": {
			spec: batchv1.JobSpec{PodFailurePolicy: policy(exits(failJob, in, "", 42))},
			pods: []attempt{{0, 'f', 42, 0}, {1, 'r', 0, 0}},
			want: want{reason: "PodFailurePolicy", message: "Container main for pod ns/p0 failed with exit code 42 matching FailJob rule at index 0", uncountedFailed: 1},
		},
		"an index is tried again after a while, and its failed pod kept until then": {
			spec: batchv1.JobSpec{BackoffLimitPerIndex: one(1)},
			pods: []attempt{{0, 'f', 1, 0}, {1, 'r', 0, 0}},
			want: want{next: []int{2, 3}},
		},
		"the failed pod of an index that runs again is counted": {
			spec: batchv1.JobSpec{BackoffLimitPerIndex: one(1)},
			pods: []attempt{{0, 'f', 1, 0}, {0, 'r', 0, 1}},
			want: want{uncountedFailed: 1, next: []int{1, 2, 3}},
		},
		"an index fails when its attempts are used up, the others go on": {
			spec: batchv1.JobSpec{BackoffLimitPerIndex: one(1)},
			pods: []attempt{{0, 'f', 1, 1}, {1, 'r', 0, 0}},
			want: want{failed: "0", uncountedFailed: 1, next: []int{2, 3}},
		},
		"a rule fails an index at once": {
			spec: batchv1.JobSpec{BackoffLimitPerIndex: one(5), PodFailurePolicy: policy(exits(failIndex, in, "", 42))},
			pods: []attempt{{2, 'f', 42, 0}},
			want: want{failed: "2", uncountedFailed: 1, next: []int{0, 1, 3}},
		},
		"the job fails when all indexes have ended": {
			spec: batchv1.JobSpec{BackoffLimitPerIndex: one(0)},
			pods: []attempt{{0, 's', 0, 0}, {1, 'f', 1, 0}, {2, 's', 0, 0}, {3, 's', 0, 0}},
			want: want{reason: "FailedIndexes", message: "Job has failed indexes", completed: "0,2,3", failed: "1", uncountedFailed: 1},
		},
		"or when too many indexes have failed": {
			spec: batchv1.JobSpec{BackoffLimitPerIndex: one(0), MaxFailedIndexes: one(1)},
			pods: []attempt{{0, 'f', 1, 0}, {1, 'f', 1, 0}, {2, 'r', 0, 0}},
			want: want{reason: "MaxFailedIndexesExceeded", message: "Job has exceeded the specified maximal number of failed indexes", failed: "0,1", uncountedFailed: 2},
		},
		"the indexes that a success rule names": {
			spec: batchv1.JobSpec{SuccessPolicy: &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: one(3)}, {SucceededIndexes: ptr.To("0,2")}}}},
			pods: []attempt{{0, 's', 0, 0}, {1, 'r', 0, 0}, {2, 's', 0, 0}},
			want: want{reason: "SuccessPolicy", message: "Matched rules at index 1", completed: "0,2"},
		},
		"some of the indexes that a success rule names": {
			spec: batchv1.JobSpec{SuccessPolicy: &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("1-3"), SucceededCount: one(1)}}}},
			pods: []attempt{{0, 'r', 0, 0}, {3, 's', 0, 0}},
			want: want{reason: "SuccessPolicy", message: "Matched rules at index 0", completed: "3"},
		},
		"not the indexes that a success rule names": {
			spec: batchv1.JobSpec{SuccessPolicy: &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("1-3"), SucceededCount: one(1)}}}},
			pods: []attempt{{0, 's', 0, 0}},
			want: want{completed: "0", next: []int{1, 2, 3}},
		},
		"failure comes before success": {
			spec: batchv1.JobSpec{BackoffLimit: one(0), SuccessPolicy: &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: one(1)}}}},
			pods: []attempt{{0, 's', 0, 0}, {1, 'f', 1, 0}},
			want: want{reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit", completed: "0", uncountedFailed: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "j"}, Spec: tt.spec}
			job.Spec.CompletionMode, job.Spec.Completions, job.Spec.Parallelism = ptr.To(batchv1.IndexedCompletion), one(4), one(4)
			if job.Spec.BackoffLimit == nil {
				job.Spec.BackoffLimit = one(6)
			}
			var pods []*corev1.Pod
			for n, a := range tt.pods {
				pods = append(pods, a.pod(n, now))
			}
			s := &step{reconciler: &reconciler{events: &controllertest.Events{}}, job: job, now: now}
			s.look(pods)
			s.tally()
			s.start()
			s.judge()
			got := want{completed: job.Status.CompletedIndexes, failed: ptr.Deref(job.Status.FailedIndexes, ""), uncountedFailed: len(job.Status.UncountedTerminatedPods.Failed)}
			for _, c := range job.Status.Conditions {
				if c.Type == batchv1.JobFailureTarget || c.Type == batchv1.JobSuccessCriteriaMet {
					got.reason, got.message = c.Reason, c.Message
				}
			}
			if got.reason == "" {
				got.next, _ = s.freeIndexes(10)
			}
			if got.reason != tt.want.reason || got.message != tt.want.message || got.completed != tt.want.completed || got.failed != tt.want.failed ||
				got.uncountedFailed != tt.want.uncountedFailed || !slices.Equal(got.next, tt.want.next) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

package kinds

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"navarch.dev/navarch/internal/kinds/podspec"
)

func jobColumns() []Column {
	spec, status := batchv1.JobSpec{}.SwaggerDoc(), batchv1.JobStatus{}.SwaggerDoc()
	cols := columns(
		text("Status", "Status of the job.", jobStatus),
		text("Completions", status["succeeded"], jobCompletions),
		text("Duration", "Time required to complete the job.", jobDuration),
		ageColumn(),
	)
	cols = append(cols, templateColumns(func(j *batchv1.Job) *corev1.PodTemplateSpec { return &j.Spec.Template })...)
	return append(cols, selectorColumn(func(j *batchv1.Job) *metav1.LabelSelector { return j.Spec.Selector }, spec["selector"]))
}

func jobStatus(j *batchv1.Job) string {
	is := func(kind batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	}
	switch {
	case is(batchv1.JobComplete):
		return "Complete"
	case is(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is(batchv1.JobSuspended):
		return "Suspended"
	case is(batchv1.JobFailureTarget):
		return "FailureTarget"
	case is(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if n := deref(j.Spec.Parallelism); n > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, n)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job) string {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(time.Since(j.Status.StartTime.Time))
	}
	return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
}

func jobFields(j *batchv1.Job) map[string]string {
	return map[string]string{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
}

func jobStrategy() Strategy {
	return specStatus(
		func(j *batchv1.Job) *batchv1.JobSpec { return &j.Spec },
		func(j *batchv1.Job) *batchv1.JobStatus { return &j.Status },
		rules[*batchv1.Job]{
			create:         selectOwnPods,
			defaults:       defaultJob,
			validate:       validateJob,
			validateCreate: validateGeneratedSelector,
			validateUpdate: validateJobUpdate,
			validateStatus: validateJobStatus,
		})
}

// selectOwnPods gives a job a selector that no other job has, its uid, unless
// its author manages selectors himself.
func selectOwnPods(j *batchv1.Job) {
	if deref(j.Spec.ManualSelector) || j.UID == "" {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	for key, value := range generatedLabels(j) {
		if _, set := j.Spec.Template.Labels[key]; !set {
			j.Spec.Template.Labels[key] = value
		}
	}
	setPointer(&j.Spec.Selector, metav1.LabelSelector{})
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	setKey(j.Spec.Selector.MatchLabels, batchv1.ControllerUidLabel, string(j.UID))
}

// generatedLabels tell a job's pods from those of others, by names with a domain
// and by the older ones without.
func generatedLabels(j *batchv1.Job) map[string]string {
	return map[string]string{
		batchv1.JobNameLabel: j.Name, batchv1.ControllerUidLabel: string(j.UID),
		"job-name": j.Name, "controller-uid": string(j.UID),
	}
}

func setKey(m map[string]string, key, value string) {
	if _, set := m[key]; !set {
		m[key] = value
	}
}

func defaultJob(j *batchv1.Job) {
	defaultJobSpec(&j.Spec)
	if len(j.Labels) == 0 {
		j.Labels = j.Spec.Template.Labels
	}
}

// defaultJobSpec: without numbers a job is one pod; with a parallelism alone
// it is done when any pod succeeds.
func defaultJobSpec(s *batchv1.JobSpec) {
	podspec.SetDefaults(&s.Template.Spec)
	if s.Completions == nil && s.Parallelism == nil {
		setPointer(&s.Completions, 1)
	}
	setPointer(&s.Parallelism, 1)
	setPointer(&s.BackoffLimit, defaultBackoff(s))
	setPointer(&s.CompletionMode, batchv1.NonIndexedCompletion)
	setPointer(&s.Suspend, false)
	setPointer(&s.ManualSelector, false)
	policy := batchv1.TerminatingOrFailed
	if s.PodFailurePolicy != nil {
		policy = batchv1.Failed
		for i := range s.PodFailurePolicy.Rules {
			conditions := s.PodFailurePolicy.Rules[i].OnPodConditions
			for c := range conditions {
				setDefault(&conditions[c].Status, corev1.ConditionTrue)
			}
		}
	}
	setPointer(&s.PodReplacementPolicy, policy)
}

func defaultBackoff(s *batchv1.JobSpec) int32 {
	if s.BackoffLimitPerIndex != nil {
		return 1<<31 - 1
	}
	return 6
}

// maskScheduling has a spec be as the old one is where pods are scheduled by it.
func maskScheduling(spec, old *corev1.PodSpec) {
	spec.NodeSelector, spec.Tolerations, spec.SchedulingGates = old.NodeSelector, old.Tolerations, old.SchedulingGates
	maskNodeAffinity(spec, old)
	maskResources(spec.Containers, old.Containers)
	maskResources(spec.InitContainers, old.InitContainers)
}

func maskResources(containers, old []corev1.Container) {
	if len(containers) != len(old) {
		return
	}
	for i := range containers {
		if containers[i].Name == old[i].Name {
			containers[i].Resources = old[i].Resources
		}
	}
}

func maskNodeAffinity(spec, old *corev1.PodSpec) {
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	spec.Affinity.NodeAffinity = nil
	if old.Affinity != nil {
		spec.Affinity.NodeAffinity = old.Affinity.NodeAffinity
	}
	if *spec.Affinity == (corev1.Affinity{}) {
		spec.Affinity = old.Affinity
	}
}

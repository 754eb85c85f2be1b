package kinds

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
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
			validateUpdate: validateJobUpdate,
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
	for key, value := range map[string]string{
		batchv1.JobNameLabel: j.Name, batchv1.ControllerUidLabel: string(j.UID),
		"job-name": j.Name, "controller-uid": string(j.UID),
	} {
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

func validateJob(j *batchv1.Job) field.ErrorList {
	errs := validateJobSpec(&j.Spec, specPath())
	if j.Spec.Selector == nil {
		return append(errs, field.Required(specPath("selector"), ""))
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(labelSet(j.Spec.Template.Labels)) {
		errs = append(errs, field.Invalid(specPath("template", "metadata", "labels"), j.Spec.Template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, rule.Selector(j.Spec.Selector, specPath("selector"))...)
}

func validateJobSpec(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs := rule.Join(
		rule.NonNegative(s.Parallelism, path.Child("parallelism")),
		rule.NonNegative(s.Completions, path.Child("completions")),
		rule.NonNegative(s.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds")),
		rule.NonNegative(s.BackoffLimit, path.Child("backoffLimit")),
		rule.NonNegative(s.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex")),
		rule.NonNegative(s.MaxFailedIndexes, path.Child("maxFailedIndexes")),
		rule.NonNegative(s.TTLSecondsAfterFinished, path.Child("ttlSecondsAfterFinished")),
		podspec.ValidateTemplate(&s.Template, path.Child("template")),
	)
	if m := s.CompletionMode; m != nil {
		errs = append(errs, rule.OneOf(*m, path.Child("completionMode"), batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
		if *m == batchv1.IndexedCompletion && s.Completions == nil {
			errs = append(errs, field.Required(path.Child("completions"), "when completion mode is Indexed"))
		}
	}
	if p := s.Template.Spec.RestartPolicy; p != corev1.RestartPolicyNever && p != corev1.RestartPolicyOnFailure {
		errs = append(errs, field.Required(path.Child("template", "spec", "restartPolicy"),
			fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)))
	}
	if s.PodFailurePolicy != nil && s.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		errs = append(errs, field.Invalid(path.Child("template", "spec", "restartPolicy"), s.Template.Spec.RestartPolicy, "only \"Never\" is supported when podFailurePolicy is specified"))
	}
	return errs
}

// validateJobUpdate: a suspended job that has not begun may still change where
// and with what its pods will run.
func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	errs := rule.Join(
		rule.Immutable(j.Spec.Selector, old.Spec.Selector, specPath("selector")),
		rule.Immutable(j.Spec.CompletionMode, old.Spec.CompletionMode, specPath("completionMode")),
		rule.Immutable(j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy, specPath("podFailurePolicy")),
		rule.Immutable(j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex, specPath("backoffLimitPerIndex")),
	)
	if indexed := deref(old.Spec.CompletionMode) == batchv1.IndexedCompletion; !indexed || !equality.Semantic.DeepEqual(j.Spec.Completions, j.Spec.Parallelism) {
		errs = append(errs, rule.Immutable(j.Spec.Completions, old.Spec.Completions, specPath("completions"))...)
	}
	template := j.Spec.Template.DeepCopy()
	if deref(old.Spec.Suspend) && old.Status.StartTime == nil {
		maskScheduling(template, &old.Spec.Template)
	}
	return append(errs, rule.Immutable(*template, old.Spec.Template, specPath("template"))...)
}

func maskScheduling(template, old *corev1.PodTemplateSpec) {
	template.Labels, template.Annotations = old.Labels, old.Annotations
	template.Spec.NodeSelector = old.Spec.NodeSelector
	template.Spec.Affinity = old.Spec.Affinity
	template.Spec.Tolerations = old.Spec.Tolerations
	template.Spec.SchedulingGates = old.Spec.SchedulingGates
	for i := range template.Spec.Containers {
		if i < len(old.Spec.Containers) {
			template.Spec.Containers[i].Resources = old.Spec.Containers[i].Resources
		}
	}
}

package kinds

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// How large a job may be, so that the indexes that have ended still fit into
// its status.
const (
	maxIndexedParallelism = 100_000
	maxFailedIndexes      = 100_000
	manyCompletions       = 100_000
	maxAmongMany          = 10_000
	longestManager        = 63
)

func validateJob(j *batchv1.Job) field.ErrorList {
	s := &j.Spec
	errs := validateJobSpec(s, specPath())
	if s.Selector == nil {
		errs = append(errs, field.Required(specPath("selector"), ""))
	}
	errs = append(errs, rule.Selector(s.Selector, specPath("selector"))...)
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labelSet(s.Template.Labels)) {
		errs = append(errs, field.Invalid(specPath("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, validateLastHostname(j)...)
}

// validateLastHostname: the pods of an indexed job are named for their
// indexes.
func validateLastHostname(j *batchv1.Job) field.ErrorList {
	if deref(j.Spec.CompletionMode) != batchv1.IndexedCompletion || deref(j.Spec.Completions) <= 0 {
		return nil
	}
	last := fmt.Sprintf("%s-%d", j.Name, *j.Spec.Completions-1)
	if len(validation.IsDNS1123Label(last)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+last)}
}

// validateGeneratedSelector: what was generated must be what the job was given
// by its author, where he gave anything.
func validateGeneratedSelector(j *batchv1.Job) field.ErrorList {
	if deref(j.Spec.ManualSelector) || j.Spec.Selector == nil {
		return nil
	}
	at := specPath("template", "metadata", "labels")
	var errs field.ErrorList
	if j.UID == "" {
		errs = append(errs, field.Required(field.NewPath("metadata", "uid"), ""))
	}
	expected := generatedLabels(j)
	for _, key := range []string{"controller-uid", "job-name", batchv1.ControllerUidLabel, batchv1.JobNameLabel} {
		switch value, ok := j.Spec.Template.Labels[key]; {
		case !ok:
			errs = append(errs, field.Required(at.Key(key), fmt.Sprintf("must be '%s'", expected[key])))
		case value != expected[key]:
			errs = append(errs, field.Invalid(at.Key(key), j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", expected[key])))
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(labelSet(expected)) {
		errs = append(errs, field.Invalid(specPath("selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

func validateJobSpec(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	errs := rule.Join(
		rule.NonNegative(s.Parallelism, at.Child("parallelism")),
		rule.NonNegative(s.Completions, at.Child("completions")),
		rule.NonNegative(s.ActiveDeadlineSeconds, at.Child("activeDeadlineSeconds")),
		rule.NonNegative(s.BackoffLimit, at.Child("backoffLimit")),
		rule.NonNegative(s.TTLSecondsAfterFinished, at.Child("ttlSecondsAfterFinished")),
		rule.NonNegative(s.BackoffLimitPerIndex, at.Child("backoffLimitPerIndex")),
		rule.NonNegative(s.MaxFailedIndexes, at.Child("maxFailedIndexes")),
	)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if m := s.ManagedBy; m != nil {
		errs = append(errs, validation.IsDomainPrefixedPath(at.Child("managedBy"), *m)...)
		if len(*m) > longestManager {
			errs = append(errs, field.TooLong(at.Child("managedBy"), *m, longestManager))
		}
	}
	return rule.Join(errs,
		rule.OptionalOf(s.CompletionMode, at.Child("completionMode"), batchv1.NonIndexedCompletion, batchv1.IndexedCompletion),
		validateIndexes(s, at),
		validateFailurePolicy(s, at.Child("podFailurePolicy")),
		validateSuccessPolicy(s, at.Child("successPolicy")),
		validateReplacement(s, at.Child("podReplacementPolicy")),
		podspec.ValidateTemplate(&s.Template, at.Child("template")),
		validateJobRestart(s, at.Child("template", "spec", "restartPolicy")),
	)
}

// validateIndexes: only a job whose pods have indexes can count failures by
// them.
func validateIndexes(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	parallelism, failed := at.Child("parallelism"), at.Child("maxFailedIndexes")
	var errs field.ErrorList
	wrong := func(broken bool, at *field.Path, value any, why string) {
		if broken {
			errs = append(errs, field.Invalid(at, value, why))
		}
	}
	switch deref(s.CompletionMode) {
	case batchv1.IndexedCompletion:
	case "", batchv1.NonIndexedCompletion:
		wrong(s.BackoffLimitPerIndex != nil, at.Child("backoffLimitPerIndex"), deref(s.BackoffLimitPerIndex), "requires indexed completion mode")
		wrong(s.MaxFailedIndexes != nil, failed, deref(s.MaxFailedIndexes), "requires indexed completion mode")
		return errs
	default:
		return nil
	}
	if s.Completions == nil {
		errs = append(errs, field.Required(at.Child("completions"), "when completion mode is Indexed"))
	}
	running, tolerated := deref(s.Parallelism), deref(s.MaxFailedIndexes)
	wrong(running > maxIndexedParallelism, parallelism, running,
		fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", maxIndexedParallelism))
	wrong(s.Completions != nil && tolerated > *s.Completions, failed, tolerated, "must be less than or equal to completions")
	wrong(tolerated > maxFailedIndexes, failed, tolerated, fmt.Sprintf("must be less than or equal to %d", maxFailedIndexes))
	if deref(s.Completions) <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return errs
	}
	if s.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(failed, fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
	}
	among := fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", maxAmongMany, manyCompletions)
	wrong(running > maxAmongMany, parallelism, running, among)
	wrong(tolerated > maxAmongMany, failed, tolerated, among)
	return errs
}

func validateReplacement(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	if s.PodFailurePolicy != nil {
		return rule.OptionalOf(s.PodReplacementPolicy, at, batchv1.Failed)
	}
	return rule.OptionalOf(s.PodReplacementPolicy, at, batchv1.Failed, batchv1.TerminatingOrFailed)
}

func validateJobRestart(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	switch p := s.Template.Spec.RestartPolicy; {
	case p == corev1.RestartPolicyAlways || p == "":
		return field.ErrorList{field.Required(at, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))}
	case p != corev1.RestartPolicyOnFailure && p != corev1.RestartPolicyNever:
		return field.ErrorList{field.NotSupported(at, p, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever})}
	case s.PodFailurePolicy != nil && p != corev1.RestartPolicyNever:
		return field.ErrorList{field.Invalid(at, p, `only "Never" is supported when podFailurePolicy is specified`)}
	}
	return nil
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	s, was := &j.Spec, &old.Spec
	return rule.Join(
		validateCompletionsUpdate(s, was, specPath("completions")),
		rule.Immutable(s.Selector, was.Selector, specPath("selector")),
		validateJobTemplateUpdate(&s.Template, old),
		rule.Immutable(s.CompletionMode, was.CompletionMode, specPath("completionMode")),
		rule.Immutable(s.PodFailurePolicy, was.PodFailurePolicy, specPath("podFailurePolicy")),
		rule.Immutable(s.BackoffLimitPerIndex, was.BackoffLimitPerIndex, specPath("backoffLimitPerIndex")),
		rule.Immutable(s.ManagedBy, was.ManagedBy, specPath("managedBy")),
		rule.Immutable(s.SuccessPolicy, was.SuccessPolicy, specPath("successPolicy")),
	)
}

// validateJobTemplateUpdate: a suspended job that has no pods may still change where
// and with what they will run (KEP-5440).
func validateJobTemplateUpdate(template *corev1.PodTemplateSpec, old *batchv1.Job) field.ErrorList {
	was := &old.Spec.Template
	resting := old.Status.StartTime == nil || hasCondition(old, batchv1.JobSuspended)
	if !deref(old.Spec.Suspend) || !resting || old.Status.Active > 0 {
		return rule.Immutable(template, was, specPath("template"))
	}
	spec := template.Spec.DeepCopy()
	maskScheduling(spec, &was.Spec)
	return rule.Immutable(*spec, was.Spec, specPath("template", "spec"))
}

// validateCompletionsUpdate: an indexed job may grow and shrink as a whole.
func validateCompletionsUpdate(s, was *batchv1.JobSpec, at *field.Path) field.ErrorList {
	if deref(s.CompletionMode) != batchv1.IndexedCompletion {
		return rule.Immutable(s.Completions, was.Completions, at)
	}
	if s.Completions == nil || equality.Semantic.DeepEqual(s.Completions, was.Completions) || equality.Semantic.DeepEqual(s.Completions, s.Parallelism) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *s.Completions, "can only be modified in tandem with spec.parallelism")}
}

// countIndexes counts the indexes of a text such as "1,3-5", all of which must
// be below completions and in order.
func countIndexes(text string, completions int32) (int32, error) {
	if text == "" {
		return 0, nil
	}
	var total, last int32 = 0, -1
	for part := range strings.SplitSeq(text, ",") {
		first, end, err := parseInterval(part, completions)
		if err != nil {
			return 0, err
		}
		if last >= first {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, first)
		}
		total, last = total+end-first+1, end
	}
	return total, nil
}

// parseInterval reads an index, or the first and the last of several.
func parseInterval(text string, completions int32) (first, last int32, err error) {
	ends := strings.Split(text, "-")
	if len(ends) > 2 {
		return 0, 0, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	if first, err = parseIndex(ends[0], completions); err != nil || len(ends) == 1 {
		return first, first, err
	}
	if last, err = parseIndex(ends[1], completions); err != nil {
		return 0, 0, err
	}
	if first >= last {
		return 0, 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", first, last)
	}
	return first, last, nil
}

func parseIndex(text string, completions int32) (int32, error) {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	case n < 0:
		return 0, errors.New("an index cannot be negative")
	case n >= int(completions):
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return int32(n), nil
}

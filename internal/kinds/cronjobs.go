package kinds

import (
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// longestCronJobName leaves room for the minute that is appended to the names
// of its jobs.
const longestCronJobName = validation.DNS1035LabelMaxLength - 11

func labelSet(l map[string]string) labels.Set { return l }

func cronJobColumns() []Column {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	cols := columns(
		text("Schedule", spec["schedule"], func(c *batchv1.CronJob) string { return c.Spec.Schedule }),
		text("Timezone", spec["timeZone"], func(c *batchv1.CronJob) string { return pointerOr(c.Spec.TimeZone, none) }),
		text("Suspend", spec["suspend"], func(c *batchv1.CronJob) string {
			if c.Spec.Suspend == nil {
				return unknown
			}
			return yesNo(*c.Spec.Suspend)
		}),
		number("Active", status["active"], func(c *batchv1.CronJob) int64 { return int64(len(c.Status.Active)) }),
		text("Last Schedule", status["lastScheduleTime"], func(c *batchv1.CronJob) string {
			if c.Status.LastScheduleTime == nil {
				return none
			}
			return Since(*c.Status.LastScheduleTime)
		}),
		ageColumn(),
	)
	cols = append(cols, templateColumns(func(c *batchv1.CronJob) *corev1.PodTemplateSpec { return &c.Spec.JobTemplate.Spec.Template })...)
	return append(cols, selectorColumn(func(c *batchv1.CronJob) *metav1.LabelSelector { return c.Spec.JobTemplate.Spec.Selector }, batchv1.JobSpec{}.SwaggerDoc()["selector"]))
}

func cronJobStrategy() Strategy {
	return specStatus(
		func(c *batchv1.CronJob) *batchv1.CronJobSpec { return &c.Spec },
		func(c *batchv1.CronJob) *batchv1.CronJobStatus { return &c.Status },
		rules[*batchv1.CronJob]{
			defaults: func(c *batchv1.CronJob) {
				setDefault(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
				setPointer(&c.Spec.Suspend, false)
				setPointer(&c.Spec.SuccessfulJobsHistoryLimit, 3)
				setPointer(&c.Spec.FailedJobsHistoryLimit, 1)
				defaultJobTemplate(&c.Spec.JobTemplate.Spec)
			},
			validate: validateCronJob,
		})
}

// defaultJobTemplate leaves open what each job gets when it is made.
func defaultJobTemplate(s *batchv1.JobSpec) {
	defaulted := s.DeepCopy()
	defaultJobSpec(defaulted)
	s.Template.Spec = defaulted.Template.Spec
}

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	s := &c.Spec
	errs := rule.Join(
		validateSchedule(s.Schedule, specPath("schedule")),
		rule.NonNegative(s.StartingDeadlineSeconds, specPath("startingDeadlineSeconds")),
		rule.NonNegative(s.SuccessfulJobsHistoryLimit, specPath("successfulJobsHistoryLimit")),
		rule.NonNegative(s.FailedJobsHistoryLimit, specPath("failedJobsHistoryLimit")),
		rule.OneOf(s.ConcurrencyPolicy, specPath("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent),
		validateJobSpec(&s.JobTemplate.Spec, specPath("jobTemplate", "spec")),
	)
	if len(c.Name) > longestCronJobName {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", longestCronJobName)))
	}
	if zone := s.TimeZone; zone != nil {
		errs = append(errs, validateTimeZone(*zone, specPath("timeZone"))...)
	}
	if deref(s.JobTemplate.Spec.ManualSelector) {
		errs = append(errs, field.NotSupported(specPath("jobTemplate", "spec", "manualSelector"), true, []string{"nil", "false"}))
	}
	return errs
}

func validateTimeZone(zone string, path *field.Path) field.ErrorList {
	switch {
	case zone == "":
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be nil or non-empty string")}
	case strings.EqualFold(zone, "Local"):
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")}
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return field.ErrorList{field.Invalid(path, zone, err.Error())}
	}
	return nil
}

func validateSchedule(schedule string, path *field.Path) field.ErrorList {
	if schedule == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if strings.Contains(schedule, "TZ") {
		return field.ErrorList{field.Invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")}
	}
	if err := checkCron(schedule); err != nil {
		return field.ErrorList{field.Invalid(path, schedule, err.Error())}
	}
	return nil
}

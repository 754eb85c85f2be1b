package kinds

import (
	"fmt"
	"regexp"
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
		declared("boolean", text("Suspend", spec["suspend"], func(c *batchv1.CronJob) string {
			if c.Spec.Suspend == nil {
				return unknown
			}
			return yesNo(*c.Spec.Suspend)
		})),
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
			validate:       validateCronJob,
			validateCreate: validateNewCronJob,
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
	job := specPath("jobTemplate", "spec")
	errs := rule.Join(
		validateSchedule(s.Schedule, specPath("schedule")),
		rule.NonNegative(s.StartingDeadlineSeconds, specPath("startingDeadlineSeconds")),
		rule.Optional(s.TimeZone, specPath("timeZone"), validateTimeZone),
		rule.OneOf(s.ConcurrencyPolicy, specPath("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent),
		validateJobSpec(&s.JobTemplate.Spec, job),
		rule.NonNegative(s.SuccessfulJobsHistoryLimit, specPath("successfulJobsHistoryLimit")),
		rule.NonNegative(s.FailedJobsHistoryLimit, specPath("failedJobsHistoryLimit")),
	)
	if selector := s.JobTemplate.Spec.Selector; selector != nil {
		errs = append(errs, field.Invalid(job.Child("selector"), selector, "`selector` will be auto-generated"))
	}
	if deref(s.JobTemplate.Spec.ManualSelector) {
		errs = append(errs, field.NotSupported(job.Child("manualSelector"), true, []string{"nil", "false"}))
	}
	return errs
}

// validateNewCronJob: older ones may have longer names.
func validateNewCronJob(c *batchv1.CronJob) field.ErrorList {
	if len(c.Name) <= longestCronJobName {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", longestCronJobName))}
}

// validateTimeZone: each part of a zone's name is short, so that it can be a
// file's.
func validateTimeZone(zone string, at *field.Path) field.ErrorList {
	wrong := func(why string) field.ErrorList { return field.ErrorList{field.Invalid(at, zone, why)} }
	if zone == "" {
		return wrong("timeZone must be nil or non-empty string")
	}
	form := regexp.MustCompile(`^[A-Za-z._0-9+][A-Za-z._0-9+-]{0,13}$`)
	for part := range strings.SplitSeq(zone, "/") {
		if part == "." || part == ".." || !form.MatchString(part) {
			return wrong("unknown time zone " + zone)
		}
	}
	if strings.EqualFold(zone, "Local") {
		return wrong("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return wrong(err.Error())
	}
	return nil
}

func validateSchedule(schedule string, at *field.Path) field.ErrorList {
	if schedule == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if strings.Contains(schedule, "TZ") {
		return field.ErrorList{field.Invalid(at, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")}
	}
	if err := checkCron(schedule); err != nil {
		return field.ErrorList{field.Invalid(at, schedule, err.Error())}
	}
	return nil
}

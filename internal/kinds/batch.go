package kinds

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// batchKinds are the kinds of batch/v1.
func batchKinds() []*Kind {
	return []*Kind{
		object[batchv1.CronJob, batchv1.CronJobList](Kind{
			Group: "batch", Version: "v1", Resource: "cronjobs", Kind: "CronJob", Singular: "cronjob",
			ShortNames:   []string{"cj"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      cronJobColumns(),
			NamedOnce:    true,
			Strategy:     warnedOfNames(warned(cronJobStrategy(), specPath("jobTemplate", "spec", "template"), func(c *batchv1.CronJob) *corev1.PodTemplateSpec { return &c.Spec.JobTemplate.Spec.Template }, nil)),
		}),
		object[batchv1.Job, batchv1.JobList](Kind{
			Group: "batch", Version: "v1", Resource: "jobs", Kind: "Job", Singular: "job",
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      jobColumns(),
			Fields:       fields(jobFields),
			FieldNames:   []string{"status.successful"},
			FieldRefusal: "field label %q not supported for Job",
			NamedOnce:    true,
			Strategy:     warnedOfNames(warned(jobStrategy(), specPath("template"), func(j *batchv1.Job) *corev1.PodTemplateSpec { return &j.Spec.Template }, warnOfManyIndexes)),
		}),
	}
}

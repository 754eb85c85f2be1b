package kinds

import batchv1 "k8s.io/api/batch/v1"

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
			Strategy:     cronJobStrategy(),
		}),
		object[batchv1.Job, batchv1.JobList](Kind{
			Group: "batch", Version: "v1", Resource: "jobs", Kind: "Job", Singular: "job",
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      jobColumns(),
			Fields:       fields(jobFields),
			FieldNames:   []string{"status.successful"},
			Strategy:     jobStrategy(),
		}),
	}
}

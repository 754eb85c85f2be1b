package configuration

import (
	"fmt"
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	componentconfig "k8s.io/component-base/config/v1alpha1"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// The back-off of pods where nothing is said of it, in seconds.
const (
	defaultInitialBackoff = 1
	defaultMaxBackoff     = 10
	// maxSeconds is the longest time that fits a duration.
	maxSeconds = int64(math.MaxInt64 / time.Second)
)

func validateBackoff(c *configv1.KubeSchedulerConfiguration) field.ErrorList {
	initial, longest := int64(defaultInitialBackoff), int64(defaultMaxBackoff)
	if c.PodInitialBackoffSeconds != nil {
		initial = *c.PodInitialBackoffSeconds
	}
	if c.PodMaxBackoffSeconds != nil {
		longest = *c.PodMaxBackoffSeconds
	}
	var errs field.ErrorList
	if initial < 1 || initial > maxSeconds {
		errs = append(errs, field.Invalid(field.NewPath("podInitialBackoffSeconds"), initial, "must be greater than 0"))
	}
	if longest < initial || longest > maxSeconds {
		errs = append(errs, field.Invalid(field.NewPath("podMaxBackoffSeconds"), longest,
			fmt.Sprintf("must not be less than podInitialBackoffSeconds, %d", initial)))
	}
	return errs
}

func validateElection(path *field.Path, c *configv1.KubeSchedulerConfiguration) field.ErrorList {
	var errs field.ErrorList
	if lock := c.LeaderElection.ResourceLock; lock != "" && lock != "leases" {
		errs = append(errs, field.NotSupported(path.Child("resourceLock"), lock, []string{"leases"}))
	}
	for _, d := range []struct {
		name  string
		value metav1.Duration
	}{
		{"leaseDuration", c.LeaderElection.LeaseDuration},
		{"renewDeadline", c.LeaderElection.RenewDeadline},
		{"retryPeriod", c.LeaderElection.RetryPeriod},
	} {
		if d.value.Duration < 0 {
			errs = append(errs, field.Invalid(path.Child(d.name), d.value.Duration.String(), "must be greater than 0"))
		}
	}
	return errs
}

// idleFields are the fields that are set and have no effect here: the services
// of a cluster are joined by gRPC, and profiling is a flag.
func idleFields(c *configv1.KubeSchedulerConfiguration) []string {
	var idle []string
	if c.ClientConnection != (componentconfig.ClientConnectionConfiguration{}) {
		idle = append(idle, "clientConnection")
	}
	if c.EnableProfiling != nil {
		idle = append(idle, "enableProfiling")
	}
	if c.EnableContentionProfiling != nil {
		idle = append(idle, "enableContentionProfiling")
	}
	if c.DelayCacheUntilActive {
		idle = append(idle, "delayCacheUntilActive")
	}
	return idle
}

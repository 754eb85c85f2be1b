package scheduler

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// Adopt takes over what a configuration in Kubernetes' format says. A flag that
// has been given wins over the file's field: given says whether a flag, by its
// name, has been. The flags that stand for a profile cannot be.
func (c *Config) Adopt(from *configv1.KubeSchedulerConfiguration, given func(flag string) bool) error {
	for _, flag := range []string{schedulerNameFlag, disablePluginsFlag} {
		if given(flag) {
			return fmt.Errorf("%s: not together with a configuration file, whose profiles say it", flag)
		}
	}
	c.Profiles, c.Extenders = from.Profiles, from.Extenders
	adopt(&c.Parallelism, from.Parallelism, given(parallelismFlag))
	adopt(&c.PercentageOfNodes, from.PercentageOfNodesToScore, given(percentageOfNodesFlag))
	adoptSeconds(&c.InitialBackoff, from.PodInitialBackoffSeconds, given(initialBackoffFlag))
	adoptSeconds(&c.MaxBackoff, from.PodMaxBackoffSeconds, given(maxBackoffFlag))
	election := &from.LeaderElection
	if election.LeaderElect != nil && !given(leaderElectFlag) {
		c.LeaderElect = *election.LeaderElect
	}
	adoptText(&c.LeaseName, election.ResourceName, given(leaseNameFlag))
	adoptText(&c.LeaseNamespace, election.ResourceNamespace, given(leaseNamespaceFlag))
	adoptDuration(&c.LeaseDuration, election.LeaseDuration, given(leaseDurationFlag))
	adoptDuration(&c.RenewDeadline, election.RenewDeadline, given(renewDeadlineFlag))
	adoptDuration(&c.RetryPeriod, election.RetryPeriod, given(retryPeriodFlag))
	return nil
}

func adopt(to *int, from *int32, keep bool) {
	if from != nil && !keep {
		*to = int(*from)
	}
}

func adoptSeconds(to *time.Duration, from *int64, keep bool) {
	if from != nil && !keep {
		*to = time.Duration(*from) * time.Second
	}
}

func adoptText(to *string, from string, keep bool) {
	if from != "" && !keep {
		*to = from
	}
}

func adoptDuration(to *time.Duration, from metav1.Duration, keep bool) {
	if from.Duration != 0 && !keep {
		*to = from.Duration
	}
}

package scheduler

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/internal/client/leader"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins"
)

// Config is how the Scheduler behaves.
type Config struct {
	// SchedulerName is the spec.schedulerName of the pods it places, and the
	// source of its events. It has no effect where Profiles are given.
	SchedulerName string
	// DisabledPlugins are left out; not together with Profiles.
	DisabledPlugins []string
	// Profiles are several of these, of which a pod chooses one by its
	// spec.schedulerName, with plugins as they say.
	Profiles []configv1.KubeSchedulerProfile
	// Extenders are programs that have a say in the decisions of all profiles.
	Extenders []configv1.Extender
	// Idle are fields of the configuration file that have no effect here.
	Idle []string
	// LeaderElect makes several Schedulers agree on one that places pods.
	LeaderElect bool
	// LeaseName and LeaseNamespace name the Lease they agree by.
	LeaseName, LeaseNamespace string
	// Identity tells this instance from the others; it should stay the same
	// over restarts.
	Identity string
	// LeaseDuration is how long others wait for a silent leader, RenewDeadline
	// how long it tries to renew the Lease, RetryPeriod the time between tries.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// PercentageOfNodes is how many feasible nodes, of all, are enough to
	// choose from; 0 adapts it to the size of the cluster.
	PercentageOfNodes int
	// Parallelism is how many goroutines look at the nodes of a large cluster.
	Parallelism int
	// InitialBackoff and MaxBackoff bound how long a pod waits after an
	// attempt that failed.
	InitialBackoff, MaxBackoff time.Duration
}

// DefaultConfig returns the configuration for a cluster's own scheduler.
func DefaultConfig() Config {
	election := leader.DefaultConfig()
	return Config{
		SchedulerName:  corev1.DefaultSchedulerName,
		LeaderElect:    true,
		LeaseName:      leader.SchedulerLease,
		LeaseNamespace: election.Namespace,
		LeaseDuration:  election.LeaseDuration,
		RenewDeadline:  election.RenewDeadline,
		RetryPeriod:    election.RetryPeriod,
		Parallelism:    runtime.GOMAXPROCS(0),
		InitialBackoff: time.Second,
		MaxBackoff:     10 * time.Second,
	}
}

// The flags that a configuration file has fields for as well.
const (
	schedulerNameFlag     = "scheduler-name"
	disablePluginsFlag    = "disable-plugins"
	leaderElectFlag       = "leader-elect"
	leaseNameFlag         = "leader-elect-lease-name"
	leaseNamespaceFlag    = "leader-elect-lease-namespace"
	leaseDurationFlag     = "leader-elect-lease-duration"
	renewDeadlineFlag     = "leader-elect-renew-deadline"
	retryPeriodFlag       = "leader-elect-retry-period"
	percentageOfNodesFlag = "percentage-of-nodes-to-score"
	parallelismFlag       = "parallelism"
	initialBackoffFlag    = "pod-initial-backoff"
	maxBackoffFlag        = "pod-max-backoff"
)

// AddFlags adds a flag for each field that is not of a file, with c's values as defaults.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.SchedulerName, schedulerNameFlag, c.SchedulerName, "place the pods whose spec.schedulerName is this")
	flags.BoolVar(&c.LeaderElect, leaderElectFlag, c.LeaderElect, "let one of several schedulers place pods at a time")
	flags.StringVar(&c.LeaseName, leaseNameFlag, c.LeaseName, "name of the Lease for the election")
	flags.StringVar(&c.LeaseNamespace, leaseNamespaceFlag, c.LeaseNamespace, "namespace of the Lease for the election")
	flags.StringVar(&c.Identity, "leader-elect-identity", c.Identity, "this instance's name in the election; it should survive restarts")
	flags.DurationVar(&c.LeaseDuration, leaseDurationFlag, c.LeaseDuration, "how long others wait for a scheduler that does not renew the Lease")
	flags.DurationVar(&c.RenewDeadline, renewDeadlineFlag, c.RenewDeadline, "how long the scheduler that leads tries to renew the Lease before it stops")
	flags.DurationVar(&c.RetryPeriod, retryPeriodFlag, c.RetryPeriod, "time between tries to get or renew the Lease")
	flags.IntVar(&c.PercentageOfNodes, percentageOfNodesFlag, c.PercentageOfNodes, "stop looking once this share of the nodes is feasible; 0 adapts to the cluster's size")
	flags.IntVar(&c.Parallelism, parallelismFlag, c.Parallelism, "goroutines that look at the nodes of a large cluster")
	flags.DurationVar(&c.InitialBackoff, initialBackoffFlag, c.InitialBackoff, "wait after a pod's first failed attempt; doubles with each")
	flags.DurationVar(&c.MaxBackoff, maxBackoffFlag, c.MaxBackoff, "longest wait after a failed attempt")
	flags.StringSliceVar(&c.DisabledPlugins, disablePluginsFlag, c.DisabledPlugins, "scheduler plugins to leave out")
}

// Validate returns the first thing that is wrong.
func (c *Config) Validate() error {
	switch {
	case c.SchedulerName == "":
		return fmt.Errorf("scheduler-name: must not be empty")
	case c.PercentageOfNodes < 0 || c.PercentageOfNodes > 100:
		return fmt.Errorf("percentage-of-nodes-to-score: %d is not between 0 and 100", c.PercentageOfNodes)
	case c.Parallelism < 1:
		return fmt.Errorf("parallelism: %d is not positive", c.Parallelism)
	case c.InitialBackoff <= 0 || c.MaxBackoff < c.InitialBackoff:
		return fmt.Errorf("pod-initial-backoff: %v is not between 0 and pod-max-backoff, %v", c.InitialBackoff, c.MaxBackoff)
	case c.LeaderElect && (c.Identity == "" || c.LeaseName == "" || c.LeaseNamespace == ""):
		return fmt.Errorf("leader-elect: needs an identity and the name and namespace of a Lease")
	case c.LeaderElect && (c.RetryPeriod <= 0 || c.RenewDeadline <= c.RetryPeriod || c.LeaseDuration <= c.RenewDeadline):
		return fmt.Errorf("leader-elect: lease-duration, %v, must be longer than renew-deadline, %v, and that longer than retry-period, %v",
			c.LeaseDuration, c.RenewDeadline, c.RetryPeriod)
	}
	for _, name := range c.DisabledPlugins {
		if !slices.Contains(plugins.Names(), name) {
			return fmt.Errorf("disable-plugins: there is no plugin %q (have %s)", name, strings.Join(plugins.Names(), ", "))
		}
		if slices.Contains(plugins.Required(), name) {
			return fmt.Errorf("disable-plugins: %s cannot be left out", name)
		}
	}
	return nil
}

// profiles makes the profiles.
func (c *Config) profiles(env plugins.Environment) (*framework.Profiles, error) {
	configs := c.Profiles
	if len(configs) == 0 {
		configs = []configv1.KubeSchedulerProfile{plugins.DefaultProfile(c.SchedulerName, c.DisabledPlugins)}
	}
	made := make([]*framework.Profile, len(configs))
	for i := range configs {
		var errs field.ErrorList
		if made[i], errs = plugins.Profile(field.NewPath("profiles").Index(i), &configs[i], c.PercentageOfNodes, env); len(errs) > 0 {
			return nil, errs.ToAggregate()
		}
	}
	return framework.NewProfiles(made...)
}

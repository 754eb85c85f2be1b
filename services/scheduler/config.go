package scheduler

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/plugins"
)

// Config is how the Scheduler behaves.
type Config struct {
	// SchedulerName is the spec.schedulerName of the pods it places, and the
	// source of its events.
	SchedulerName string
	// LeaderElect makes several Schedulers agree on one that places pods.
	LeaderElect bool
	// LeaseName and LeaseNamespace name the Lease they agree by.
	LeaseName, LeaseNamespace string
	// Identity tells this instance from the others; it should stay the same
	// over restarts.
	Identity string
	// PercentageOfNodes is how many feasible nodes, of all, are enough to
	// choose from; 0 adapts it to the size of the cluster.
	PercentageOfNodes int
	// Parallelism is how many goroutines look at the nodes of a large cluster.
	Parallelism int
	// InitialBackoff and MaxBackoff bound how long a pod waits after an
	// attempt that failed.
	InitialBackoff, MaxBackoff time.Duration
	// DisabledPlugins are left out.
	DisabledPlugins []string
}

// DefaultConfig returns the configuration for a cluster's own scheduler.
func DefaultConfig() Config {
	return Config{
		SchedulerName:  corev1.DefaultSchedulerName,
		LeaderElect:    true,
		LeaseName:      "kube-scheduler",
		LeaseNamespace: "kube-system",
		Parallelism:    runtime.GOMAXPROCS(0),
		InitialBackoff: time.Second,
		MaxBackoff:     10 * time.Second,
	}
}

// AddFlags adds a flag for each field, with c's values as defaults.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.SchedulerName, "scheduler-name", c.SchedulerName, "place the pods whose spec.schedulerName is this")
	flags.BoolVar(&c.LeaderElect, "leader-elect", c.LeaderElect, "let one of several schedulers place pods at a time")
	flags.StringVar(&c.LeaseName, "leader-elect-lease-name", c.LeaseName, "name of the Lease for the election")
	flags.StringVar(&c.LeaseNamespace, "leader-elect-lease-namespace", c.LeaseNamespace, "namespace of the Lease for the election")
	flags.StringVar(&c.Identity, "leader-elect-identity", c.Identity, "this instance's name in the election; it should survive restarts")
	flags.IntVar(&c.PercentageOfNodes, "percentage-of-nodes-to-score", c.PercentageOfNodes, "stop looking once this share of the nodes is feasible; 0 adapts to the cluster's size")
	flags.IntVar(&c.Parallelism, "parallelism", c.Parallelism, "goroutines that look at the nodes of a large cluster")
	flags.DurationVar(&c.InitialBackoff, "pod-initial-backoff", c.InitialBackoff, "wait after a pod's first failed attempt; doubles with each")
	flags.DurationVar(&c.MaxBackoff, "pod-max-backoff", c.MaxBackoff, "longest wait after a failed attempt")
	flags.StringSliceVar(&c.DisabledPlugins, "disable-plugins", c.DisabledPlugins, "scheduler plugins to leave out")
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
	}
	known := plugins.Factories()
	for _, name := range c.DisabledPlugins {
		if _, ok := known[name]; !ok {
			return fmt.Errorf("disable-plugins: there is no plugin %q", name)
		}
		if slices.Contains(plugins.Required(), name) {
			return fmt.Errorf("disable-plugins: %s cannot be left out", name)
		}
	}
	return nil
}

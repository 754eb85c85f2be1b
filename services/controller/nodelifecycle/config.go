package nodelifecycle

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// Config says when nodes count as gone, and how fast that may empty them.
type Config struct {
	// GracePeriod is how long a node may be silent before it counts as gone.
	GracePeriod time.Duration
	// EvictionRate is how many nodes of a zone are tainted for eviction per
	// second, be they few or the whole zone.
	EvictionRate float64
	// SecondaryEvictionRate is the same for a zone of which a part is unhealthy,
	// if it is large; a small one is left alone.
	SecondaryEvictionRate float64
	// UnhealthyZoneThreshold is the part of a zone's nodes, of 0 to 1, that must
	// not be ready for the zone to be unhealthy. It takes three nodes at least.
	UnhealthyZoneThreshold float64
	// LargeZoneSize is the number of nodes above which a zone is large.
	LargeZoneSize int
	// FastFailover replaces pods of nodes whose agents have promised to stop them
	// as soon as that promise says that they have, and FenceMargin later: kills
	// take a moment.
	FastFailover bool
	FenceMargin  time.Duration
	// OtherStore has the controllers' connection go to another of several Stores;
	// nil if there is but one.
	OtherStore func()
}

// DefaultConfig returns what kube-controller-manager has.
func DefaultConfig() Config {
	return Config{
		GracePeriod: 40 * time.Second, EvictionRate: 0.1, SecondaryEvictionRate: 0.01,
		UnhealthyZoneThreshold: 0.55, LargeZoneSize: 50, FenceMargin: 2 * time.Second,
	}
}

// AddFlags registers a flag for every field.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&c.GracePeriod, "node-monitor-grace-period", c.GracePeriod, "silence after which a node counts as gone")
	fs.Float64Var(&c.EvictionRate, "node-eviction-rate", c.EvictionRate, "nodes of a zone that are emptied per second once they count as gone")
	fs.Float64Var(&c.SecondaryEvictionRate, "secondary-node-eviction-rate", c.SecondaryEvictionRate, "the same in a large zone that is unhealthy in part; a small one is not emptied then")
	fs.Float64Var(&c.UnhealthyZoneThreshold, "unhealthy-zone-threshold", c.UnhealthyZoneThreshold, "part of a zone's nodes, three at least, whose absence makes the zone unhealthy")
	fs.IntVar(&c.LargeZoneSize, "large-cluster-size-threshold", c.LargeZoneSize, "nodes above which a zone is large")
	fs.BoolVar(&c.FastFailover, "fast-failover", c.FastFailover, "replace pods of silent nodes as soon as their agents, started with the same flag, have stopped them")
	fs.DurationVar(&c.FenceMargin, "fence-margin", c.FenceMargin, "with --fast-failover: time that the stopping of pods may take")
}

// Validate returns everything that is wrong with the configuration, named by its
// flags.
func (c *Config) Validate() []error {
	var errs []error
	if c.GracePeriod <= 0 {
		errs = append(errs, fmt.Errorf("node-monitor-grace-period: %s is not positive", c.GracePeriod))
	}
	for _, f := range []struct {
		flag  string
		value float64
	}{{"node-eviction-rate", c.EvictionRate}, {"secondary-node-eviction-rate", c.SecondaryEvictionRate}} {
		if !(f.value >= 0) {
			errs = append(errs, fmt.Errorf("%s: %v is not a number of nodes per second, 0 or more", f.flag, f.value))
		}
	}
	if !(c.UnhealthyZoneThreshold >= 0 && c.UnhealthyZoneThreshold <= 1) {
		errs = append(errs, fmt.Errorf("unhealthy-zone-threshold: %v is not from 0 to 1", c.UnhealthyZoneThreshold))
	}
	if c.LargeZoneSize < 0 {
		errs = append(errs, fmt.Errorf("large-cluster-size-threshold: %d is negative", c.LargeZoneSize))
	}
	if c.FenceMargin < leastMargin {
		errs = append(errs, fmt.Errorf("fence-margin: %s is less than %s", c.FenceMargin, leastMargin))
	}
	return errs
}

// leastMargin is what killing a pod's processes may well take.
const leastMargin = time.Second

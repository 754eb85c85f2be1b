package hollow

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Config says what nodes to stand for, how long they take for what they do, and
// how often that fails.
type Config struct {
	// Nodes is how many there are. They are named NamePrefix and a number, from
	// FirstNode on, so that several processes can share the work.
	Nodes      int
	FirstNode  int
	NamePrefix string
	// CPU, Memory and MaxPods are what each node offers.
	CPU, Memory string
	MaxPods     int
	// Zones is how many zones the nodes are spread over; 0 gives them none.
	Zones int
	// Labels and Taints, KEY=VALUE:EFFECT, are put on each Node.
	Labels map[string]string
	Taints []string
	// NodeCIDR has the nodes' addresses, PodCIDR those of the pods on nodes that
	// the Controller has given no range.
	NodeCIDR, PodCIDR string
	// Service is where the Node service of all nodes is served, which is their
	// address then. The zero value is nowhere.
	Service netip.AddrPort

	// Seed is that of everything that happens by chance.
	Seed uint64
	// ImageLatency, SandboxLatency, StartLatency and StopLatency are how long the
	// steps of a pod's life take on average: the first pull of an image onto a
	// node, the network and the sandbox, the start of a container, and its end
	// after SIGTERM.
	ImageLatency, SandboxLatency, StartLatency, StopLatency time.Duration
	// LeaveTime bounds how long the containers of a deleted pod are not told to end
	// because a Service may still send it traffic, as with agents.
	LeaveTime time.Duration
	// RunTime is how long containers run, on average, that are to come to an end:
	// init containers, and those of pods that are not always restarted.
	RunTime time.Duration
	// LatencySpread is how far durations are from their average at most, as a part
	// of it.
	LatencySpread float64
	// PullFailRate and StartFailRate are the parts of the pulls, and of the
	// containers' starts, that fail.
	PullFailRate, StartFailRate float64
	// CrashEvery is after how long a container crashes on average; 0 is never.
	CrashEvery time.Duration
	// NotReady is how many nodes, the last ones, say that they are not ready.
	NotReady int
	// NodeFailEvery is after how long a node falls silent on average, and
	// NodeFailFor for how long it does; an interval of 0 is never.
	NodeFailEvery, NodeFailFor time.Duration
	// Events says that the nodes record events about their pods.
	Events bool
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		NamePrefix: "hollow-", CPU: "8", Memory: "32Gi", MaxPods: 110,
		NodeCIDR: "198.18.0.0/15", PodCIDR: "10.128.0.0/9",
		Seed: 1, ImageLatency: time.Second, SandboxLatency: 200 * time.Millisecond, StartLatency: 100 * time.Millisecond,
		StopLatency: 100 * time.Millisecond, LeaveTime: 2 * time.Second, RunTime: 10 * time.Second, LatencySpread: 0.5,
		NodeFailFor: 2 * time.Minute, Events: true,
	}
}

// AddFlags adds a flag for each setting, with its present value as default.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.IntVar(&c.Nodes, "nodes", c.Nodes, "how many nodes to simulate")
	fs.StringVar(&c.NamePrefix, "name-prefix", c.NamePrefix, "nodes are named with it and a number")
	fs.IntVar(&c.FirstNode, "first-node", c.FirstNode, "number of the first node, for several processes that share the nodes")
	fs.StringVar(&c.CPU, "node-cpu", c.CPU, "CPUs that each node offers")
	fs.StringVar(&c.Memory, "node-memory", c.Memory, "memory that each node offers")
	fs.IntVar(&c.MaxPods, "max-pods", c.MaxPods, "most pods of each node")
	fs.IntVar(&c.Zones, "zones", c.Zones, "zones to spread the nodes over; 0: the nodes are in none")
	fs.StringToStringVar(&c.Labels, "node-labels", c.Labels, "labels added to each Node")
	fs.StringSliceVar(&c.Taints, "node-taints", c.Taints, "KEY=VALUE:EFFECT of taints that each Node is registered with")
	fs.StringVar(&c.NodeCIDR, "node-cidr", c.NodeCIDR, "range of the nodes' addresses; nothing is ever sent to them")
	fs.StringVar(&c.PodCIDR, "pod-cidr", c.PodCIDR, "range of the pods' addresses on nodes that have no pod CIDR from the Controller")

	fs.Uint64Var(&c.Seed, "seed", c.Seed, "seed of everything that happens by chance")
	fs.DurationVar(&c.ImageLatency, "image-latency", c.ImageLatency, "average time of an image's first pull onto a node")
	fs.DurationVar(&c.SandboxLatency, "sandbox-latency", c.SandboxLatency, "average time to make a pod's sandbox and network")
	fs.DurationVar(&c.StartLatency, "start-latency", c.StartLatency, "average time to create and start a container")
	fs.DurationVar(&c.StopLatency, "stop-latency", c.StopLatency, "average time that a container takes to end after SIGTERM")
	fs.DurationVar(&c.LeaveTime, "endpoint-removal-timeout", c.LeaveTime, "most that the end of a deleted pod is put off until no Service sends it traffic; 0: not at all")
	fs.DurationVar(&c.RunTime, "run-time", c.RunTime, "average run time of init containers, and of containers of pods that are not always restarted")
	fs.Float64Var(&c.LatencySpread, "latency-spread", c.LatencySpread, "how far times are from their average at most, as a part of it")
	fs.Float64Var(&c.PullFailRate, "pull-fail-rate", c.PullFailRate, "part of the image pulls that fail, from 0 to 1")
	fs.Float64Var(&c.StartFailRate, "start-fail-rate", c.StartFailRate, "part of the containers' starts that fail, from 0 to 1")
	fs.DurationVar(&c.CrashEvery, "crash-every", c.CrashEvery, "average time after which a container crashes; 0: never")
	fs.IntVar(&c.NotReady, "not-ready", c.NotReady, "how many nodes, the last ones, are not ready")
	fs.DurationVar(&c.NodeFailEvery, "node-fail-every", c.NodeFailEvery, "average time after which a node falls silent; 0: never")
	fs.DurationVar(&c.NodeFailFor, "node-fail-for", c.NodeFailFor, "average time for which a node is silent then")
	fs.BoolVar(&c.Events, "events", c.Events, "record events about the pods, as agents do")
}

// mostNodes bounds the nodes of one process.
const mostNodes = 100_000

var prefixPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[-a-z0-9])?$`)

// Validate reports the first setting that cannot work.
func (c *Config) Validate() error {
	if err := c.validateNodes(); err != nil {
		return err
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"image-latency", c.ImageLatency},
		{"sandbox-latency", c.SandboxLatency},
		{"start-latency", c.StartLatency},
		{"stop-latency", c.StopLatency},
		{"endpoint-removal-timeout", c.LeaveTime},
		{"run-time", c.RunTime},
		{"crash-every", c.CrashEvery},
		{"node-fail-every", c.NodeFailEvery},
		{"node-fail-for", c.NodeFailFor},
	} {
		if d.value < 0 {
			return fmt.Errorf("flag --%s: %s is less than 0", d.flag, d.value)
		}
	}
	for _, r := range []struct {
		flag  string
		value float64
	}{
		{"latency-spread", c.LatencySpread},
		{"pull-fail-rate", c.PullFailRate},
		{"start-fail-rate", c.StartFailRate},
	} {
		if !(r.value >= 0 && r.value <= 1) { // NaN is not
			return fmt.Errorf("flag --%s: %v must be from 0 to 1", r.flag, r.value)
		}
	}
	_, err := c.plan()
	return err
}

func (c *Config) validateNodes() error {
	switch {
	case c.Nodes < 1 || c.Nodes > mostNodes:
		return fmt.Errorf("flag --nodes: %d must be from 1 to %d", c.Nodes, mostNodes)
	case c.FirstNode < 0:
		return fmt.Errorf("flag --first-node: %d is less than 0", c.FirstNode)
	case !prefixPattern.MatchString(c.NamePrefix):
		return fmt.Errorf("flag --name-prefix: %q must begin a DNS name: lower case letters, digits, '-' and '.'", c.NamePrefix)
	case c.MaxPods < 1 || c.MaxPods > 1<<16:
		return fmt.Errorf("flag --max-pods: %d must be from 1 to %d", c.MaxPods, 1<<16)
	case c.Zones < 0:
		return fmt.Errorf("flag --zones: %d is less than 0", c.Zones)
	case c.NotReady < 0 || c.NotReady > c.Nodes:
		return fmt.Errorf("flag --not-ready: %d must be from 0 to --nodes (%d)", c.NotReady, c.Nodes)
	}
	last := c.nodeName(c.FirstNode + c.Nodes - 1)
	if problems := validation.IsDNS1123Subdomain(last); len(problems) > 0 || len(last) > validation.LabelValueMaxLength {
		return fmt.Errorf("flag --name-prefix: %q makes names such as %q, which must be DNS names of at most %d characters", c.NamePrefix, last, validation.LabelValueMaxLength)
	}
	return nil
}

// FirstName is the first node's name.
func (c *Config) FirstName() string { return c.nodeName(c.FirstNode) }

func (c *Config) nodeName(number int) string { return c.NamePrefix + strconv.Itoa(number) }

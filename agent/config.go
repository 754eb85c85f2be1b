package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"navarch.dev/navarch/agent/eviction"
	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/sysctls"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/internal/fencing"
)

// Config configures an Agent.
type Config struct {
	// ClusterID tells clusters on one machine apart: links, tables and cgroups
	// are named after it.
	ClusterID string
	NodeName  string
	// NodeIP is the node's address; empty is that of the default route.
	NodeIP string
	// Port is where the Node service is served; it is written into the Node.
	Port int
	// DataDir holds nodes/<node>/ with all state of the agent.
	DataDir string
	// CgroupRoot is the cgroup that navarch/<cluster>/<node> is made in.
	CgroupRoot string
	// BinDir holds runc and navarch-shim, CNIBinDir the CNI plugins.
	BinDir, CNIBinDir string
	// CNIConfDir may hold an administrator's CNI configuration.
	CNIConfDir string
	// StaticPodDir may hold manifests of static pods.
	StaticPodDir string
	// SeccompDir holds Localhost seccomp profiles.
	SeccompDir string
	// PluginsDir holds plugins_registry, the folder in which drivers of devices make
	// their sockets for registration; empty is the node's own folder.
	PluginsDir string
	// CDIDirs hold specifications of CDI devices.
	CDIDirs []string
	// UnsafeSysctls are kernel parameters that pods may set beside the safe ones,
	// or prefixes of them that end in *.
	UnsafeSysctls []string
	// ClusterCIDR and ServiceCIDR are the cluster's networks.
	ClusterCIDR, ServiceCIDR string
	// ClusterDNS and ClusterDomain are for pods' resolv.conf; ResolvConf is the
	// node's own.
	ClusterDNS    []string
	ClusterDomain string
	ResolvConf    string
	// MTU of pods' links; 0 is what fits the node's link.
	MTU int
	// VXLANPort is the UDP port of tunnels to nodes on other links.
	VXLANPort int
	// MaxPods bounds the pods of the node.
	MaxPods int
	// CapacityShare is the part of the machine that this node offers.
	CapacityShare float64
	// UsersPerPod is how many user IDs, and group IDs, a pod with users of its own
	// gets; UsersShare, INDEX/COUNT, which part of the machine's this node gives away.
	UsersPerPod uint32
	UsersShare  string
	// InsecureRegistries may be spoken to without TLS; loopback ones always may.
	InsecureRegistries []string
	// RegistryMirrors, HOST=URL, say where images of a registry come from.
	RegistryMirrors []string
	// Labels are added to the Node.
	Labels map[string]string
	// LogMaxBytes and LogMaxFiles bound a container's log.
	LogMaxBytes int64
	LogMaxFiles int
	// ImageGCHighPercent and ImageGCLowPercent are the disk usages at which
	// unused images begin and cease to be removed.
	ImageGCHighPercent, ImageGCLowPercent int
	// EvictionHard are the thresholds, as eviction.ParseThresholds reads them, below
	// which the node is short of something and evicts pods.
	EvictionHard string
	// EvictionSoft are thresholds that may be missed for as long as EvictionSoftGrace
	// says, as eviction.ParseThresholds and eviction.ParseGracePeriods read them. Pods
	// that are evicted then have EvictionPodGrace seconds to end, or less.
	EvictionSoft, EvictionSoftGrace string
	EvictionPodGrace                int
	// EvictionReclaim is how much it frees beyond them, as eviction.ParseReclaims reads
	// it.
	EvictionReclaim string
	// PressureRelief is how long a shortage must have been over for the node to say
	// so.
	PressureRelief time.Duration
	// LeaveTime bounds how long the containers of a deleted pod are not told to end
	// because a Service may still send it traffic; 0 does not wait for that.
	LeaveTime time.Duration
	// FastFailover makes the node promise that its pods do not run for longer than
	// FenceAfter without the Store, so that they can be replaced soon after.
	FastFailover bool
	FenceAfter   time.Duration

	// CertificateEnd returns when the certificate ends by which the agent calls and
	// serves; nil if it has none.
	CertificateEnd func() time.Time
	// Flags are those of the process with their values, for people to see.
	Flags map[string]string
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		ClusterID: "default", Port: 10250, DataDir: "/var/lib/navarch",
		BinDir: "/usr/local/lib/navarch", CNIBinDir: "/opt/cni/bin", CNIConfDir: "/etc/cni/net.d",
		SeccompDir: "/var/lib/navarch/seccomp", CDIDirs: []string{"/etc/cdi", "/var/run/cdi"}, ClusterCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16",
		ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local", ResolvConf: "/etc/resolv.conf",
		VXLANPort: 8472, MaxPods: 110, CapacityShare: 1, UsersPerPod: userns.Unit, UsersShare: "0/1", LogMaxBytes: 10 << 20, LogMaxFiles: 5,
		EvictionHard: eviction.DefaultThresholds, PressureRelief: 5 * time.Minute,
		ImageGCHighPercent: 85, ImageGCLowPercent: 80, FenceAfter: 5 * time.Second, LeaveTime: 2 * time.Second,
	}
}

// AddFlags adds a flag for each setting, with its present value as default.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "name that tells clusters on one machine apart")
	fs.StringVar(&c.NodeName, "node-name", c.NodeName, "the node's name (default: the host's name)")
	fs.StringVar(&c.NodeIP, "node-ip", c.NodeIP, "the node's address (default: that of the default route)")
	fs.IntVar(&c.Port, "node-port", c.Port, "port of the Node service, as written into the Node")
	fs.StringVar(&c.DataDir, "data-dir", c.DataDir, "folder of the agent's state")
	fs.StringVar(&c.CgroupRoot, "cgroup-root", c.CgroupRoot, "cgroup that the pods' cgroups are made in")
	fs.StringVar(&c.BinDir, "bin-dir", c.BinDir, "folder of runc and navarch-shim")
	fs.StringVar(&c.CNIBinDir, "cni-bin-dir", c.CNIBinDir, "folder of the CNI plugins")
	fs.StringVar(&c.CNIConfDir, "cni-conf-dir", c.CNIConfDir, "folder of an administrator's CNI configuration")
	fs.StringVar(&c.StaticPodDir, "static-pod-dir", c.StaticPodDir, "folder of static pods' manifests")
	fs.StringVar(&c.PluginsDir, "plugins-dir", c.PluginsDir, "folder whose plugins_registry drivers of devices register in, /var/lib/kubelet for most of them; empty: the node's own folder")
	fs.StringSliceVar(&c.CDIDirs, "cdi-spec-dirs", c.CDIDirs, "folders of specifications of CDI devices")
	fs.StringSliceVar(&c.UnsafeSysctls, "allowed-unsafe-sysctls", c.UnsafeSysctls, "kernel parameters, or prefixes of them that end in *, that pods may set beside the safe ones")
	fs.StringVar(&c.SeccompDir, "seccomp-dir", c.SeccompDir, "folder of seccomp profiles")
	fs.StringVar(&c.ClusterCIDR, "cluster-cidr", c.ClusterCIDR, "network of all pods")
	fs.StringVar(&c.ServiceCIDR, "service-cidr", c.ServiceCIDR, "network of all Services")
	fs.StringSliceVar(&c.ClusterDNS, "cluster-dns", c.ClusterDNS, "addresses of the cluster's DNS")
	fs.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "the cluster's DNS domain")
	fs.StringVar(&c.ResolvConf, "resolv-conf", c.ResolvConf, "the node's resolv.conf")
	fs.IntVar(&c.MTU, "pod-mtu", c.MTU, "MTU of pods' links (default: what fits the node's link)")
	fs.IntVar(&c.VXLANPort, "vxlan-port", c.VXLANPort, "UDP port of tunnels to nodes on other links")
	fs.IntVar(&c.MaxPods, "max-pods", c.MaxPods, "most pods of the node")
	fs.Float64Var(&c.CapacityShare, "capacity-share", c.CapacityShare, "part of the machine that this node offers, up to 1")
	fs.Uint32Var(&c.UsersPerPod, "user-namespace-ids-per-pod", c.UsersPerPod, "user and group IDs of a pod with hostUsers: false, a multiple of 65536")
	fs.StringVar(&c.UsersShare, "user-namespace-share", c.UsersShare, "INDEX/COUNT: which part of the machine's IDs for pods with hostUsers: false is this node's, where COUNT nodes share the machine")
	fs.StringSliceVar(&c.InsecureRegistries, "insecure-registry", c.InsecureRegistries, "registries that may be spoken to without TLS")
	fs.StringArrayVar(&c.RegistryMirrors, "registry-mirror", c.RegistryMirrors, "HOST=URL: pull images of registry HOST from URL (may be repeated)")
	fs.StringToStringVar(&c.Labels, "node-labels", c.Labels, "labels added to the Node")
	fs.Int64Var(&c.LogMaxBytes, "container-log-max-bytes", c.LogMaxBytes, "size at which a container's log is rotated")
	fs.IntVar(&c.LogMaxFiles, "container-log-max-files", c.LogMaxFiles, "log files kept of a container")
	fs.IntVar(&c.ImageGCHighPercent, "image-gc-high-percent", c.ImageGCHighPercent, "disk usage at which unused images are removed")
	fs.IntVar(&c.ImageGCLowPercent, "image-gc-low-percent", c.ImageGCLowPercent, "disk usage down to which unused images are removed")
	fs.StringVar(&c.EvictionHard, "eviction-hard", c.EvictionHard, "SIGNAL<QUANTITY,...: what must be left of memory, disk and process IDs for no pod to be evicted; signals that are not named are not looked at")
	fs.StringVar(&c.EvictionSoft, "eviction-soft", c.EvictionSoft, "SIGNAL<QUANTITY,...: what must be left most of the time; pods are evicted when less has been for --eviction-soft-grace-period")
	fs.StringVar(&c.EvictionSoftGrace, "eviction-soft-grace-period", c.EvictionSoftGrace, "SIGNAL=DURATION,...: for how long less than --eviction-soft may be left; required for each of its signals")
	fs.IntVar(&c.EvictionPodGrace, "eviction-max-pod-grace-period", c.EvictionPodGrace, "how many seconds a pod may take to end that is evicted for --eviction-soft, if its own grace period is not shorter")
	fs.StringVar(&c.EvictionReclaim, "eviction-minimum-reclaim", c.EvictionReclaim, "SIGNAL=QUANTITY,...: how much beyond --eviction-hard is freed of what was short")
	fs.DurationVar(&c.PressureRelief, "eviction-pressure-transition-period", c.PressureRelief, "how long a shortage must have been over for the node to say so and take new pods")
	fs.DurationVar(&c.LeaveTime, "endpoint-removal-timeout", c.LeaveTime, "most that the end of a deleted pod is put off until no Service sends it traffic; 0: not at all")
	fs.BoolVar(&c.FastFailover, "fast-failover", c.FastFailover, "stop pods when no Store can be reached, so that they can be replaced within seconds")
	fs.DurationVar(&c.FenceAfter, "fence-after", c.FenceAfter, "with --fast-failover: how long after the last renewal of the node's Lease its pods are stopped")
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$`)

// Validate reports the first setting that cannot work.
func (c *Config) Validate() error {
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("node-name is not set and the host has no name: %w", err)
		}
		c.NodeName = strings.ToLower(host)
	}
	for flag, name := range map[string]string{"cluster-id": c.ClusterID, "node-name": c.NodeName} {
		if !namePattern.MatchString(name) {
			return fmt.Errorf("%s %q is not a DNS name", flag, name)
		}
	}
	for flag, path := range map[string]string{"data-dir": c.DataDir, "bin-dir": c.BinDir, "cni-bin-dir": c.CNIBinDir} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s %q is not an absolute path", flag, path)
		}
	}
	if c.NodeIP != "" {
		if _, err := netip.ParseAddr(c.NodeIP); err != nil {
			return fmt.Errorf("node-ip: %w", err)
		}
	}
	if _, err := c.clusterCIDRs(); err != nil {
		return err
	}
	if _, err := c.mirrors(); err != nil {
		return err
	}
	if _, err := c.evictionLimits(); err != nil {
		return err
	}
	if _, _, err := c.usersShare(); err != nil {
		return err
	}
	if _, err := sysctls.Parse(c.UnsafeSysctls); err != nil {
		return fmt.Errorf("allowed-unsafe-sysctls: %w", err)
	}
	return c.validateNumbers()
}

func (c *Config) validateNumbers() error {
	switch {
	case c.CapacityShare <= 0 || c.CapacityShare > 1:
		return fmt.Errorf("capacity-share %v is not above 0 and up to 1", c.CapacityShare)
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("node-port %d is not a port", c.Port)
	case c.VXLANPort < 1 || c.VXLANPort > 65535:
		return fmt.Errorf("vxlan-port %d is not a port", c.VXLANPort)
	case c.MaxPods < 1:
		return errors.New("max-pods is less than 1")
	case c.UsersPerPod == 0 || c.UsersPerPod%userns.Unit != 0:
		return fmt.Errorf("user-namespace-ids-per-pod %d is not a multiple of %d", c.UsersPerPod, userns.Unit)
	case c.ImageGCLowPercent > c.ImageGCHighPercent:
		return errors.New("image-gc-low-percent is more than image-gc-high-percent")
	case c.EvictionPodGrace < 0:
		return fmt.Errorf("eviction-max-pod-grace-period %d is less than 0", c.EvictionPodGrace)
	case c.PressureRelief < 0:
		return fmt.Errorf("eviction-pressure-transition-period %s is less than 0", c.PressureRelief)
	case c.FenceAfter < fencing.Shortest || c.FenceAfter > fencing.Longest:
		return fmt.Errorf("fence-after %s is not from %s to %s", c.FenceAfter, fencing.Shortest, fencing.Longest)
	}
	return nil
}

func (c *Config) clusterCIDRs() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for flag, list := range map[string]string{"cluster-cidr": c.ClusterCIDR, "service-cidr": c.ServiceCIDR} {
		for s := range strings.SplitSeq(list, ",") {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", flag, err)
			}
			all = append(all, p.Masked())
		}
	}
	return all, nil
}

func (c *Config) mirrors() ([]image.Mirror, error) {
	var all []image.Mirror
	for _, text := range c.RegistryMirrors {
		mirror, err := image.ParseMirror(text)
		if err != nil {
			return nil, err
		}
		all = append(all, mirror)
	}
	return all, nil
}

func (c *Config) evictionLimits() (eviction.Limits, error) {
	least, err := eviction.ParseThresholds(c.EvictionHard)
	if err != nil {
		return eviction.Limits{}, fmt.Errorf("eviction-hard: %w", err)
	}
	more, err := eviction.ParseReclaims(c.EvictionReclaim)
	if err != nil {
		return eviction.Limits{}, fmt.Errorf("eviction-minimum-reclaim: %w", err)
	}
	soft, err := eviction.ParseThresholds(c.EvictionSoft)
	if err != nil {
		return eviction.Limits{}, fmt.Errorf("eviction-soft: %w", err)
	}
	grace, err := eviction.ParseGracePeriods(c.EvictionSoftGrace)
	if err != nil {
		return eviction.Limits{}, fmt.Errorf("eviction-soft-grace-period: %w", err)
	}
	for _, signal := range slices.Sorted(maps.Keys(soft)) {
		if grace[signal] == 0 {
			return eviction.Limits{}, fmt.Errorf("eviction-soft-grace-period: required for the signal %s, which eviction-soft names", signal)
		}
	}
	return eviction.Limits{Least: least, Soft: soft, Grace: grace, Reclaim: more}, nil
}

// nodeDir is the folder of all state of the node.
func (c *Config) nodeDir() string { return filepath.Join(c.DataDir, "nodes", c.NodeName) }

func (c *Config) dir(name string) string { return filepath.Join(c.nodeDir(), name) }

// runDir is the folder, in memory, of what does not outlive a boot.
func (c *Config) runDir() string { return c.dir("run") }

// fencePath is the file of the node's fence.
func (c *Config) fencePath() string { return filepath.Join(c.runDir(), "fence") }

// promise is what the node promises; 0 is nothing.
func (c *Config) promise() time.Duration {
	if !c.FastFailover {
		return 0
	}
	return c.FenceAfter
}

// ConnectionDeadline is how long a connection to a Store may go without an answer
// before it is given up; 0 is the usual time. With fast failover it leaves time to
// try another Store before the node's pods are stopped.
func (c *Config) ConnectionDeadline() time.Duration { return c.promise() * 3 / 10 }

// cgroup is the node's, from the root of the hierarchy.
func (c *Config) cgroup() string {
	return filepath.Join(strings.TrimPrefix(c.CgroupRoot, "/"), "navarch", c.ClusterID, c.NodeName)
}

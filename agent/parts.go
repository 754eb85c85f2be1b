package agent

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/node"
	"navarch.dev/navarch/agent/pages"
	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/stats"
	"navarch.dev/navarch/agent/volume"
)

// address returns the node's address: what is configured, or the source
// address of the default route.
func (c *Config) address() (netip.Addr, error) {
	if c.NodeIP != "" {
		return netip.ParseAddr(c.NodeIP)
	}
	routes, err := netlink.RouteGet(netip.MustParseAddr("192.0.2.1").AsSlice())
	if err != nil || len(routes) == 0 || routes[0].Src == nil {
		return netip.Addr{}, fmt.Errorf("node-ip is not set and there is no default route to take it from: %w", err)
	}
	ip, _ := netip.AddrFromSlice(routes[0].Src)
	return ip.Unmap(), nil
}

func (c *Config) networkConfig(nodeIP netip.Addr) network.Config {
	cidrs, _ := c.clusterCIDRs() // Validate has seen them
	return network.Config{
		ClusterID: c.ClusterID, NodeName: c.NodeName, StateDir: filepath.Join(c.runDir(), "network"), BinDir: c.CNIBinDir, ConfDir: c.CNIConfDir,
		ClusterCIDRs: cidrs, NodeIP: nodeIP, MTU: c.MTU, VXLANPort: c.VXLANPort,
	}
}

func (c *Config) nodeConfig(nodeIP netip.Addr, ownUsers bool) node.Config {
	limits, _ := c.evictionLimits() // checked by Validate
	return node.Config{
		Name: c.NodeName, Port: int32(c.Port), MaxPods: int64(c.MaxPods), CapacityShare: c.CapacityShare,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: nodeIP.String()},
			{Type: corev1.NodeHostName, Address: c.NodeName},
		},
		Labels: c.Labels, DiskPath: c.nodeDir(), VolumesDir: c.dir("volumes"), StateDir: c.DataDir, SharesMachine: c.CapacityShare < 1,
		Limits: limits, Relief: c.PressureRelief,
		RuntimeVersion: "runc://" + runcVersion(c.BinDir),
		Features:       &corev1.NodeFeatures{SupplementalGroupsPolicy: new(true)},
		Handlers: []corev1.NodeRuntimeHandler{{Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: new(setsMountsRecursively()), UserNamespaces: new(ownUsers),
		}}},
	}
}

func runcPath(binDir string) string { return filepath.Join(binDir, "runc") }

func shimPath(binDir string) string { return filepath.Join(binDir, "navarch-shim") }

// runcVersion asks runc for its version.
func runcVersion(binDir string) string {
	out, err := exec.Command(runcPath(binDir), "--version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(strings.TrimSpace(line), "runc version ")
}

func (c *Config) runtimeConfig() runtime.Config {
	rt := runtime.DefaultConfig()
	rt.StateDir, rt.FilesDir = filepath.Join(c.runDir(), "runtime"), c.dir("files")
	rt.CgroupParent, rt.SeccompDir, rt.CDIDirs = c.cgroup(), c.SeccompDir, c.CDIDirs
	rt.RuncPath, rt.ShimPath = runcPath(c.BinDir), shimPath(c.BinDir)
	rt.LogMaxBytes, rt.LogMaxFiles = c.LogMaxBytes, c.LogMaxFiles
	rt.FencePath = c.fencePath()
	return rt
}

func (c *Config) imageConfig() image.Config {
	cfg := image.DefaultConfig()
	cfg.Dir, cfg.InsecureRegistries = c.dir("images"), c.InsecureRegistries
	cfg.Mirrors, _ = c.mirrors() // checked by Validate
	return cfg
}

const (
	// startsPerCPU is how many sandboxes and containers are made at a time: enough
	// for some to wait for the kernel, too few to be in one another's way.
	startsPerCPU = 3
	// storagePeriod is how often limits of local storage are looked after.
	storagePeriod = 10 * time.Second
)

func (c *Config) podConfig(nodeIP netip.Addr, allocatable func() corev1.ResourceList) podworker.Config {
	return podworker.Config{
		NodeName: c.NodeName, HostIPs: []string{nodeIP.String()}, PodsDir: c.dir("pods"), LogsDir: c.dir("logs"),
		ClusterDomain: c.ClusterDomain, DNSServers: c.ClusterDNS, HostResolvConf: c.ResolvConf,
		StaticPodDir: c.StaticPodDir, MaxPods: c.MaxPods, Allocatable: allocatable,
		ParallelStarts: startsPerCPU * goruntime.NumCPU(), StoragePeriod: storagePeriod, LeaveTime: c.LeaveTime, Promise: c.promise(),
	}
}

func (c *Config) volumeConfig(allocatable func() corev1.ResourceList) volume.Config {
	return volume.Config{Dir: c.dir("pods"), MemoryDir: filepath.Join(c.runDir(), "projected"), LocalDir: c.dir("volumes"), Allocatable: allocatable, RecursiveReadOnly: setsMountsRecursively()}
}

// registryDir is where drivers of devices register.
func (c *Config) registryDir() string {
	if c.PluginsDir != "" {
		return filepath.Join(c.PluginsDir, "plugins_registry")
	}
	return c.dir("plugins_registry")
}

// machineLogs is where the machine keeps its logs.
const machineLogs = "/var/log"

func (c *Config) pagesConfig(pods pages.Pods, usage pages.Stats, accounts pages.Accounts, metrics, probes prometheus.Gatherer) pages.Config {
	return pages.Config{
		Started: time.Now(), DataDir: c.nodeDir(), LogDir: machineLogs, Pods: pods, Stats: usage, Metrics: metrics,
		Flags: c.Flags, Probes: probes, Accounts: accounts, Machine: stats.ReadMachine,
		Settings: pages.Settings{
			Address: c.NodeIP, Port: c.Port, StaticPodPath: c.StaticPodDir, PodLogsDir: c.dir("logs"),
			ClusterDomain: c.ClusterDomain, ClusterDNS: c.ClusterDNS, ResolverConfig: c.ResolvConf, MaxPods: c.MaxPods,
			CgroupRoot: "/" + c.cgroup(), CgroupDriver: "cgroupfs",
			ContainerLogMaxSize:  resource.NewQuantity(c.LogMaxBytes, resource.BinarySI).String(),
			ContainerLogMaxFiles: c.LogMaxFiles, ImageGCHighThresholdPercent: c.ImageGCHighPercent, ImageGCLowThresholdPercent: c.ImageGCLowPercent,
		},
	}
}

// requireProgram says in one line that a program is missing.
func requireProgram(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("a program that the agent needs is missing: %w", err)
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/internal/atomicfile"
	"navarch.dev/navarch/internal/audit"
)

// Options say what cluster to run.
type Options struct {
	DataDir string
	// Nodes is how many; 0 is as many as the data folder holds, or one.
	Nodes int
	// Kubeconfig is where to write it; empty is in the data folder.
	Kubeconfig string
	// GatewayListen is host:port; empty is 127.0.0.1 and the port used before.
	GatewayListen string
	// SplitServices runs every service of the control plane as a process of
	// its own.
	SplitServices bool
	// RegistryMirrors are HOST=URL: where images of a registry come from. The
	// URL's host can be host.navarch.internal, which is this machine.
	RegistryMirrors []string
	// SchedulerConfig is a file of a KubeSchedulerConfiguration; empty is none.
	SchedulerConfig string
	// Audit says what is recorded of requests.
	Audit audit.Config
	// FastFailover replaces the pods of a failed node within seconds.
	FastFailover bool
	// BinDir holds runc, navarch-shim and, in cni/, the CNI plugins.
	BinDir string
	// LogLevel of all processes.
	LogLevel string
}

// defaultGatewayListen is where kubectl finds the cluster.
const defaultGatewayListen = "127.0.0.1:6443"

// Cluster is a cluster on this machine that is about to run.
type Cluster struct {
	layout  Layout
	state   *State
	options Options
	nodes   []node
	log     *slog.Logger
	release func()
	// renewal is when the first certificate nears its end.
	renewal time.Time
	// isNew says that the data folder held no cluster before.
	isNew bool
}

// Prepare checks that a cluster can run here and makes its certificates and
// networks. Close the Cluster when done. Where a new cluster cannot run, nothing
// of it stays on the host.
func Prepare(ctx context.Context, log *slog.Logger, options Options) (c *Cluster, err error) {
	if err := RequireRoot(); err != nil {
		return nil, err
	}
	if err := checkMachine(options.Nodes, options.BinDir); err != nil {
		return nil, err
	}
	for _, mirror := range options.RegistryMirrors {
		if _, err := image.ParseMirror(mirror); err != nil {
			return nil, fmt.Errorf("flag --registry-mirror: %w", err)
		}
	}
	if options.SchedulerConfig != "" {
		if options.SchedulerConfig, err = filepath.Abs(options.SchedulerConfig); err != nil {
			return nil, fmt.Errorf("flag --scheduler-config: %w", err)
		}
	}
	if options.Audit.Enabled() {
		if err := options.Audit.MakeAbsolute(); err != nil {
			return nil, err
		}
	}
	l, err := NewLayout(options.DataDir)
	if err != nil {
		return nil, err
	}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	release, err := lockFile(l.Lock(), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("a cluster is running on the data folder %s already: stop it with 'navarch down --data-dir %s'", l.Dir, l.Dir)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err := stopStrays(ctx, l); err != nil {
		return nil, err
	}
	c = &Cluster{layout: l, options: options, log: log, release: release}
	if err := c.describe(); err != nil {
		return nil, errors.Join(err, c.forget())
	}
	if err := c.provide(); err != nil {
		return nil, errors.Join(err, c.forget())
	}
	return c, nil
}

// forget takes back what Prepare has done for a cluster that was not there
// before.
func (c *Cluster) forget() error {
	if !c.isNew || c.state == nil {
		return nil
	}
	return errors.Join(c.state.tearDownNetwork(), releaseSlot(c.layout.Dir, c.state.Slot), removeFile(c.layout.path("cluster.json")))
}

// Close lets another supervisor run on the data folder.
func (c *Cluster) Close() {
	_ = os.Remove(c.layout.PidFile("up"))
	c.release()
}

// RequireRoot refuses users who cannot run a cluster.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("root is required: containers, networks and control groups are made by this program")
	}
	return nil
}

// checkMachine refuses what cannot work here.
func checkMachine(nodes int, binDir string) error {
	if nodes < 0 || nodes > maxNodes {
		return fmt.Errorf("flag --nodes: %d must be between 1 and %d", nodes, maxNodes)
	}
	for _, program := range []string{"runc", "navarch-shim", "cni/bridge", "cni/host-local", "cni/loopback", "cni/portmap"} {
		if _, err := os.Stat(filepath.Join(binDir, program)); err != nil {
			return fmt.Errorf("flag --bin-dir: %s is not in %s: run 'make build', or name the folder that holds it", program, binDir)
		}
	}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("look what the kernel can do: %w", err)
	}
	if !slices.Contains(strings.Fields(string(filesystems)), "overlay") {
		return errors.New("the kernel lacks overlayfs, which containers' file systems need: load it with 'modprobe overlay'")
	}
	return nil
}

// describe reads what the cluster is, or decides it at first start.
func (c *Cluster) describe() error {
	state, err := c.layout.readState()
	if errors.Is(err, fs.ErrNotExist) {
		state = &State{ID: c.layout.ID(), Nodes: max(1, c.options.Nodes), Slot: -1}
		c.isNew = true
	} else if err != nil {
		return err
	}
	if c.options.Nodes != 0 && c.options.Nodes != state.Nodes {
		return fmt.Errorf("flag --nodes: the data folder %s holds a cluster of %d node(s), not %d: leave the flag out, or use another --data-dir", c.layout.Dir, state.Nodes, c.options.Nodes)
	}
	if state.Host == "" && state.Nodes == 1 {
		state.Host = hostNodeName()
	}
	if err := c.chooseGateway(state); err != nil {
		return err
	}
	if err := checkPort(net.JoinHostPort(state.GatewayHost, strconv.Itoa(state.GatewayPort))); err != nil {
		return err
	}
	if c.options.Kubeconfig != "" {
		if state.Kubeconfig, err = filepath.Abs(c.options.Kubeconfig); err != nil {
			return fmt.Errorf("flag --kubeconfig: %w", err)
		}
	} else if state.Kubeconfig == "" {
		state.Kubeconfig = c.layout.Kubeconfig()
	}
	address, err := hostAddress()
	if err != nil {
		return err
	}
	c.state = state
	if state.Slot, err = c.claim(state); err != nil {
		return err
	}
	c.nodes = state.nodes(address)
	if err := state.choosePorts(c.options.SplitServices); err != nil {
		return err
	}
	return c.layout.writeState(state)
}

func (c *Cluster) claim(state *State) (int, error) {
	// The description must be there before the claim: a claim without one
	// counts as free.
	if state.Slot < 0 {
		if err := c.layout.writeState(state); err != nil {
			return 0, err
		}
	}
	return claimSlot(c.layout.Dir, state.Slot)
}

func hostNodeName() string {
	name, err := os.Hostname()
	name = strings.ToLower(name)
	if err != nil || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "node-1"
	}
	return name
}

func (c *Cluster) chooseGateway(state *State) error {
	address := c.options.GatewayListen
	if address == "" && state.GatewayPort != 0 {
		return nil
	}
	if address == "" {
		address = defaultGatewayListen
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("flag --gateway-listen: %q must be host:port: %w", address, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return fmt.Errorf("flag --gateway-listen: port %q must be a number between 1 and 65535", port)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("flag --gateway-listen: %q must be an IP address", host)
	}
	state.GatewayHost, state.GatewayPort = host, int(number)
	return nil
}

// gatewayAddress is where the local user reaches the gateway.
func (s *State) gatewayAddress() string {
	host := s.GatewayHost
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(s.GatewayPort))
}

// choosePorts picks free ports for what needs no known one. Nodes that are
// namespaces of their own have the usual ports.
func (s *State) choosePorts(split bool) error {
	wanted := []*int{&s.StorePort}
	if split {
		wanted = append(wanted, &s.SchedulerPort, &s.ControllerPort)
	} else {
		s.SchedulerPort, s.ControllerPort = 0, 0
	}
	if s.Nodes > 1 {
		s.AgentPort, s.ProxyPort = 10250, 10256
	} else {
		wanted = append(wanted, &s.AgentPort, &s.ProxyPort)
	}
	for _, port := range wanted {
		if *port != 0 {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // all at the end, so that all differ
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// provide makes certificates, kubeconfig and networks.
func (c *Cluster) provide() error {
	var err error
	if c.renewal, err = c.state.issueCertificates(c.layout, c.nodes); err != nil {
		return err
	}
	if err := rememberHost(); err != nil {
		return err
	}
	if err := c.state.setUpNetwork(); err != nil {
		return err
	}
	if err := c.checkGatewayPort(); err != nil {
		return err
	}
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	return atomicfile.Write(c.layout.PidFile("up"), pid, 0o644)
}

// checkGatewayPort tells a port in use before anything is started.
func (c *Cluster) checkGatewayPort() error {
	for address := range strings.SplitSeq(c.gatewayAddresses(), ",") {
		if err := checkPort(address); err != nil {
			return err
		}
	}
	return nil
}

func checkPort(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("flag --gateway-listen: %w", err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("flag --gateway-listen: %w", err)
	}
	return nil
}

// Run keeps the cluster's processes running until ctx ends. onReady is called
// once, when every node is Ready. The nodes' processes are stopped first: agents
// have to tell the Store that their pods run on without them.
func (c *Cluster) Run(ctx context.Context, onReady func(Summary)) error {
	group, ctx := errgroup.WithContext(ctx)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	ready := make(chan struct{})
	var nodes sync.WaitGroup
	logs := []string{"up"}
	for _, spec := range c.processes() {
		logs = append(logs, spec.name)
		if spec.node == "" {
			group.Go(func() error { return keepRunning(serving, c.log, c.layout, spec, ready) })
			continue
		}
		nodes.Add(1)
		group.Go(func() error {
			defer nodes.Done()
			return keepRunning(ctx, c.log, c.layout, spec, ready)
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		nodes.Wait()
		stopServing()
		return nil
	})
	group.Go(func() error {
		boundLogs(ctx, c.log, c.layout, logs)
		return nil
	})
	group.Go(func() error {
		c.renewCertificates(ctx, c.renewal)
		return nil
	})
	group.Go(func() error {
		if err := c.waitReady(ctx); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // The context's end is how a cluster stops.
			}
			return err
		}
		close(ready)
		onReady(Summary{Nodes: c.state.Nodes, Kubeconfig: c.state.Kubeconfig})
		return nil
	})
	return group.Wait()
}

// Summary is what a user is told of a cluster that is up.
type Summary struct {
	Nodes      int
	Kubeconfig string
}

// Package agent runs the pods of one node and serves the Node service.
//
// # State on disk
//
//	<data dir>/nodes/<node>/
//	  run/           a tmpfs: what describes processes and mounts, and secrets
//	    runtime/     sandboxes and containers (agent/runtime)
//	    network/     namespaces, addresses and the CNI configuration (agent/network)
//	    projected/   volumes with ConfigMaps, Secrets, fields and tokens (agent/volume)
//	  images/        images, layers and root filesystems (agent/image)
//	  pods/          emptyDir volumes and hosts files, a folder per pod (agent/volume)
//	  devices/       which ResourceClaims are prepared, a file per claim (agent/devices)
//	  plugins_registry/  sockets by which drivers of devices register, unless elsewhere
//	  volumes/       data of local-path volumes, which outlive the pods
//	  files/         small files that containers may write, a folder per pod (agent/runtime)
//	  logs/          the containers' logs, <namespace>_<pod>_<uid>/<container>/<attempt>.log
//
// What a container can write is on the disk, so that it cannot fill the tmpfs.
//
// An Agent may be killed at any time. Pods go on running, and the next Agent
// with the same configuration finds them again. When Run returns, the pods
// run on as well; Purge is what ends them.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/apparmor"
	"navarch.dev/navarch/agent/devices"
	"navarch.dev/navarch/agent/eviction"
	"navarch.dev/navarch/agent/fence"
	"navarch.dev/navarch/agent/guard"
	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/logs"
	"navarch.dev/navarch/agent/metrics"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/node"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/pages"
	"navarch.dev/navarch/agent/podcertificate"
	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/probe"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/server"
	"navarch.dev/navarch/agent/stats"
	"navarch.dev/navarch/agent/sysctls"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/events"
	"navarch.dev/navarch/internal/telemetry"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Agent is the agent of one node.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	client   *client.Client
	nodes    *client.Informer[*corev1.Node]
	services *client.Informer[*corev1.Service]
	recorder *events.Recorder
	images   *image.Store
	runtime  *runtime.Runc
	network  *network.Network
	fence    *fence.Fence
	node     *node.Node
	drivers  *devices.Plugins
	users    *userns.Pool
	pods     *podworker.Manager
	reclaim  *volume.Reclaimer
	server   *server.Server
	https    http.Handler       // nobody gets past it unauthorized
	counts   *metrics.Metrics   // by a kubelet's names
	stop     context.CancelFunc // ends what New began, for a Run that is never called
	peers    chan struct{}      // asks for the routes to be looked at
	up       atomic.Bool        // pods can be run
}

// New returns the agent of a node. It takes hold of the node's state folder,
// so that there is one agent per node.
func New(cfg Config, tel telemetry.Set, store grpc.ClientConnInterface) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := os.MkdirAll(cfg.nodeDir(), 0o711); err != nil {
		return nil, fmt.Errorf("make the node's folder: %w", err)
	}
	if err := mountRun(cfg.runDir()); err != nil {
		return nil, err
	}
	if err := makeWritable(); err != nil {
		tel.Log.Warn("control groups or kernel parameters cannot be changed", "error", err)
	}
	a := &Agent{cfg: cfg, log: tel.Log, client: client.New(store, "navarch-agent"), peers: make(chan struct{}, 1)}
	a.recorder = events.NewRecorder(a.client, "kubelet", cfg.NodeName, tel)
	for _, program := range []string{runcPath(cfg.BinDir), shimPath(cfg.BinDir)} {
		if err := requireProgram(program); err != nil {
			return nil, err
		}
	}
	nodeIP, err := cfg.address()
	if err != nil {
		return nil, err
	}
	if err := a.wireNode(store, nodeIP, tel); err != nil {
		return nil, err
	}
	if err := a.wirePods(nodeIP, tel); err != nil {
		return nil, errors.Join(err, a.images.Close())
	}
	if err := closeFolders(cfg.dir("pods"), cfg.dir("files"), cfg.dir("volumes"), cfg.runDir()); err != nil {
		return nil, errors.Join(err, a.images.Close())
	}
	if err := spreadPods(cfg.imageConfig().MountsDir(), cfg.dir("pods"), cfg.dir("files"), cfg.dir("logs")); err != nil {
		return nil, errors.Join(err, a.images.Close())
	}
	return a, nil
}

// wireNode makes what the agent is about the node itself.
func (a *Agent) wireNode(store grpc.ClientConnInterface, nodeIP netip.Addr, tel telemetry.Set) (err error) {
	if a.nodes, err = client.NewInformer[*corev1.Node](a.client, client.InformerOptions{}); err != nil {
		return err
	}
	if a.services, err = client.NewInformer[*corev1.Service](a.client, client.InformerOptions{}); err != nil {
		return err
	}
	if a.network, err = network.New(a.cfg.networkConfig(nodeIP), tel.Log); err != nil {
		return err
	}
	if a.images, err = image.Open(a.cfg.imageConfig(), tel); err != nil {
		return fmt.Errorf("open the image store: %w", err)
	}
	if a.fence, err = fence.Open(a.cfg.fencePath(), true); err != nil {
		return err
	}
	a.users = a.cfg.users(a.images, tel.Log)
	cfg := a.cfg.nodeConfig(nodeIP, a.users.Problem() == nil)
	cfg.Fencing = a.fencing()
	cfg.OtherStore = client.OtherStore(store)
	a.node, err = node.New(cfg, a.client, tel.Log, a.nodeImages, a.ready)
	return err
}

// fencing joins the node's Lease to its fence and its pods.
func (a *Agent) fencing() node.Fencing {
	return node.Fencing{
		Promise: a.cfg.promise(), Now: fence.Now, Begun: a.fence.Begun, Lift: a.fence.Lift,
		Renew: func(at time.Duration) {
			a.fence.Renew(at)
			a.pods.Renewed()
		},
		Fenced:  func() bool { return a.pods.Fenced() },
		Condemn: func(ctx context.Context, promise time.Duration) error { return a.pods.Condemn(ctx, promise) },
	}
}

// wirePods makes what runs the pods.
func (a *Agent) wirePods(nodeIP netip.Addr, tel telemetry.Set) (err error) {
	rt := a.cfg.runtimeConfig()
	rt.OnEvent = func(e runtime.Event) { a.pods.RuntimeEvent(e) }
	confined := apparmor.OfMachine()
	if confined.DefaultProblem != nil {
		tel.Log.Warn("containers that choose no profile of AppArmor are not confined by one", "error", confined.DefaultProblem)
	}
	rt.AppArmorDefault = confined.Default()
	if a.runtime, err = runtime.New(rt, tel); err != nil {
		return fmt.Errorf("make the runtime: %w", err)
	}
	pods, err := podworker.NewInformer(a.client, a.cfg.NodeName)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	objs := objects.New(ctx, a.client)
	volumesIn := a.cfg.volumeConfig(a.node.Allocatable)
	certs := podcertificate.New(ctx, podcertificate.Config{NodeName: a.cfg.NodeName, Dir: volumesIn.MemoryDir}, a.client, a.recorder, objs.Tell, tel.Log)
	volumes := volume.New(volumesIn, a.client, objs, certs, tel.Log)
	if a.reclaim, err = volume.NewReclaimer(a.cfg.NodeName, a.cfg.dir("volumes"), a.client, a.recorder, tel.Log); err != nil {
		return err
	}
	a.drivers = devices.NewPlugins(a.cfg.registryDir(), a.cfg.NodeName, a.client, func() { a.pods.DriversChanged() },
		func(driver string) { a.pods.DevicesReported(driver) }, tel.Log)
	prepared, err := devices.New(a.cfg.dir("devices"), a.client, a.drivers)
	if err != nil {
		return err
	}
	probes, shown := prometheus.NewRegistry(), prometheus.NewRegistry()
	a.counts = metrics.New(shown)
	counted := a.counts.Runtime(a.runtime)
	podsIn := a.cfg.podConfig(nodeIP, a.node.Allocatable)
	podsIn.AppArmor = confined
	if podsIn.Sysctls, err = sysctls.Parse(a.cfg.UnsafeSysctls); err != nil {
		return err
	}
	a.pods = podworker.New(podsIn, podworker.Deps{
		Client: a.client, Pods: pods, Services: a.services, Runtime: counted, Images: a.images,
		Network: a.network, Volumes: volumes, Devices: prepared, Users: a.users, Objects: objs, Events: a.recorder, Log: tel.Log, Tracer: tel.Tracer(),
		Fence: a.fence, Now: fence.Now, Leased: a.node.Leased(), OnFenced: a.node.RenewLease, Probes: probe.NewMetrics(probes), Metrics: a.counts,
	})
	shown.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), metrics.State{
		NodeName: a.cfg.NodeName, Pods: a.pods, Runtime: a.runtime, CgroupVersion: a.runtime.CgroupVersion(),
		CertificateEnd: a.cfg.CertificateEnd, PodCertificates: certs.States, Volumes: volumes.Counts,
	})
	a.wireServer(counted, prometheus.Gatherers{tel.Metrics, shown}, probes, tel.Log)
	return nil
}

// wireServer makes what answers those who ask about the node.
func (a *Agent) wireServer(rt runtime.Runtime, shown, probes prometheus.Gatherer, log *slog.Logger) {
	usage := stats.New(a.cfg.NodeName, a.runtime, stats.ReadMachine)
	all := pages.New(a.cfg.pagesConfig(a.pods, usage, a.runtime, shown, probes))
	a.server = server.New(a.pods, rt, a.images, usage, logs.Read, all, log)
	a.https = a.counts.HTTP(guard.New(a.cfg.NodeName, a.client, log).Protect(a.server.HTTP()))
}

// Register registers the Node service.
func (a *Agent) Register(r grpc.ServiceRegistrar) { nodev1.RegisterNodeServiceServer(r, a.server) }

// HTTP returns what answers HTTPS requests on the Node service's port, as a kubelet
// does, to those whom the Store lets.
func (a *Agent) HTTP() http.Handler { return a.https }

// Ready is closed once the node is registered and pods can have their network.
func (a *Agent) Ready() <-chan struct{} { return a.network.Ready() }

// Run runs the node's pods until ctx ends; they run on then.
func (a *Agent) Run(ctx context.Context) error {
	defer a.stop()
	defer func() {
		if err := errors.Join(a.runtime.Close(), a.images.Close(), a.fence.Close()); err != nil {
			a.log.WarnContext(ctx, "the agent's state was not closed", "error", err)
		}
	}()
	own, err := a.node.Register(ctx)
	if err != nil {
		return nil // ctx has ended before the Store answered
	}
	a.podCIDRs(ctx, own)
	wake := func() {
		select {
		case a.peers <- struct{}{}:
		default:
		}
	}
	a.nodes.AddHandler(client.Handler[*corev1.Node]{
		OnAdd: func(n *corev1.Node) { a.observe(n); wake() },
		OnUpdate: func(old, n *corev1.Node) {
			a.observe(n)
			// By its own node's heartbeat an agent looks after its routes anyway.
			if n.Name == a.cfg.NodeName || !samePeer(old, n) {
				wake()
			}
		},
		OnDelete: func(n *corev1.Node) {
			if n.Name == a.cfg.NodeName {
				a.node.Deleted()
			}
			wake()
		},
	})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, part := range []func(context.Context) error{
		a.node.Run, a.drivers.Run, a.pods.Run, a.reclaim.Run, a.followNodes, a.collectImages, a.noteReady, a.evict,
		func(ctx context.Context) error { a.recorder.Run(ctx); return nil },
		func(ctx context.Context) error { a.nodes.Run(ctx); return nil },
		func(ctx context.Context) error { a.services.Run(ctx); return nil },
	} {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("agent of node %s: %w", a.cfg.NodeName, err)
	}
	return nil
}

// noteReady makes the node Ready once its network is.
func (a *Agent) noteReady(ctx context.Context) error {
	select {
	case <-a.network.Ready():
		a.up.Store(true)
		a.node.Changed()
	case <-ctx.Done():
	}
	return nil
}

func (a *Agent) ready() (bool, string) {
	if a.up.Load() {
		return true, ""
	}
	return false, "container runtime network not ready: the node has no pod CIDR yet"
}

// observe tells the node what has become of its own object.
func (a *Agent) observe(n *corev1.Node) {
	if n.Name == a.cfg.NodeName {
		a.node.Observe(n)
	}
}

// followNodes keeps the pod network's routes in step with the nodes.
func (a *Agent) followNodes(ctx context.Context) error {
	const retry = 5 * time.Second
	timer := time.NewTimer(retry)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.peers:
		case <-timer.C:
		}
		if own, ok := a.nodes.Get("", a.cfg.NodeName); ok {
			a.podCIDRs(ctx, own)
		}
		select {
		case <-a.nodes.Synced():
		default:
			continue // a part of the nodes would cut the others off
		}
		if err := a.network.SyncRoutes(ctx, peersOf(a.nodes.List(), a.cfg.NodeName)); err != nil {
			a.log.WarnContext(ctx, "not every node's pods can be reached", "error", err)
			timer.Reset(retry)
		}
	}
}

// podCIDRs gives the network the node's pod CIDRs.
func (a *Agent) podCIDRs(ctx context.Context, own *corev1.Node) {
	if err := a.network.SetPodCIDRs(ctx, network.PodCIDRs(own)); err != nil {
		a.log.ErrorContext(ctx, "the pod network is not ready", "error", err)
	}
}

// samePeer says whether a node's pods are reached as before. Most updates of
// Nodes are heartbeats: that each made every agent go over all nodes would be
// much work where there are many.
func samePeer(old, n *corev1.Node) bool {
	was, reached := peerOf(old)
	is, reaches := peerOf(n)
	return reached == reaches && was.Addr == is.Addr && slices.Equal(was.PodCIDRs, is.PodCIDRs) &&
		slices.Equal(network.PodCIDRs(old), network.PodCIDRs(n))
}

// peersOf returns the nodes whose pods can be reached from the one of a name.
func peersOf(nodes []*corev1.Node, own string) []network.Peer {
	var peers []network.Peer
	for _, n := range nodes {
		if peer, ok := peerOf(n); ok && n.Name != own {
			peers = append(peers, peer)
		}
	}
	return peers
}

// peerOf returns where a node's pods are reached, false for one whose pods are
// not.
func peerOf(n *corev1.Node) (network.Peer, bool) {
	if n.Labels[node.LabelHollow] == "true" {
		return network.Peer{}, false
	}
	for _, addr := range n.Status.Addresses {
		ip, err := netip.ParseAddr(addr.Address)
		if addr.Type == corev1.NodeInternalIP && err == nil {
			return network.Peer{Name: n.Name, Addr: ip, PodCIDRs: network.PodCIDRs(n)}, true
		}
	}
	return network.Peer{}, false
}

// collectImages removes unused images when the disk fills up.
func (a *Agent) collectImages(ctx context.Context) error {
	ticker := time.NewTicker(5 * time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		done, err := a.images.CollectGarbage(ctx, image.Policy{HighPercent: a.cfg.ImageGCHighPercent, LowPercent: a.cfg.ImageGCLowPercent})
		if err != nil {
			a.log.WarnContext(ctx, "unused images were not removed", "error", err)
		}
		if len(done.Images) > 0 {
			a.counts.ImagesCollected(len(done.Images))
			a.log.InfoContext(ctx, "removed unused images", "images", len(done.Images), "bytes", done.Bytes)
		}
	}
}

// evict ends pods while the node is short of memory, disk or process IDs.
func (a *Agent) evict(ctx context.Context) error {
	select {
	case <-a.network.Ready():
	case <-ctx.Done():
		return nil
	}
	limits, _ := a.cfg.evictionLimits() // checked by Validate
	e := eviction.Evictor{
		Pods: a.pods, MaxPodGrace: time.Duration(a.cfg.EvictionPodGrace) * time.Second, Log: a.log,
		Shortages: func(before []eviction.Shortage) []eviction.Shortage {
			short := limits.Short(a.cfg.nodeDir(), before)
			if len(short) > 0 {
				a.node.Changed() // so that no new pods come meanwhile
			}
			return short
		},
		Reclaim: func(ctx context.Context) error {
			_, err := a.images.CollectGarbage(ctx, image.Policy{LowPercent: a.cfg.ImageGCLowPercent})
			return err
		},
	}
	return e.Run(ctx)
}

// maxNodeImages bounds the images that the Node lists.
const maxNodeImages = 50

func (a *Agent) nodeImages() []corev1.ContainerImage {
	var out []corev1.ContainerImage
	for _, i := range a.images.List() {
		if len(out) == maxNodeImages {
			break
		}
		names := append(append([]string(nil), i.Digests...), i.Names...)
		out = append(out, corev1.ContainerImage{Names: names, SizeBytes: i.SizeBytes})
	}
	return out
}

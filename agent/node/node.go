// Package node tells the Store about the node that the agent runs on: it
// registers the Node object, renews its Lease, and keeps its status true.
//
// The Lease is renewed every ten seconds, or if the node promises to stop its
// pods when it cannot, as often as that takes. It is all that an idle node
// writes, besides a status every five minutes. A heartbeat stream to the Store
// tells sooner that the agent is gone. What has changed of the status is
// written at once. The not-ready taint is not the agent's: the Store adds it
// to a new Node, and the node lifecycle controller takes it away.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/eviction"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
)

// Config describes the node.
type Config struct {
	Name string
	// Addresses are the node's, the first InternalIP being its main one.
	Addresses []corev1.NodeAddress
	// Labels are added to the usual ones.
	Labels map[string]string
	// VolumesDir is where the node keeps local-path volumes; empty if it does
	// not.
	VolumesDir string
	// Port is where the agent serves the Node service.
	Port int32
	// MaxPods bounds the pods of the node.
	MaxPods int64
	// CapacityShare is the part of the machine that is this node's, of 1.
	CapacityShare float64
	// DiskPath is on the filesystem that pods write to.
	DiskPath string
	// Limits say from when on the node is short of something, Relief how long
	// that must have been over for the node to say so.
	Limits eviction.Limits
	Relief time.Duration
	// RuntimeVersion is "runc://1.4.0" or the like.
	RuntimeVersion string
	// Features and Handlers are what the runtime can do.
	Features *corev1.NodeFeatures
	Handlers []corev1.NodeRuntimeHandler
	// StateDir keeps the node's machine ID where it shares a machine.
	StateDir string
	// SharesMachine says that other nodes run on the same machine.
	SharesMachine bool
	// Machine is what the Node says of its machine; nil is the one that this
	// process runs on.
	Machine *Machine
	// Taints are put on the Node when it is registered.
	Taints []corev1.Taint
	// Fencing is what the Lease means to the node's pods; the zero value is
	// nothing.
	Fencing Fencing
	// OtherStore has the node's connection go to another of several Stores; nil if
	// there is but one.
	OtherStore func()
	// Phase, from 0 to 1, is where in their intervals the node's periodic writes
	// are, so that nodes that one process begins at once do not write at once.
	Phase float64
}

// Machine describes the machine of a node.
type Machine struct {
	Info                  corev1.NodeSystemInfo
	Capacity, Allocatable corev1.ResourceList
}

// LabelHollow is on Nodes that a process only simulates, with the value "true":
// nothing can be reached there.
const LabelHollow = "hollow.navarch.dev/node"

const (
	renewInterval  = 10 * time.Second
	statusInterval = 5 * time.Minute
	// checkInterval is how often the node's own conditions are looked at.
	checkInterval = 10 * time.Second
	retryInterval = time.Second
)

// Node keeps one Node object true.
type Node struct {
	cfg    Config
	client *client.Client
	log    *slog.Logger
	// machine is what of the node does not change.
	machine Machine
	// pressure says what the node is short of.
	pressure func() pressure
	images   func() []corev1.ContainerImage
	// ready says whether pods can be run, and why not.
	ready   func() (bool, string)
	changed chan struct{}
	leased  chan struct{} // closed once the Lease has been renewed
	// stream names the heartbeat stream that the Store follows, "" if none; renewNow
	// asks for the Lease to be renewed at once, as after each change of it.
	stream   atomic.Pointer[string]
	renewNow chan struct{}

	leasedOnce sync.Once
	last       atomic.Pointer[corev1.NodeStatus] // as the Store has it, never changed
	gone       atomic.Bool                       // the Store has said that there is no such Node
}

// New returns the node, with the capacity that the machine has. images lists
// what the node has; ready says whether it can run pods.
func New(cfg Config, c *client.Client, log *slog.Logger, images func() []corev1.ContainerImage, ready func() (bool, string)) (*Node, error) {
	n := &Node{cfg: cfg, client: c, log: log, images: images, ready: ready, changed: make(chan struct{}, 1), leased: make(chan struct{}), renewNow: make(chan struct{}, 1)}
	if cfg.Machine != nil {
		n.machine, n.pressure = *cfg.Machine, func() pressure { return pressure{} }
		return n, nil
	}
	machine, err := readMachine(cfg)
	if err != nil {
		return nil, err
	}
	n.machine, n.pressure = machine, lasting(cfg.Relief, func() pressure { return readPressure(cfg) })
	return n, nil
}

// Allocatable is what the node's pods may share.
func (n *Node) Allocatable() corev1.ResourceList { return n.machine.Allocatable }

// Changed asks for the status to be looked at again, at once.
func (n *Node) Changed() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// Observe is told what the Store has of the Node now. Others write its status
// too: the node lifecycle controller says that a silent node is not Ready, and
// a node that was only cut off takes that back as soon as it can see it.
func (n *Node) Observe(node *corev1.Node) {
	n.last.Store(&node.Status)
	n.Changed()
}

// Deleted is told that the Store has the Node no more: it is registered again
// at once.
func (n *Node) Deleted() {
	n.gone.Store(true)
	n.Changed()
}

// Register puts the Node into the Store, or adopts the one that is there, and
// returns it. It tries until it succeeds or ctx ends.
func (n *Node) Register(ctx context.Context) (*corev1.Node, error) {
	for {
		node, err := n.register(ctx)
		if err == nil {
			return node, nil
		}
		n.log.InfoContext(ctx, "the node is not registered yet", "error", err)
		if err := sleep(ctx, retryInterval); err != nil {
			return nil, err
		}
	}
}

func (n *Node) register(ctx context.Context) (*corev1.Node, error) {
	node := n.object()
	err := n.client.Create(ctx, node)
	if err == nil {
		n.log.InfoContext(ctx, "registered the node")
		return node, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("register the node: %w", err)
	}
	have := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name}}
	err = n.client.RetryOnConflict(ctx, have, func() bool {
		labels, annotations := adopt(&have.Labels, node.Labels), adopt(&have.Annotations, node.Annotations)
		return labels || annotations
	}, n.updateNode)
	if err != nil {
		return nil, fmt.Errorf("adopt the node's object: %w", err)
	}
	return have, nil
}

func (n *Node) updateNode(ctx context.Context, obj kinds.Object) error {
	return n.client.Update(ctx, obj)
}

// adopt puts the agent's labels or annotations on a Node, and says whether that
// changed them.
func adopt(have *map[string]string, want map[string]string) bool {
	changed := false
	for k, v := range want {
		if (*have)[k] == v {
			continue
		}
		if *have == nil {
			*have = make(map[string]string)
		}
		(*have)[k], changed = v, true
	}
	return changed
}

// object is the Node as it is registered.
func (n *Node) object() *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname: n.cfg.Name, corev1.LabelOSStable: n.machine.Info.OperatingSystem,
		corev1.LabelArchStable:  n.machine.Info.Architecture,
		"beta.kubernetes.io/os": n.machine.Info.OperatingSystem, "beta.kubernetes.io/arch": n.machine.Info.Architecture,
	}
	for k, v := range n.cfg.Labels {
		labels[k] = v
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Labels: labels}, Spec: corev1.NodeSpec{Taints: n.cfg.Taints}}
	if n.cfg.VolumesDir != "" {
		node.Annotations = map[string]string{localpath.DirAnnotation: n.cfg.VolumesDir}
	}
	n.fill(&node.Status, time.Now())
	return node
}

// Run renews the Lease and keeps the status true until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { n.newLeaseKeeper().run(ctx) })
	wg.Go(func() { n.keepHeartbeat(ctx) })
	return n.keepStatus(ctx)
}

// Leased is closed once the Lease has been renewed.
func (n *Node) Leased() <-chan struct{} { return n.leased }

// phase returns how long to wait after a first write so that those that follow
// are at the node's phase of the interval.
func (n *Node) phase(interval time.Duration) time.Duration {
	if n.cfg.Phase == 0 {
		return interval
	}
	return time.Duration(n.cfg.Phase * float64(interval))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

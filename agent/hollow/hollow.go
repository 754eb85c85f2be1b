// Package hollow stands for many nodes in one process, so that a control plane
// can be tried at a size for which there are no machines.
//
// A hollow node speaks the agents' protocol, by the agents' own code: agent/node
// registers it, renews its Lease and keeps its status true, and agent/podworker
// runs its pods. Only what is below those is hollow: a runtime whose containers
// are entries of a map, images that are always in their registry, addresses
// without a network behind them, and volumes of which only the objects that
// they are made from are read. How long these take, and how often they fail, is
// drawn from a seed.
//
// Each node has a connection and an identity of its own, and a watch of its own
// on its pods, as the Store's Node authorizer demands. What all nodes read alike
// (Nodes and Services) is followed once for all of them. Of several Stores each
// leaves one that does not renew its Lease, as an agent does.
//
// A process may be killed at any time. The next one finds pods and containers
// where the Store says that they are: that is all the memory there is.
package hollow

import (
	"context"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/interning"
	"navarch.dev/navarch/internal/telemetry"
)

// Conn is a connection to the Store.
type Conn interface {
	grpc.ClientConnInterface
	io.Closer
}

// Dial connects to the Store as the agent of a node. A connection that has a method
// Switch is one to several Stores, which it has the connection leave for another.
type Dial func(nodeName string) (Conn, error)

const (
	// parallelBegins is how many nodes begin at a time.
	parallelBegins = 32
	// clientName is what hollow nodes call themselves, as agents do.
	clientName = "navarch-agent"
)

// Fleet is the hollow nodes of one process.
type Fleet struct {
	cfg      Config
	plan     plan
	chance   chance
	tel      telemetry.Set
	dial     Dial
	counts   *counts
	services *client.Informer[*corev1.Service]
	nodes    map[string]*hollowNode
	parts    interning.Pool
	begins   chan struct{} // has a place for each node that may begin
	doubts   chan struct{} // a node has left its Store

	mu    sync.Mutex // guards what follows
	left  map[int]bool
	ready chan struct{}
}

// New returns the nodes that cfg describes. Nothing happens before Run.
func New(cfg Config, tel telemetry.Set, dial Dial) (*Fleet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p, err := cfg.plan()
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		cfg: cfg, plan: p, chance: chance(cfg.Seed), tel: tel, dial: dial, counts: newCounts(tel.Metrics),
		nodes: make(map[string]*hollowNode, cfg.Nodes), begins: make(chan struct{}, parallelBegins), doubts: make(chan struct{}, 1),
		left: make(map[int]bool, cfg.Nodes), ready: make(chan struct{}),
	}
	for number := range cfg.Nodes {
		n := f.newNode(number)
		f.nodes[n.name], f.left[number] = n, true
	}
	return f, nil
}

// Ready is closed once every node has been registered.
func (f *Fleet) Ready() <-chan struct{} { return f.ready }

// registered notes that a node has been registered.
func (f *Fleet) registered(number int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.left[number] {
		return
	}
	if delete(f.left, number); len(f.left) == 0 {
		close(f.ready)
	}
}

// enter waits until a node may begin, and returns what it calls when it has.
// To call that again does nothing.
func (f *Fleet) enter(ctx context.Context) (leave func(), err error) {
	select {
	case f.begins <- struct{}{}:
		return sync.OnceFunc(func() { <-f.begins }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run is the nodes' life until ctx ends. The Nodes and pods stay in the Store
// then, for a process that takes over, or until the Controller finds that the
// nodes are silent.
func (f *Fleet) Run(ctx context.Context) error {
	// What is read for all is read as the first node, which may.
	conn, err := f.dial(f.cfg.nodeName(f.cfg.FirstNode))
	if err != nil {
		return fmt.Errorf("connect to the Store: %w", err)
	}
	defer func() { _ = conn.Close() }() // the watches have ended
	c := client.New(conn, clientName)
	nodes, err := client.NewInformer[*corev1.Node](c, client.InformerOptions{})
	if err != nil {
		return err
	}
	if f.services, err = client.NewInformer[*corev1.Service](c, client.InformerOptions{}); err != nil {
		return err
	}
	nodes.AddHandler(client.Handler[*corev1.Node]{
		OnAdd: f.observe, OnUpdate: func(_, n *corev1.Node) { f.observe(n) }, OnDelete: f.deleted,
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { nodes.Run(ctx) })
	wg.Go(func() { f.services.Run(ctx) })
	wg.Go(func() { f.keepStore(ctx, conn, c) })
	// Which nodes are to be silent is known before any begins.
	for _, synced := range []<-chan struct{}{nodes.Synced(), f.services.Synced()} {
		select {
		case <-synced:
		case <-ctx.Done():
			return nil
		}
	}
	for _, n := range f.nodes {
		wg.Go(func() { n.run(ctx) })
	}
	return nil
}

func (f *Fleet) observe(object *corev1.Node) {
	if n, ok := f.nodes[object.Name]; ok {
		n.observe(object)
	}
}

func (f *Fleet) deleted(object *corev1.Node) {
	if n, ok := f.nodes[object.Name]; ok {
		n.deleted()
	}
}

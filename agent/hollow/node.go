package hollow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/network"
)

// AnnotationState on a Node makes a hollow node behave otherwise than the flags
// say, from then on: StateSilent or StateNotReady.
const AnnotationState = "hollow.navarch.dev/state"

const (
	// StateSilent makes the node neither renew its Lease, nor report, nor do
	// anything about its pods, as if it had been cut off.
	StateSilent = "silent"
	// StateNotReady makes the node report that it is not ready.
	StateNotReady = "not-ready"
)

// hollowNode is one node.
type hollowNode struct {
	fleet  *Fleet
	number int // from 0
	name   string
	log    *slog.Logger
	wake   chan struct{} // the state has changed

	mu     sync.Mutex // guards what follows
	state  string     // what the Node's annotation says
	cidrs  []netip.Prefix
	agent  *agent             // while it lives
	cutOff context.CancelFunc // ends this life
}

func (f *Fleet) newNode(number int) *hollowNode {
	name := f.cfg.nodeName(f.cfg.FirstNode + number)
	return &hollowNode{fleet: f, number: number, name: name, log: f.tel.Log.With("node", name), wake: make(chan struct{}, 1)}
}

// run is the node's life, with its interruptions, until ctx ends.
func (n *hollowNode) run(ctx context.Context) {
	f := n.fleet
	for failures := 0; ctx.Err() == nil; {
		if n.silent() {
			select {
			case <-n.wake:
			case <-ctx.Done():
			}
			continue
		}
		which := strconv.Itoa(failures)
		if n.live(ctx, which) {
			failures++
			f.counts.failed("node")
			away := f.chance.around(f.cfg.NodeFailFor, f.cfg.LatencySpread, "node-back", n.name, which)
			n.log.InfoContext(ctx, "the node falls silent", "for", away)
			_ = sleep(ctx, away) // its error is ctx's
		}
	}
}

// errFailed ends a life by chance.
var errFailed = errors.New("the node fails")

// live is the node's life until ctx ends, the node is told to be silent, or it
// fails by chance; it says whether that is what happened.
func (n *hollowNode) live(ctx context.Context, which string) (failed bool) {
	f := n.fleet
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	if after, fails := f.chance.within(f.cfg.NodeFailEvery, "node", n.name, which); fails {
		timer := time.AfterFunc(after, func() { end(errFailed) })
		defer timer.Stop()
	}
	n.begin(func() { end(nil) })
	for life.Err() == nil {
		if err := n.act(life); err != nil && life.Err() == nil {
			n.log.WarnContext(ctx, "the node begins anew", "error", err)
			_ = sleep(life, retryInterval) // its error is life's
		}
	}
	return errors.Is(context.Cause(life), errFailed)
}

// retryInterval is how long a node that could not begin waits.
const retryInterval = time.Second

// begin notes how to end a life, and ends it if the node is to be silent.
func (n *hollowNode) begin(end context.CancelFunc) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutOff = end
	if n.state == StateSilent {
		end()
	}
}

// act does what an agent does, until ctx ends.
func (n *hollowNode) act(ctx context.Context) error {
	f := n.fleet
	leave, err := f.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	conn, err := f.dial(n.name)
	if err != nil {
		return fmt.Errorf("connect to the Store: %w", err)
	}
	defer func() { _ = conn.Close() }() // nobody waits for what was under way
	a, err := n.newAgent(ctx, conn)
	if err != nil {
		return err
	}
	defer a.runtime.Close()
	own, err := a.node.Register(ctx)
	if err != nil {
		return err
	}
	leave()
	n.observe(own)
	n.setAgent(a)
	defer n.setAgent(nil)
	f.counts.nodes.Inc()
	defer f.counts.nodes.Dec()
	f.registered(n.number)
	return a.run(ctx)
}

func (n *hollowNode) setAgent(a *agent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.agent = a
}

// observe is told what the Store has of the Node now.
func (n *hollowNode) observe(object *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cidrs = network.PodCIDRs(object)
	if n.agent != nil {
		n.agent.node.Observe(object)
	}
	state := object.Annotations[AnnotationState]
	if state == n.state {
		return
	}
	n.log.Info("the node is told how to be", "was", n.state, "is", state)
	n.state = state
	if state == StateSilent && n.cutOff != nil {
		n.cutOff()
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// deleted is told that the Store has the Node no more. One that is silent
// stays so, as a machine does that is gone for good.
func (n *hollowNode) deleted() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.agent != nil {
		n.agent.node.Deleted()
	}
}

func (n *hollowNode) silent() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state == StateSilent
}

// ready says what the Node says of itself.
func (n *hollowNode) ready() (bool, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.state == StateNotReady:
		return false, "the hollow node was told to be not ready (annotation " + AnnotationState + ")"
	case n.number >= n.fleet.cfg.Nodes-n.fleet.cfg.NotReady:
		return false, "the hollow node was told to be not ready (--not-ready)"
	}
	return true, ""
}

// podCIDRs are where the pods' addresses are from: what the Controller has
// given the node, or the node's part of the range that is configured.
func (n *hollowNode) podCIDRs() []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cidrs) > 0 {
		return n.cidrs
	}
	p := n.fleet.plan
	return []netip.Prefix{nth(p.pods, p.podBits, uint64(n.fleet.cfg.FirstNode+n.number))}
}

// address is the node's: that of the Node service, where all nodes serve one.
func (n *hollowNode) address() netip.Addr {
	if n.fleet.cfg.Service.IsValid() {
		return n.fleet.cfg.Service.Addr()
	}
	p := n.fleet.plan
	return nth(p.nodes, p.nodes.Addr().BitLen(), uint64(n.fleet.cfg.FirstNode+n.number)+1).Addr()
}

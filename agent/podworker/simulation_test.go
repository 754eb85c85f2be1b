package podworker

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/agent/node"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

const (
	simNodes    = 4
	simReplicas = 3
	// simKill is how long the killing of a container may take.
	simKill = 1500 * time.Millisecond
)

// simulation is a cluster in a synctest bubble: real controllers, agents' parts
// and Stores on one backend; simulated machines, networks and containers. It
// watches that no pod of a StatefulSet runs twice.
type simulation struct {
	t      *testing.T
	start  time.Time
	admin  *client.Client
	agents *storetest.Store
	nodes  []*simNode
	late   sync.WaitGroup // messages whose senders have given up
	guards sync.WaitGroup
	over   chan struct{} // ends the guards
	calm   atomic.Bool   // messages are on time

	mu      sync.Mutex
	random  *rand.Rand
	running map[string]simContainer // by the container's ID
	pods    map[string]bool         // UIDs that have run
}

type simContainer struct{ pod, uid, node string }

func (s *simulation) now() time.Duration { return time.Since(s.start) }

// upTo returns a random time.
func (s *simulation) upTo(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.random.Int64N(int64(d)))
}

func (s *simulation) chance(oneIn int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(oneIn) == 0
}

// began notes that a container runs.
func (s *simulation) began(id string, c simContainer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.running {
		if other.pod == c.pod && other.uid != c.uid {
			s.t.Errorf("at %v pod %s (%s) begins on %s while %s runs on %s", s.now(), c.pod, c.uid, c.node, other.uid, other.node)
		}
	}
	s.running[id] = c
	s.pods[c.uid] = true
}

func (s *simulation) ended(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, id)
}

// simNode is a machine, with what outlives its agent.
type simNode struct {
	sim     *simulation
	name    string
	dir     string
	renewed atomic.Int64 // the fence's word
	runtime *simRuntime
	network *fakeNetwork
	cut     *simLink
	stop    func() // kills the agent; nil if there is none
}

// Left implements Fence as *fence.Fence does.
func (n *simNode) Left(now, after time.Duration) (time.Duration, bool) {
	switch word := n.renewed.Load(); word {
	case math.MinInt64:
		return 0, false
	case 0:
		return -1, true
	default:
		return time.Duration(word) + after - now, true
	}
}

func (n *simNode) renew(at time.Duration) {
	n.renewed.Store(max(n.renewed.Load(), int64(at)))
}

// simRuntime is a runtime whose sandboxes are guarded as shims do it.
type simRuntime struct {
	*fakeRuntime
	node    *simNode
	changed map[string]chan struct{} // by sandbox; guarded by fakeRuntime.mu
}

func (r *simRuntime) closed(uid string) bool {
	r.mu.Lock()
	fence := r.fences[uid]
	r.mu.Unlock()
	if fence == nil {
		return false
	}
	left, bounded := r.node.Left(r.node.sim.now(), fence.After)
	return bounded && left <= fence.Grace
}

// guard is a shim's guard: it ends containers, if late, when the fence closes.
func (r *simRuntime) guard(uid string, changed <-chan struct{}) {
	for {
		r.mu.Lock()
		fence := r.fences[uid]
		r.mu.Unlock()
		wait := time.Hour
		if fence != nil {
			if left, bounded := r.node.Left(r.node.sim.now(), fence.After); bounded && left > 0 {
				wait = left
			} else if bounded {
				time.Sleep(r.node.sim.upTo(simKill))
				r.endAll(uid)
				wait = 100 * time.Millisecond
			}
		}
		select {
		case <-changed:
		case <-r.node.sim.over:
			return
		case <-time.After(wait):
		}
	}
}

// endAll ends a pod's containers.
func (r *simRuntime) endAll(uid string) {
	all, _ := r.ListContainers(context.Background(), uid)
	for _, c := range all {
		r.node.sim.ended(c.Spec.ID)
		r.end(c.Spec.ID, 137)
	}
}

func (r *simRuntime) look(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.changed[uid] <- struct{}{}:
	default:
	}
}

func (r *simRuntime) CreateSandbox(ctx context.Context, spec runtime.SandboxSpec) error {
	time.Sleep(r.node.sim.upTo(200 * time.Millisecond))
	r.mu.Lock()
	if _, ok := r.sandboxes[spec.UID]; ok {
		r.mu.Unlock()
		return runtime.ErrExists
	}
	changed := make(chan struct{}, 1)
	r.changed[spec.UID] = changed
	r.mu.Unlock()
	if err := r.fakeRuntime.CreateSandbox(ctx, spec); err != nil {
		return err
	}
	r.node.sim.guards.Go(func() { r.guard(spec.UID, changed) })
	return nil
}

func (r *simRuntime) FenceSandbox(ctx context.Context, uid string, fence *runtime.Fence) error {
	time.Sleep(r.node.sim.upTo(100 * time.Millisecond))
	err := r.fakeRuntime.FenceSandbox(ctx, uid, fence)
	r.look(uid)
	return err
}

func (r *simRuntime) StopSandbox(ctx context.Context, uid string) error {
	r.endAll(uid)
	return r.fakeRuntime.StopSandbox(ctx, uid)
}

func (r *simRuntime) RemoveSandbox(ctx context.Context, uid string) error {
	r.endAll(uid)
	return r.fakeRuntime.RemoveSandbox(ctx, uid)
}

func (r *simRuntime) RemoveContainer(ctx context.Context, id string) error {
	r.node.sim.ended(id)
	r.end(id, 137)
	return r.fakeRuntime.RemoveContainer(ctx, id)
}

func (r *simRuntime) SignalContainer(ctx context.Context, id string, sig runtime.Signal) error {
	time.Sleep(r.node.sim.upTo(100 * time.Millisecond))
	r.node.sim.ended(id)
	return r.fakeRuntime.SignalContainer(ctx, id, sig)
}

func (r *simRuntime) CreateContainer(ctx context.Context, uid string, spec runtime.ContainerSpec) error {
	time.Sleep(r.node.sim.upTo(300 * time.Millisecond))
	if r.closed(uid) {
		return runtime.ErrFenced
	}
	return r.fakeRuntime.CreateContainer(ctx, uid, spec)
}

func (r *simRuntime) StartContainer(ctx context.Context, id string) error {
	status, err := r.ContainerStatus(ctx, id)
	if err != nil || ctx.Err() != nil {
		return runtime.ErrNotFound
	}
	if r.closed(status.PodUID) {
		return runtime.ErrFenced
	}
	sandbox, err := r.SandboxStatus(ctx, status.PodUID)
	if err != nil || !sandbox.Ready {
		return runtime.ErrNotFound
	}
	r.node.sim.began(id, simContainer{pod: sandbox.Spec.Name, uid: status.PodUID, node: r.node.name})
	err = r.fakeRuntime.StartContainer(ctx, id)
	r.look(status.PodUID)
	return err
}

// simLink is a node's network.
type simLink struct {
	mu   sync.Mutex
	down chan struct{} // closed when it is up again; nil while it is
	// breaks are the streams that a cut breaks.
	breaks map[int]context.CancelFunc
	next   int
}

func (l *simLink) set(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case up && l.down != nil:
		close(l.down)
		l.down = nil
	case !up && l.down == nil:
		l.down = make(chan struct{})
		for _, cancel := range l.breaks {
			cancel()
		}
		clear(l.breaks)
	}
}

// pass returns when a message has come through, which takes as long as delay says
// at each try; it is lost if ctx ends before.
func (l *simLink) pass(ctx context.Context, delay func() time.Duration) error {
	for {
		select {
		case <-time.After(delay()):
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
		down := l.down
		l.mu.Unlock()
		if down == nil {
			return nil
		}
		select {
		case <-down:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// simConn is one agent's connection, over its node's network. dead ends with the
// agent: it loses what it has not been answered.
type simConn struct {
	grpc.ClientConnInterface
	sim  *simulation
	link *simLink
	dead context.Context //nolint:containedctx // the agent's life
}

// delay is mostly short.
func (c *simConn) delay() time.Duration {
	if c.sim.calm.Load() {
		return time.Millisecond
	}
	if c.sim.chance(20) {
		return c.sim.upTo(4 * time.Second)
	}
	return c.sim.upTo(50 * time.Millisecond)
}

func (c *simConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.dead, cancel)()
	if err := c.link.pass(ctx, c.delay); err != nil {
		if !c.sim.chance(3) {
			return err
		}
		// What was under way arrives although nobody waits for it any more.
		c.sim.late.Go(func() {
			late, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if c.link.pass(late, func() time.Duration { return c.sim.upTo(10 * time.Second) }) == nil {
				_ = c.ClientConnInterface.Invoke(late, method, args, reflect.New(reflect.TypeOf(reply).Elem()).Interface(), opts...)
			}
		})
		return err
	}
	if err := c.ClientConnInterface.Invoke(context.WithoutCancel(ctx), method, args, reply, opts...); err != nil {
		return err
	}
	return c.link.pass(ctx, c.delay)
}

func (c *simConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(c.dead, cancel)
	connect := func() time.Duration { return c.delay() + c.sim.upTo(2*time.Second) }
	if err := c.link.pass(ctx, connect); err != nil {
		cancel()
		return nil, err
	}
	c.link.mu.Lock()
	id := c.link.next
	c.link.next++
	c.link.breaks[id] = cancel
	c.link.mu.Unlock()
	context.AfterFunc(ctx, func() {
		c.link.mu.Lock()
		defer c.link.mu.Unlock()
		delete(c.link.breaks, id)
	})
	return c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

func (s *simulation) addNode(name string) *simNode {
	n := &simNode{
		sim: s, name: name, dir: filepath.Join(s.t.TempDir(), name), network: newFakeNetwork(),
		cut: &simLink{breaks: make(map[int]context.CancelFunc)},
	}
	n.runtime = &simRuntime{fakeRuntime: newFakeRuntime(), node: n, changed: make(map[string]chan struct{})}
	n.runtime.onEvent = func(runtime.Event) {}
	return n
}

// startAgent starts an agent on the node, which finds what an earlier one left.
func (n *simNode) startAgent() {
	t := n.sim.t
	ctx, cancel := context.WithCancel(context.Background())
	dead, kill := context.WithCancel(context.Background())
	c := client.New(&simConn{ClientConnInterface: n.sim.agents.Conn(identity.Node(n.name)), sim: n.sim, link: n.cut, dead: dead}, "agent")
	tel := telemetry.Discard("agent")
	var m *Manager
	machine := &node.Machine{Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}}
	machine.Allocatable = machine.Capacity
	about, err := node.New(node.Config{
		Name: n.name, Machine: machine,
		Fencing: node.Fencing{
			Promise: testPromise, Now: n.sim.now, Begun: func() bool { return n.renewed.Load() > 0 },
			Renew: func(at time.Duration) { n.renew(at); m.Renewed() }, Lift: func() { n.renewed.Store(math.MinInt64) },
			Fenced:  func() bool { return m.Fenced() },
			Condemn: func(ctx context.Context, promise time.Duration) error { return m.Condemn(ctx, promise) },
		},
	}, c, tel.Log, func() []corev1.ContainerImage { return nil }, func() (bool, string) { return true, "" })
	if err != nil {
		t.Fatal(err)
	}
	m = n.newManager(ctx, c, about)
	nodes, err := client.NewInformer[*corev1.Node](c, client.InformerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	observe := func(o *corev1.Node) {
		if o.Name == n.name {
			about.Observe(o)
		}
	}
	nodes.AddHandler(client.Handler[*corev1.Node]{OnAdd: observe, OnUpdate: func(_, o *corev1.Node) { observe(o) }})
	n.runtime.mu.Lock()
	n.runtime.onEvent = m.RuntimeEvent
	n.runtime.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := about.Register(ctx); err != nil {
			return
		}
		for _, run := range []func(context.Context) error{about.Run, m.Run, func(ctx context.Context) error { nodes.Run(ctx); return nil }} {
			wg.Go(func() { _ = run(ctx) })
		}
	})
	n.stop = func() {
		kill() // before it can take leave
		n.runtime.mu.Lock()
		n.runtime.onEvent = func(runtime.Event) {}
		n.runtime.mu.Unlock()
		cancel()
		wg.Wait()
		n.stop = nil
	}
}

func (n *simNode) newManager(ctx context.Context, c *client.Client, about *node.Node) *Manager {
	t := n.sim.t
	pods, err := NewInformer(c, n.name)
	if err != nil {
		t.Fatal(err)
	}
	services, err := client.NewInformer[*corev1.Service](c, client.InformerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tel := telemetry.Discard("agent")
	objs := objects.New(ctx, c)
	return New(Config{
		NodeName: n.name, HostIPs: []string{"192.0.2.1"}, PodsDir: filepath.Join(n.dir, "pods"), LogsDir: filepath.Join(n.dir, "logs"),
		ClusterDomain: "cluster.local", HostResolvConf: filepath.Join(n.dir, "resolv.conf"), MaxPods: 110, ParallelStarts: 4, Promise: testPromise,
	}, Deps{
		Client: c, Pods: pods, Services: services, Runtime: n.runtime, Images: fakeImages{}, Network: n.network,
		Volumes: volume.New(volume.Config{Dir: filepath.Join(n.dir, "pods")}, c, objs, nil, tel.Log),
		Objects: objs, Events: &fakeEvents{reasons: make(map[string]int), messages: make(map[string]string)}, Log: tel.Log, Tracer: tel.Tracer(),
		Fence: n, Now: n.sim.now, Leased: about.Leased(), OnFenced: about.RenewLease,
	})
}

// crash ends all that runs on the machine, its memory included.
func (n *simNode) crash() {
	if n.stop != nil {
		n.stop()
	}
	all, _ := n.runtime.ListContainers(context.Background(), "")
	for _, c := range all {
		n.sim.ended(c.Spec.ID)
	}
	n.runtime.boot()
	n.renewed.Store(0)
}

package simulation_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/controller"
	"navarch.dev/navarch/services/scheduler"
	"navarch.dev/navarch/services/store/storetest"
)

// cluster is a control plane, its nodes, and the ledger of all that is written.
type cluster struct {
	*client.Client // an administrator's, who sees everything at once

	t        *testing.T
	rng      *rand.Rand
	store    *storetest.Store
	services []*service
	nodes    *nodes
	ledger   *ledger
}

// newCluster starts a cluster. Call it in a synctest bubble.
func newCluster(t *testing.T, seed uint64) *cluster {
	t.Helper()
	store := storetest.New(t, storetest.WithServiceAccounts())
	c := &cluster{
		t: t, store: store, rng: rand.New(rand.NewPCG(seed, 0)),
		Client: client.New(store.Conn(storetest.Admin()), "user"),
	}
	c.ledger = newLedger(t, c.Client)
	c.services = []*service{
		c.newService(identity.Controller, seed^1<<60, func(conn grpc.ClientConnInterface) (runnable, error) {
			return controller.New(controller.DefaultConfig(), telemetry.Discard("controller"), conn, agents{func() *nodes { return c.nodes }, seed ^ 5<<60})
		}),
		c.newService(identity.Scheduler, seed^2<<60, func(conn grpc.ClientConnInterface) (runnable, error) {
			cfg := scheduler.DefaultConfig()
			cfg.LeaderElect = false
			return scheduler.New(cfg, telemetry.Discard("scheduler"), conn)
		}),
	}
	c.nodes = newNodes(t, client.New(late(store.Conn(storetest.Admin()), seed^3<<60), "kubelet"), seed^4<<60)
	for _, s := range c.services {
		s.start()
	}
	return c
}

// runnable is a service.
type runnable interface{ Run(context.Context) error }

// service is a service that can be killed and started again.
type service struct {
	t    *testing.T
	make func() (runnable, error)
	stop func()
}

func (c *cluster) newService(name string, seed uint64, create func(grpc.ClientConnInterface) (runnable, error)) *service {
	conn := late(c.store.Conn(identity.Service(name)), seed)
	s := &service{t: c.t, make: func() (runnable, error) { return create(conn) }}
	c.t.Cleanup(func() { s.stop() })
	return s
}

func (s *service) start() {
	s.t.Helper()
	made, err := s.make()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := made.Run(ctx); err != nil {
			s.t.Errorf("a service ended: %v", err)
		}
	})
	s.stop = func() { cancel(); wg.Wait() }
}

func (s *service) restart() {
	s.stop()
	s.start()
}

// mostLate is the longest that a call or a message of a watch takes.
const mostLate = 100 * time.Millisecond

// late makes what is said on a connection take a while, each call and each
// message a time of its own.
func late(conn grpc.ClientConnInterface, seed uint64) grpc.ClientConnInterface {
	return &lateConn{ClientConnInterface: conn, rng: rand.New(rand.NewPCG(seed, 0))}
}

type lateConn struct {
	grpc.ClientConnInterface
	mu  sync.Mutex
	rng *rand.Rand
}

// pause lasts mostly a few milliseconds, sometimes much longer.
func (c *lateConn) pause(ctx context.Context) {
	c.mu.Lock()
	longest := mostLate / 20
	if c.rng.IntN(10) == 0 {
		longest = mostLate
	}
	d := time.Duration(c.rng.Int64N(int64(longest)))
	c.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (c *lateConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.pause(ctx)
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

func (c *lateConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return lateStream{stream, c}, nil
}

type lateStream struct {
	grpc.ClientStream
	conn *lateConn
}

func (s lateStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.conn.pause(s.Context())
	}
	return err
}

package hollow

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

// site is a Store of several, which may come to hang: no call is answered, and on
// its streams nothing comes any more, nor do they break.
type site struct {
	store *storetest.Store
	hangs chan struct{} // closed when it does
}

func (s *site) hung() bool {
	select {
	case <-s.hangs:
		return true
	default:
		return false
	}
}

// storesConn is a connection to the first of several Stores, until it is told to
// go to the next.
type storesConn struct {
	node  string
	sites []*site

	mu      sync.Mutex // guards what follows
	at      int
	streams []context.CancelFunc
}

func (c *storesConn) Close() error { return nil }

func (c *storesConn) Switch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = (c.at + 1) % len(c.sites)
	for _, end := range c.streams {
		end()
	}
	c.streams = nil
}

func (c *storesConn) present() *site {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sites[c.at]
}

func (c *storesConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	s := c.present()
	if s.hung() {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	return s.store.Conn(identity.Node(c.node)).Invoke(ctx, method, args, reply, opts...)
}

func (c *storesConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s := c.present()
	ctx, end := context.WithCancel(ctx)
	stream, err := s.store.Conn(identity.Node(c.node)).NewStream(ctx, desc, method, opts...)
	if err != nil {
		end()
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = append(c.streams, end)
	return &mutedStream{ClientStream: stream, site: s, ended: ctx.Done()}, nil
}

// mutedStream is a stream of which nothing is heard while its Store hangs.
type mutedStream struct {
	grpc.ClientStream
	site  *site
	ended <-chan struct{}
}

func (s *mutedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if s.site.hung() {
		<-s.ended
		return status.Error(codes.Canceled, "the connection went to another Store")
	}
	return err
}

// TestStoreThatHangs has the Store that all nodes talk to hang. They go on with
// another, and so do the watches that are kept once for all of them.
func TestStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := exact()
		cfg.Nodes = 3
		access := storetest.WithControl(auth.New(auth.DefaultConfig()))
		first := storetest.New(t, access, storetest.WithSeed(auth.Bootstrap()...))
		second := storetest.New(t, access, storetest.WithBackend(first.Backend))
		sites := []*site{{first, make(chan struct{})}, {second, make(chan struct{})}}
		fleet, err := New(cfg, telemetry.Discard("hollow"), func(node string) (Conn, error) {
			return &storesConn{node: node, sites: sites}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- fleet.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("the nodes ended: %v", err)
			}
		}()
		<-fleet.Ready()
		w := &world{t: t, store: second, client: second.Client(storetest.Admin()), cfg: cfg}
		w.pod("hollow-1", "before", nil)
		w.untilPod("before", "ready", isReady)

		close(sites[0].hangs)
		for range 60 {
			time.Sleep(time.Second)
			for i := range cfg.Nodes {
				name := fmt.Sprintf("hollow-%d", i)
				if age := time.Since(w.renewed(name)); age > 40*time.Second {
					t.Fatalf("the Lease of %s is %v old, so that it is over", name, age)
				}
			}
		}
		w.pod("hollow-1", "after", nil)
		w.untilPod("after", "ready", isReady)
		w.annotate("hollow-2", StateSilent)
		synctest.Wait()
		since := w.renewed("hollow-2")
		time.Sleep(time.Minute)
		if !w.renewed("hollow-2").Equal(since) {
			t.Error("what is told to a node, which is watched once for all, was not heard")
		}
		until(w, "", "hollow-1", "ready", &corev1.Node{}, func(n *corev1.Node) bool { return readyNode(n) == corev1.ConditionTrue })
	})
}

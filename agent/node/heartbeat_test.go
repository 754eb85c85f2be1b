package node

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/heartbeat"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

// fragileConn is a connection whose streams a test can break.
type fragileConn struct {
	grpc.ClientConnInterface
	mu      sync.Mutex
	streams []context.CancelFunc
}

func (c *fragileConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	c.streams = append(c.streams, cancel)
	c.mu.Unlock()
	return c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

func (c *fragileConn) breakStreams() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.streams {
		cancel()
	}
	c.streams = nil
}

func TestHeartbeatStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.New(t)
		conn := &fragileConn{ClientConnInterface: s.Conn(identity.Node("n1"))}
		l := &leased{t: t, admin: s.Client(storetest.Admin()), start: time.Now()}
		n := &Node{
			cfg: Config{Name: "n1"}, client: client.New(conn, "agent"), log: telemetry.Discard("agent").Log,
			leased: make(chan struct{}), renewNow: make(chan struct{}, 1),
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { n.newLeaseKeeper().run(ctx) })
		wg.Go(func() { n.keepHeartbeat(ctx) })
		stream := func() string {
			synctest.Wait()
			lease := l.lease()
			if heartbeat.Broken(lease) {
				t.Error("the Lease says that the stream is broken")
			}
			return lease.Annotations[heartbeat.StreamAnnotation]
		}
		synctest.Wait()
		time.Sleep(time.Second)
		first := stream()
		if first == "" {
			t.Fatal("the Lease names no stream")
		}
		time.Sleep(10 * time.Minute)
		if now := stream(); now != first {
			t.Errorf("the stream was %q, is %q although nothing broke it", first, now)
		}
		conn.breakStreams()
		time.Sleep(3 * time.Second)
		second := stream()
		if second == "" || second == first {
			t.Errorf("after it broke the Lease names %q, as before it %q", second, first)
		}
		if age := time.Since(l.lease().Spec.RenewTime.Time); age > 3*time.Second {
			t.Errorf("the Lease was renewed %v ago, not when the stream broke", age)
		}
		cancel()
		wg.Wait()
		stream()
	})
}

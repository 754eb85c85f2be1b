package controllertest

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/util/wait"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// gates hold back what the controllers are told of some resources.
type gates struct {
	mu   sync.Mutex
	shut map[string]chan struct{} // by resource; closed when it opens
}

func newGates() *gates { return &gates{shut: make(map[string]chan struct{})} }

func (g *gates) over(conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return gatedConn{conn, g}
}

// pass returns once the resource's gate is open, or ctx has ended.
func (g *gates) pass(ctx context.Context, resource string) {
	g.mu.Lock()
	opened := g.shut[resource]
	g.mu.Unlock()
	if opened == nil {
		return
	}
	select {
	case <-opened:
	case <-ctx.Done():
	}
}

// HoldBack lets the controllers' informers see no change of a resource from
// now on, as if its watch were slow, until release is called.
func (c *Cluster) HoldBack(resource string) (release func()) {
	opened := make(chan struct{})
	c.gates.mu.Lock()
	defer c.gates.mu.Unlock()
	c.gates.shut[resource] = opened
	return sync.OnceFunc(func() {
		c.gates.mu.Lock()
		defer c.gates.mu.Unlock()
		delete(c.gates.shut, resource)
		close(opened)
	})
}

// AwaitSeen waits until an informer of the controllers has seen a written
// object.
func AwaitSeen[T kinds.Object](c *Cluster, informer *client.Informer[T], obj T) {
	c.t.Helper()
	err := wait.PollUntilContextTimeout(c.ctx, time.Millisecond, patience, true, func(context.Context) (bool, error) {
		return informer.HasReached(obj.GetResourceVersion()), nil
	})
	if err != nil {
		c.t.Fatalf("waited in vain for the informer to see %s: %v", obj.GetName(), err)
	}
}

type gatedConn struct {
	grpc.ClientConnInterface
	gates *gates
}

func (c gatedConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &gatedStream{ClientStream: stream, gates: c.gates}, nil
}

// gatedStream is a watch, if what is sent on it says so.
type gatedStream struct {
	grpc.ClientStream
	gates    *gates
	resource string
}

func (s *gatedStream) SendMsg(m any) error {
	if watch, ok := m.(*storev1.WatchRequest); ok {
		s.resource = watch.GetResource().GetResource()
	}
	return s.ClientStream.SendMsg(m)
}

// RecvMsg holds a message back that came while the gate was shut, or comes
// then.
func (s *gatedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.gates.pass(s.Context(), s.resource)
	return err
}

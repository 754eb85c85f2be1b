package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	coordinationv1 "k8s.io/api/coordination/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/fencing"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

const promise = 5 * time.Second

// leased is a node that renews its Lease in a synctest bubble, and what it does
// about its pods.
type leased struct {
	t     *testing.T
	admin *client.Client
	node  *Node
	conn  *lossyConn
	start time.Time
	stop  func()

	mu        sync.Mutex
	renewed   time.Duration // 0 is never
	lifted    bool
	unfenced  bool
	condemned []time.Duration
	refuse    error // what Condemn answers
}

// lossyConn lets a test delay and lose calls of the node.
type lossyConn struct {
	grpc.ClientConnInterface
	mu     sync.Mutex
	before func(ctx context.Context) error // nil lets all through at once
	after  func() error
}

func (c *lossyConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.mu.Lock()
	before, after := c.before, c.after
	c.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return err
		}
	}
	if err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...); err != nil || after == nil {
		return err
	}
	return after()
}

func (c *lossyConn) disturb(before func(ctx context.Context) error, after func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before, c.after = before, after
}

func newLeased(t *testing.T, promise time.Duration) *leased {
	s := storetest.New(t)
	l := &leased{t: t, admin: s.Client(storetest.Admin()), conn: &lossyConn{ClientConnInterface: s.Conn(identity.Node("n1"))}, start: time.Now()}
	n := &Node{
		client: client.New(l.conn, "agent"), log: telemetry.Discard("agent").Log, leased: make(chan struct{}), renewNow: make(chan struct{}, 1),
		cfg: Config{Name: "n1", Fencing: Fencing{
			Promise: promise, Now: l.now, Begun: func() bool { return false }, Renew: l.renew,
			Lift:   func() { l.set(func() { l.lifted = true }) },
			Fenced: func() (fenced bool) { l.set(func() { fenced = !l.unfenced }); return fenced },
			Condemn: func(_ context.Context, promise time.Duration) (err error) {
				l.set(func() { l.condemned, err = append(l.condemned, promise), l.refuse })
				return err
			},
		}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.newLeaseKeeper().run(ctx)
	}()
	l.stop = func() { cancel(); <-done }
	l.node = n
	t.Cleanup(func() { l.stop() })
	<-n.Leased()
	return l
}

func (l *leased) now() time.Duration { return time.Since(l.start) }

func (l *leased) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *leased) renew(at time.Duration) {
	l.set(func() { l.renewed, l.lifted = at, false })
}

func (l *leased) lease() *coordinationv1.Lease {
	l.t.Helper()
	lease := &coordinationv1.Lease{}
	if err := l.admin.Get(l.t.Context(), leaseNamespace, "n1", lease); err != nil {
		l.t.Fatal(err)
	}
	return lease
}

// mark does as the controller does.
func (l *leased) mark() {
	l.t.Helper()
	lease := l.lease()
	if lease.Annotations == nil {
		lease.Annotations = make(map[string]string)
	}
	lease.Annotations[fencing.MarkAnnotation] = "now"
	if err := l.admin.Update(l.t.Context(), lease); err != nil {
		l.t.Fatal(err)
	}
}

func TestRenewalCountsFromBeforeItWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t, promise)
		l.conn.disturb(func(context.Context) error { time.Sleep(400 * time.Millisecond); return nil }, func() error {
			time.Sleep(500 * time.Millisecond)
			return nil
		})
		for range 50 {
			time.Sleep(170 * time.Millisecond)
			synctest.Wait()
			written := l.lease().Spec.RenewTime.Sub(l.start)
			l.set(func() {
				if l.renewed > written {
					t.Errorf("it counts from %v, the Store's renewal is of %v", l.renewed, written)
				}
				if l.now()-l.renewed > promise/2 {
					t.Errorf("slow calls keep it from renewing: %v since the last", l.now()-l.renewed)
				}
			})
		}
	})
}

func TestAnswerThatIsLostDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t, promise)
		time.Sleep(promise)
		l.conn.disturb(nil, func() error { return errors.New("the connection broke") })
		var last time.Duration
		synctest.Wait()
		l.set(func() { last = l.renewed })
		time.Sleep(promise)
		l.conn.disturb(nil, nil)
		l.set(func() {
			if l.renewed != last {
				t.Error("a renewal without an answer was counted")
			}
		})
		time.Sleep(promise / 2)
		l.set(func() {
			if l.renewed == last || len(l.condemned) > 0 {
				t.Errorf("after the connection is back: renewed %v, condemned %v", l.renewed, l.condemned)
			}
		})
	})
}

func TestMarkIsAnsweredBeforeTheLeaseIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t, promise)
		time.Sleep(promise + promise/8) // between two renewals
		l.set(func() { l.refuse = errors.New("the Store is away") })
		l.mark()
		time.Sleep(4 * promise)
		synctest.Wait()
		var last time.Duration
		l.set(func() {
			last = l.renewed
			if len(l.condemned) == 0 || l.condemned[0] != promise {
				t.Errorf("asked to give up pods: %v", l.condemned)
			}
			l.refuse = nil
		})
		if !fencing.Marked(l.lease()) {
			t.Error("the mark is gone before the pods are")
		}
		if l.now()-last < 3*promise {
			t.Error("the Lease counts as renewed before the pods are gone")
		}
		time.Sleep(promise)
		synctest.Wait()
		if fencing.Marked(l.lease()) {
			t.Error("the mark stays")
		}
		l.set(func() {
			if l.renewed == last {
				t.Error("the Lease is not renewed any more")
			}
		})
	})
}

func TestPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t, promise)
		l.set(func() { l.unfenced = true })
		time.Sleep(promise)
		if p, ok := fencing.Promise(l.lease()); ok {
			t.Errorf("it promises %v before all pods are fenced", p)
		}
		l.set(func() { l.unfenced = false })
		l.node.RenewLease()
		synctest.Wait()
		if p, _ := fencing.Promise(l.lease()); p != promise {
			t.Errorf("it promises %v as soon as it can", p)
		}
		time.Sleep(promise)
		if p, _ := fencing.Promise(l.lease()); p != promise {
			t.Errorf("it promises %v later", p)
		}
		l.stop()
		if _, ok := fencing.Promise(l.lease()); ok {
			t.Error("an agent that ends leaves its promise behind")
		}
		l.set(func() {
			if !l.lifted {
				t.Error("an agent that ends leaves its pods to be stopped")
			}
		})
	})
}

func TestPromiseThatCannotBeTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t, promise)
		l.conn.disturb(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, nil)
		l.stop()
		l.set(func() {
			if l.lifted {
				t.Error("pods run on although the Store has the promise that they do not")
			}
		})
	})
}

func TestWithoutPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t, 0)
		time.Sleep(time.Minute)
		l.set(func() {
			if !l.lifted || l.renewed != 0 {
				t.Errorf("lifted %v, renewed %v", l.lifted, l.renewed)
			}
		})
		if age := time.Since(l.lease().Spec.RenewTime.Time); age > renewInterval {
			t.Errorf("the Lease is %v old", age)
		}
		l.stop()
	})
}

// TestOtherStore has the Store that the node talks to hang, refuse, or refuse the
// node. There are two Stores; the other is well, or is not.
func TestOtherStore(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return status.FromContextError(ctx.Err()).Err() }
	refuse := func(code codes.Code) func(context.Context) error {
		return func(context.Context) error { return status.Error(code, "no") }
	}
	for name, tt := range map[string]struct {
		answer func(context.Context) error
		// switches is how often the connection goes to the other Store, in half a
		// minute if that is no better.
		switches, atMost int
	}{
		"it hangs":                    {hang, 1, 8},
		"it is cut off from its etcd": {refuse(codes.Unavailable), 1, 8},
		"it refuses the node":         {refuse(codes.PermissionDenied), 0, 0},
	} {
		for _, well := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, the other is well: %t", name, well), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLeased(t, 0)
					l.stop()
					l.node.cfg.Fencing.Promise = promise
					var went atomic.Int32
					l.node.cfg.OtherStore = func() {
						if went.Add(1); well {
							l.conn.disturb(nil, nil)
						}
					}
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan struct{})
					go func() { defer close(done); l.node.newLeaseKeeper().run(ctx) }()
					l.stop = func() { cancel(); <-done }
					time.Sleep(promise + promise/8)
					l.conn.disturb(tt.answer, nil)
					var worst time.Duration
					for range 300 {
						time.Sleep(100 * time.Millisecond)
						l.set(func() { worst = max(worst, l.now()-l.renewed) })
					}
					switches := int(went.Load())
					if well && tt.switches > 0 && (switches != 1 || worst > promise*3/5) {
						t.Errorf("it went to the other Store %d times, and was without a renewal for %v", switches, worst)
					}
					if !well && (switches < tt.switches || switches > tt.atMost) {
						t.Errorf("it went to the other Store %d times, want %d to %d", switches, tt.switches, tt.atMost)
					}
					l.conn.disturb(nil, nil)
				})
			})
		}
	}
}

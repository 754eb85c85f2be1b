package leader_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	coordinationv1 "k8s.io/api/coordination/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/leader"
	"navarch.dev/navarch/services/store/storetest"
)

func config(c *client.Client, identity string) leader.Config {
	cfg := leader.DefaultConfig()
	cfg.Client, cfg.Name, cfg.Identity = c, "test", identity
	cfg.LeaseDuration, cfg.RenewDeadline, cfg.RetryPeriod = 10*time.Second, 5*time.Second, 10*time.Millisecond
	return cfg
}

func TestOneLeadsAndTheNextTakesOver(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	leading := make(chan string)
	run := func(name string) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- leader.Run(ctx, config(c, name), func(ctx context.Context) {
				leading <- name
				<-ctx.Done()
				// The Lease is held until the work has stopped.
				lease := &coordinationv1.Lease{}
				if err := c.Get(context.WithoutCancel(ctx), "kube-system", "test", lease); err != nil || *lease.Spec.HolderIdentity != name {
					t.Errorf("%s works without the lease: %v %v", name, lease.Spec.HolderIdentity, err)
				}
			})
		}()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	stopFirst := run("first")
	if got := <-leading; got != "first" {
		t.Fatalf("%s leads", got)
	}
	stopSecond := run("second")
	stopFirst()
	if got := <-leading; got != "second" {
		t.Fatalf("%s leads", got)
	}
	stopSecond()
}

func TestLeaderThatReturnsCompetesAgain(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	ctx, cancel := context.WithCancel(t.Context())
	terms := 0
	err := leader.Run(ctx, config(c, "only"), func(context.Context) {
		if terms++; terms == 2 {
			cancel()
		}
	})
	if err != nil || terms != 2 {
		t.Errorf("%d terms, %v", terms, err)
	}
}

// hanging is a connection that may hang until it goes to another Store.
type hanging struct {
	grpc.ClientConnInterface
	hangs    atomic.Bool
	switched atomic.Int32
}

func (h *hanging) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if h.hangs.Load() {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	return h.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

func (h *hanging) Switch() {
	h.switched.Add(1)
	h.hangs.Store(false)
}

// TestStoreThatHangs has the Store of a candidate hang, and later that of the
// holder: it goes to another before it loses the Lease.
func TestStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &hanging{ClientConnInterface: storetest.New(t).Conn(storetest.Admin())}
		cfg := leader.DefaultConfig()
		cfg.Client, cfg.Name, cfg.Identity, cfg.OtherStore = client.New(conn, "test"), "test", "only", client.OtherStore(conn)
		ctx, cancel := context.WithCancel(t.Context())
		terms := 0
		done := make(chan struct{})
		conn.hangs.Store(true)
		go func() {
			defer close(done)
			if err := leader.Run(ctx, cfg, func(ctx context.Context) { terms++; <-ctx.Done() }); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Minute)
		conn.hangs.Store(true)
		time.Sleep(time.Minute)
		cancel()
		<-done
		if terms != 1 || conn.switched.Load() != 2 {
			t.Errorf("it led %d times, and went to another Store %d times", terms, conn.switched.Load())
		}
	})
}

package leader_test

import (
	"context"
	"testing"
	"time"

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

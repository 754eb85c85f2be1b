// Package leader elects one of several processes by a Lease in the Store, in
// the way every Kubernetes component does: the holder renews the Lease, and
// another takes it over once it has not been renewed for its duration.
package leader

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"

	"navarch.dev/navarch/internal/client"
)

// The Leases in kube-system by which the processes of a service agree on one.
const (
	SchedulerLease  = "kube-scheduler"
	ControllerLease = "navarch-controller"
)

// Config says what is held and how.
type Config struct {
	Client *client.Client
	// Namespace and Name are the Lease's.
	Namespace, Name string
	// Identity tells the candidates apart. A process that comes back under
	// the same identity takes its own Lease up at once, so make it unique per
	// running instance, but stable over restarts of that instance.
	Identity string
	// LeaseDuration is how long others wait for a silent holder, RenewDeadline
	// how long a holder tries to renew before it stops leading, RetryPeriod
	// the time between tries.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	Log                                       *slog.Logger
	// OtherStore has the Client go to another of several Stores; nil if there is
	// but one.
	OtherStore func()
}

// DefaultConfig returns the timings of Kubernetes' own components, in
// namespace kube-system.
func DefaultConfig() Config {
	return Config{
		Namespace:     "kube-system",
		LeaseDuration: 15 * time.Second,
		RenewDeadline: 10 * time.Second,
		RetryPeriod:   2 * time.Second,
	}
}

// Run competes for the Lease until ctx ends. Whenever it is won, lead is
// called; its context ends when the Lease is lost or ctx ends. The Lease is
// given up only after lead has returned, so two holders never act at once, and
// the next one need not wait for it to run out.
func Run(ctx context.Context, cfg Config, lead func(ctx context.Context)) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for ctx.Err() == nil {
		if err := term(ctx, cfg, lead); err != nil {
			return fmt.Errorf("elect leader by lease %s/%s: %w", cfg.Namespace, cfg.Name, err)
		}
	}
	return nil
}

// term is one candidacy: it waits for the Lease, leads, and gives it up.
func term(ctx context.Context, cfg Config, lead func(ctx context.Context)) error {
	// The election outlives ctx, so that the Lease is held until lead returns.
	election, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	held := newLock(cfg)
	won := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          held,
		Name:          cfg.Name,
		LeaseDuration: cfg.LeaseDuration,
		RenewDeadline: cfg.RenewDeadline,
		RetryPeriod:   cfg.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) { won <- leading },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		logger := logr.FromSlogHandler(cfg.Log.With("lease", cfg.Name, "identity", cfg.Identity).Handler())
		elector.Run(klog.NewContext(election, logger))
	}()
	led := false
	select {
	case leading := <-won:
		led = true
		leadUntil(ctx, leading, lead)
	case <-ctx.Done():
	}
	stop()
	<-ended
	if !led {
		return nil
	}
	return held.release(context.WithoutCancel(ctx), cfg.RenewDeadline)
}

// leadUntil calls lead with a context that ends with either of the two.
func leadUntil(ctx, leading context.Context, lead func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leading, cancel)()
	lead(ctx)
}

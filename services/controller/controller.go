// Package controller is the Controller service: the reconcilers, each a
// package of its own below this one, run by package runner over one shared set
// of informers, and a gRPC service that shows what they are doing.
package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/events"
	"navarch.dev/navarch/internal/client/leader"
	"navarch.dev/navarch/internal/customkinds"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/internal/usage"
	controllerv1 "navarch.dev/navarch/proto/navarch/controller/v1"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/runner"
)

// fieldManager is recorded with everything the controllers write.
const fieldManager = "navarch-controller"

// usageAge is how old what an agent said may be: autoscalers of the same nodes
// share the answer.
const usageAge = 10 * time.Second

// Controller is the service.
type Controller struct {
	cfg     Config
	tel     telemetry.Set
	client  *client.Client
	metrics *runner.Metrics
	feed    *runner.Feed
	agents  usage.Dialer
	// otherStore leads to another of several Stores; nil if there is but one.
	otherStore func()

	mu sync.Mutex // guards running
	// running are this process's controllers while it leads, nil otherwise.
	running []*runner.Controller
}

// New returns the service on top of the Store behind store. agents connects to
// the nodes' agents, which are asked what pods use.
func New(cfg Config, tel telemetry.Set, store grpc.ClientConnInterface, agents usage.Dialer) (*Controller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("controller configuration: %w", err)
	}
	metrics, err := runner.NewMetrics(tel.Metrics)
	if err != nil {
		return nil, err
	}
	other := client.OtherStore(store)
	cfg.NodeLifecycle.OtherStore = other
	return &Controller{
		cfg: cfg, tel: tel, metrics: metrics, feed: runner.NewFeed(), agents: agents, otherStore: other,
		client: client.New(runner.TracedConn(store), fieldManager),
	}, nil
}

// Register adds the gRPC service to a server.
func (c *Controller) Register(s grpc.ServiceRegistrar) {
	controllerv1.RegisterControllerServiceServer(s, &server{controller: c})
}

// Run reconciles until ctx ends: at once or, with leader election, whenever
// this process holds the Lease.
func (c *Controller) Run(ctx context.Context) error {
	if !c.cfg.LeaderElect {
		return c.lead(ctx)
	}
	cfg := leader.DefaultConfig()
	cfg.Client, cfg.Name, cfg.Identity, cfg.Log = c.client, leader.ControllerLease, c.cfg.Identity, c.tel.Log
	cfg.OtherStore = c.otherStore
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err := leader.Run(ctx, cfg, func(ctx context.Context) {
		if err := c.lead(ctx); err != nil {
			stop(err)
		}
	})
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// lead runs every controller until ctx ends. Each call starts from nothing, so
// that a process which has lost the Lease and won it again acts on nothing it
// knew before.
func (c *Controller) lead(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informers := client.NewInformers(c.client)
	custom, err := customkinds.New(c.client, kinds.NewRegistry())
	if err != nil {
		return err
	}
	var inv *inventory.Inventory
	shared := runner.Deps{
		Client: c.client, Informers: informers, Kinds: custom.Registry(), Telemetry: c.tel, Metrics: c.metrics, Feed: c.feed,
		Workers: c.cfg.Workers,
		Events: func(component string) runner.EventRecorder {
			r := events.NewRecorder(c.client, component, "", c.tel)
			wg.Go(func() { r.Run(ctx) })
			return r
		},
	}
	all, err := c.assemble(deps{
		Deps: shared, usage: usage.New(c.agents, usageAge, c.tel.Log), agents: c.agents,
		inventory: func() *inventory.Inventory {
			if inv == nil {
				inv = inventory.New(c.client, custom)
			}
			return inv
		},
	})
	if err != nil {
		return err
	}
	wg.Go(func() { custom.Run(ctx) })
	if informers.Start(ctx) == nil && known(ctx, custom) && (inv == nil || inv.Start(ctx, &wg) == nil) {
		c.setRunning(all)
		defer c.setRunning(nil)
		c.tel.Log.Info("controllers are running", "count", len(all))
	}
	// If ctx ended first they are run all the same: each ends at once, and with
	// it the goroutines of its queue.
	for _, one := range all {
		wg.Go(func() { one.Run(ctx) })
	}
	<-ctx.Done()
	return nil
}

// known waits until the custom kinds that there are are known; false if ctx ended
// first.
func known(ctx context.Context, custom *customkinds.Follower) bool {
	select {
	case <-custom.Synced():
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Controller) assemble(d deps) ([]*runner.Controller, error) {
	var all []*runner.Controller
	for _, f := range controllers(&c.cfg) {
		if slices.Contains(c.cfg.Disabled, f.name) {
			continue
		}
		one, err := f.make(d)
		if err != nil {
			return nil, fmt.Errorf("make the %s controller: %w", f.name, err)
		}
		all = append(all, one)
	}
	return all, nil
}

func (c *Controller) setRunning(all []*runner.Controller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = all
}

// snapshot returns the running controllers.
func (c *Controller) snapshot() []*runner.Controller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

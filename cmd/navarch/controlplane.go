package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/tracing"
	"navarch.dev/navarch/services/controller"
	"navarch.dev/navarch/services/scheduler"
)

// controlPlaneSettings are those of the services that share a process.
type controlPlaneSettings struct {
	store      *storeSettings
	scheduler  *schedulerSettings
	controller *controllerSettings
	gateway    *gatewaySettings
	// without are the services that other processes run.
	without []string
}

// newControlPlaneCommand makes the command that runs Store, Scheduler,
// Controller and gateway in one process, joined by in-process connections. `up`
// starts it; the flags of the services but the Store's have the service's name
// before them.
func newControlPlaneCommand() *cobra.Command {
	var config processConfig
	s := controlPlaneSettings{
		store: newStoreSettings(), scheduler: &schedulerSettings{Config: scheduler.DefaultConfig()},
		controller: &controllerSettings{Config: controller.DefaultConfig()}, gateway: newGatewaySettings(),
	}
	s.scheduler.LeaderElect, s.scheduler.Identity = false, hostIdentity("scheduler") // there is no other that shares this etcd
	cmd := &cobra.Command{
		Use: "control-plane", Short: "Run Store, Scheduler, Controller and gateway in one process", Args: cobra.NoArgs, Hidden: true,
	}
	config.addFlags(cmd.Flags())
	s.store.AddFlags(cmd.Flags())
	const schedulerPrefix = "scheduler-"
	prefixed(cmd.Flags(), schedulerPrefix, &s.scheduler.Config)
	s.scheduler.addFile(cmd.Flags(), func(flag string) bool { return cmd.Flags().Changed(schedulerPrefix + flag) })
	prefixed(cmd.Flags(), "controller-", s.controller)
	prefixed(cmd.Flags(), "gateway-", s.gateway)
	cmd.Flags().StringSliceVar(&s.without, "without", nil, "services that this process does not run, of: scheduler, controller")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(s.store.Validate(), s.scheduler.Validate(), s.controller.Validate(), s.validateWithout()); err != nil {
			return usageError{err}
		}
		return runProcess(cmd.Context(), config, "", func(ctx context.Context, p *process) error {
			p.memory = tracing.NewMemory()
			return s.run(ctx, p)
		})
	}
	return cmd
}

func (s *controlPlaneSettings) run(ctx context.Context, p *process) error {
	tel, err := p.telemetry(ctx, "store")
	if err != nil {
		return err
	}
	gatewayTel, err := p.telemetry(ctx, "gateway")
	if err != nil {
		return err
	}
	// One log has what users ask the gateway and what others ask the Store.
	if s.gateway.AuditLog, err = p.auditLog(s.gateway.Audit, gatewayTel); err != nil {
		return err
	}
	server := p.newStoreServer(tel, s.gateway.AuditLog)
	group := newGroup(ctx)
	clients, err := s.clients(ctx, p, server)
	if err != nil {
		return err
	}
	for _, c := range clients {
		c.Register(server)
	}
	// All services are registered before the Store begins to serve.
	if err := p.startStore(ctx, tel, group, server, s.store); err != nil {
		return err
	}
	for name, c := range clients {
		group.run(name, c.Run)
	}
	g, err := newGateway(ctx, p, gatewayTel, s.gateway, server.Local(identity.Service(identity.Gateway)))
	if err != nil {
		return err
	}
	group.run("gateway", g.Run)
	return group.wait()
}

// clients makes the services that live off the Store.
func (s *controlPlaneSettings) clients(ctx context.Context, p *process, server *rpc.Server) (map[string]component, error) {
	made := make(map[string]component)
	if !slices.Contains(s.without, "scheduler") {
		tel, err := p.telemetry(ctx, "scheduler")
		if err != nil {
			return nil, err
		}
		if made["scheduler"], err = scheduler.New(s.scheduler.Config, tel, server.Local(identity.Service(identity.Scheduler))); err != nil {
			return nil, fmt.Errorf("start the scheduler: %w", err)
		}
	}
	if slices.Contains(s.without, "controller") {
		return made, nil
	}
	tel, err := p.telemetry(ctx, "controller")
	if err != nil {
		return nil, err
	}
	config, err := s.controller.load(p)
	if err != nil {
		return nil, err
	}
	agents, err := s.controller.agents(p, tel)
	if err != nil {
		return nil, err
	}
	controls, err := controller.New(config, tel, server.Local(identity.Service(identity.Controller)), agents)
	if err != nil {
		return nil, fmt.Errorf("start the controllers: %w", err)
	}
	made["controller"] = controls
	return made, nil
}

func (s *controlPlaneSettings) validateWithout() error {
	for _, name := range s.without {
		if name != "scheduler" && name != "controller" {
			return fmt.Errorf("without: %q is neither scheduler nor controller", name)
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
)

// component is what a service package makes: it runs until its context ends,
// and answers its gRPC service.
type component interface {
	Run(context.Context) error
	Register(grpc.ServiceRegistrar)
}

// settings is a service package's configuration.
type settings interface {
	AddFlags(*pflag.FlagSet)
	Validate() error
}

// storeClient is a service that lives off the Store: the scheduler, the
// controller, an agent, a proxy.
type storeClient struct {
	name, short   string
	defaultListen string
	settings      settings
	// node returns the node the service works for; nil is none.
	node func() string
	// deadline returns how long the connection to the Store may go without the
	// peer's answer; nil, or 0, is the usual time.
	deadline func() time.Duration
	make     func(*process, telemetry.Set, grpc.ClientConnInterface) (component, error)
}

// command makes the subcommand that runs the service by itself.
func (s storeClient) command() *cobra.Command {
	var config processConfig
	var store, listen string
	cmd := &cobra.Command{Use: s.name, Short: s.short, Args: cobra.NoArgs}
	config.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&store, "store", "", "host:port of the Store, several separated by commas")
	cmd.Flags().StringVar(&listen, "listen", s.defaultListen, "address:port of this service's gRPC API, several separated by commas")
	s.settings.AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.settings.Validate(); err != nil {
			return usageError{err}
		}
		node := ""
		if s.node != nil {
			node = s.node()
		}
		return runProcess(cmd.Context(), config, node, func(ctx context.Context, p *process) error {
			return s.run(ctx, p, store, listen)
		})
	}
	return cmd
}

func (s storeClient) run(ctx context.Context, p *process, store, listen string) error {
	tel, err := p.telemetry(ctx, s.name)
	if err != nil {
		return err
	}
	var dialing []grpc.DialOption
	if s.deadline != nil && s.deadline() > 0 {
		dialing = append(dialing, rpc.WithDeadline(s.deadline()))
	}
	conn, err := p.dialStore(tel, store, dialing...)
	if err != nil {
		return err
	}
	c, err := s.make(p, tel, conn)
	if err != nil {
		return fmt.Errorf("start the %s: %w", s.name, err)
	}
	options := p.serverOptions()
	if pages, ok := c.(interface{ HTTP() http.Handler }); ok {
		options.TLS, options.HTTP = p.bundle.SharedServer(), pages.HTTP()
	}
	server := rpc.NewServer(tel, options)
	c.Register(server)
	listeners, err := listenAll(ctx, "listen", listen)
	if err != nil {
		return err
	}
	group := newGroup(ctx)
	if r, ok := c.(readier); ok {
		group.followReadiness(server, r)
	}
	group.serve(server, listeners)
	group.run(s.name, c.Run)
	return group.wait()
}

// readier is a component that takes a while from its start until it does its
// work.
type readier interface {
	// Ready is closed when it does.
	Ready() <-chan struct{}
}

// followReadiness makes the server's health say whether the component is
// ready.
func (g *group) followReadiness(server *rpc.Server, r readier) {
	server.SetServing("", false)
	g.run("readiness", func(ctx context.Context) error {
		select {
		case <-r.Ready():
			server.SetServing("", true)
			<-ctx.Done()
		case <-ctx.Done():
		}
		return nil
	})
}

// group runs the parts of a process: when one fails, all stop.
type group struct {
	group *errgroup.Group
	ctx   context.Context //nolint:containedctx // It lives as long as the group.
}

func newGroup(ctx context.Context) *group {
	g, ctx := errgroup.WithContext(ctx)
	return &group{group: g, ctx: ctx}
}

// run runs one part. Ending before the process is told to is a failure.
func (g *group) run(name string, part func(context.Context) error) {
	g.group.Go(func() error {
		err := part(g.ctx)
		if g.ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return nil
		}
		if err == nil {
			return fmt.Errorf("%s ended by itself", name)
		}
		return fmt.Errorf("%s: %w", name, err)
	})
}

func (g *group) serve(server *rpc.Server, listeners []net.Listener) {
	for _, l := range listeners {
		g.run("gRPC server", func(ctx context.Context) error { return server.Serve(ctx, l) })
	}
}

func (g *group) wait() error { return g.group.Wait() }

// prefixed registers a service's flags with a prefix, where several services
// share a command line.
func prefixed(fs *pflag.FlagSet, prefix string, s settings) {
	own := pflag.NewFlagSet(prefix, pflag.ContinueOnError)
	s.AddFlags(own)
	own.VisitAll(func(f *pflag.Flag) {
		renamed := *f
		renamed.Name, renamed.Shorthand = prefix+f.Name, ""
		fs.AddFlag(&renamed)
	})
}

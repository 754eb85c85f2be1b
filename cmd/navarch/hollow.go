package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"navarch.dev/navarch/agent/hollow"
	"navarch.dev/navarch/cmd/navarch/localcluster"
	"navarch.dev/navarch/internal/apidescriptors"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
)

// hollowCommand is `navarch hollow`.
type hollowCommand struct {
	process processConfig
	fleet   hollow.Config
	// listen is where the nodes serve; empty is nowhere.
	listen string
	// dataDir is that of a cluster on this machine; the others, if store is set,
	// are those of any other.
	dataDir, store, caFile, caKeyFile string
}

func newHollowCommand() *cobra.Command {
	c := hollowCommand{fleet: hollow.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "hollow --nodes N",
		Short: "Simulate many nodes, to try a control plane at size",
		Long: "Simulate many nodes in one process: they register, renew their Leases and report the pods that are bound to them as\n" +
			"running, by the agents' own protocol and each with an identity of its own, but nothing runs. Try it only on clusters\n" +
			"that are there to be tried: pods that are bound to hollow nodes do no work.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	c.addFlags(cmd.Flags())
	return cmd
}

func (c *hollowCommand) addFlags(fs *pflag.FlagSet) {
	addConfigFlag(fs)
	fs.StringVar(&c.dataDir, "data-dir", localcluster.DefaultDataDir, "data folder of a cluster on this machine")
	fs.StringVar(&c.store, "store", "", "host:port of the Store, several separated by commas, instead of --data-dir")
	fs.StringVar(&c.caFile, "ca-file", "", "PEM certificate of the cluster's authority, with --store")
	fs.StringVar(&c.caKeyFile, "ca-key-file", "", "PEM key of the cluster's authority, which makes each node's certificate, with --store")
	fs.StringVar(&c.listen, "listen", "", "address:port of the Node service of all nodes, which becomes their address; empty: they serve nothing")
	c.process.addReportFlags(fs)
	c.fleet.AddFlags(fs)
}

func (c *hollowCommand) run(ctx context.Context) error {
	if err := c.fleet.Validate(); err != nil {
		return usageError{err}
	}
	if err := c.process.validateReports(); err != nil {
		return err
	}
	if err := c.validateListen(); err != nil {
		return usageError{err}
	}
	store, authority, err := c.cluster()
	if err != nil {
		return err
	}
	bundle, err := nodeBundle(authority, c.fleet.FirstName())
	if err != nil {
		return err
	}
	return runProcessAs(ctx, c.process, bundle, "", func(ctx context.Context, p *process) error {
		return c.runNodes(ctx, p, store, authority)
	})
}

// validateListen demands an address that others can be told.
func (c *hollowCommand) validateListen() error {
	if c.listen == "" {
		return nil
	}
	if a, err := netip.ParseAddrPort(c.listen); err != nil || a.Addr().IsUnspecified() {
		return fmt.Errorf("flag --listen: %q must be an address of this machine and a port", c.listen)
	}
	return nil
}

func (c *hollowCommand) runNodes(ctx context.Context, p *process, store string, authority *certs.Authority) error {
	tel, err := p.telemetry(ctx, "hollow")
	if err != nil {
		return err
	}
	// Traces are handed on, but what did not happen has no spans.
	tel.Traces = noop.NewTracerProvider()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	var listeners []net.Listener
	if c.listen != "" {
		if listeners, err = listenAll(ctx, "listen", c.listen); err != nil {
			return err
		}
		c.fleet.Service = netip.MustParseAddrPort(listeners[0].Addr().String())
	}
	fleet, err := hollow.New(c.fleet, tel, dialer(tel, store, authority))
	if err != nil {
		return err
	}
	group, begun := newGroup(ctx), time.Now()
	group.run("hollow nodes", fleet.Run)
	group.run("readiness", func(ctx context.Context) error {
		select {
		case <-fleet.Ready():
			tel.Log.InfoContext(ctx, "all hollow nodes are registered", "nodes", c.fleet.Nodes, "took", time.Since(begun))
		case <-ctx.Done():
		}
		<-ctx.Done()
		return nil
	})
	if len(listeners) > 0 {
		server := rpc.NewServer(tel, rpc.ServerOptions{TLS: serveNodes(p.bundle, authority), HTTP: fleet.HTTP(), Descriptors: apidescriptors.Resolver()})
		fleet.Register(server)
		group.serve(server, listeners)
	}
	return group.wait()
}

// cluster returns where the Store is, and who makes the nodes' certificates.
func (c *hollowCommand) cluster() (store string, authority *certs.Authority, err error) {
	if c.store == "" {
		if c.caFile != "" || c.caKeyFile != "" {
			return "", nil, usageError{errors.New("flags --ca-file and --ca-key-file: need --store too")}
		}
		endpoints, authority, err := localcluster.Authority(c.dataDir)
		return endpoints.Store, authority, err
	}
	if c.caFile == "" || c.caKeyFile == "" {
		return "", nil, usageError{errors.New("flag --store: needs --ca-file and --ca-key-file too")}
	}
	authority, err = certs.LoadFiles(c.caFile, c.caKeyFile)
	return c.store, authority, err
}

// gcPercent makes the process smaller, for some processor time: there is much
// that lives long, and little that does not.
const gcPercent = 40

// readBuffer is that of each node's connection. There are many, and what comes
// in on one is little.
const readBuffer = 4 << 10

// patience is that of kubelets with a silent connection, longer than that of
// agents: where thousands of nodes share processors with the control plane that
// is tried, a short one has all of them connect anew at the moment at which it
// is busiest.
var patience = keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second, PermitWithoutStream: true}

// dialer connects as the agent of a node, with a certificate made for the
// connection.
func dialer(tel telemetry.Set, store string, authority *certs.Authority) hollow.Dial {
	return func(node string) (hollow.Conn, error) {
		bundle, err := nodeBundle(authority, node)
		if err != nil {
			return nil, err
		}
		return rpc.DialSwitchable(tel, store, bundle.Client(certs.ServerName("store")),
			grpc.WithReadBufferSize(readBuffer), grpc.WithKeepaliveParams(patience))
	}
}

// serveNodes is a configuration for serving as whichever node a caller asks
// for.
func serveNodes(bundle *certs.Bundle, authority *certs.Authority) *tls.Config {
	config := bundle.SharedServer()
	base := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := base(hello)
		if err != nil {
			return nil, err
		}
		name, ok := certs.NodeOf(hello.ServerName)
		if !ok {
			return nil, fmt.Errorf("%q is not the name of a node's agent", hello.ServerName)
		}
		own, err := nodeBundle(authority, name)
		if err != nil {
			return nil, err
		}
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.Own(), nil }
		return c, nil
	}
	return config
}

// nodeBundle makes the certificate of a node.
func nodeBundle(authority *certs.Authority, node string) (*certs.Bundle, error) {
	pair, err := authority.Issue(certs.Request{Identity: identity.Node(node), DNSNames: []string{certs.NodeServerName(node)}})
	if err != nil {
		return nil, err
	}
	return authority.Bundle(pair)
}

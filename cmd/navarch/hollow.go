package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"navarch.dev/navarch/agent/hollow"
	"navarch.dev/navarch/cmd/navarch/localcluster"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
)

// hollowCommand is `navarch hollow`.
type hollowCommand struct {
	process processConfig
	fleet   hollow.Config
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
	store, authority, err := c.cluster()
	if err != nil {
		return err
	}
	bundle, err := nodeBundle(authority, c.fleet.FirstName())
	if err != nil {
		return err
	}
	return runProcessAs(ctx, c.process, bundle, "", func(ctx context.Context, p *process) error {
		tel, err := p.telemetry(ctx, "hollow")
		if err != nil {
			return err
		}
		fleet, err := hollow.New(c.fleet, tel, dialer(tel, store, authority))
		if err != nil {
			return err
		}
		group := newGroup(ctx)
		group.run("hollow nodes", fleet.Run)
		begun := time.Now()
		group.run("readiness", func(ctx context.Context) error {
			select {
			case <-fleet.Ready():
				tel.Log.InfoContext(ctx, "all hollow nodes are registered", "nodes", c.fleet.Nodes, "took", time.Since(begun))
			case <-ctx.Done():
			}
			<-ctx.Done()
			return nil
		})
		return group.wait()
	})
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

// readBuffer is that of each node's connection. There are many, and what comes
// in on one is little.
const readBuffer = 4 << 10

// dialer connects as the agent of a node, with a certificate made for the
// connection.
func dialer(tel telemetry.Set, store string, authority *certs.Authority) hollow.Dial {
	return func(node string) (hollow.Conn, error) {
		bundle, err := nodeBundle(authority, node)
		if err != nil {
			return nil, err
		}
		return rpc.Dial(tel, store, bundle.Client(certs.ServerName("store")), grpc.WithReadBufferSize(readBuffer))
	}
}

func nodeBundle(authority *certs.Authority, node string) (*certs.Bundle, error) {
	pair, err := authority.Issue(certs.Request{Identity: identity.Node(node)})
	if err != nil {
		return nil, err
	}
	return authority.Bundle(pair)
}

package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"navarch.dev/navarch/agent"
	"navarch.dev/navarch/internal/telemetry"
)

func newAgentCommand() *cobra.Command {
	config := agent.DefaultConfig()
	var cmd *cobra.Command
	cmd = storeClient{
		name: "agent", short: "Run a node's agent", defaultListen: ":10250",
		settings: &config,
		node:     func() string { return config.NodeName },
		deadline: config.ConnectionDeadline,
		make: func(p *process, tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			config.CertificateEnd = func() time.Time { return p.bundle.Own().Leaf.NotAfter }
			config.Flags = make(map[string]string)
			cmd.Flags().VisitAll(func(f *pflag.Flag) { config.Flags[f.Name] = f.Value.String() })
			return agent.New(config, tel, conn)
		},
	}.command()
	return cmd
}

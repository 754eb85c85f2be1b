package main

import (
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"navarch.dev/navarch/agent"
	"navarch.dev/navarch/internal/telemetry"
)

func newAgentCommand() *cobra.Command {
	config := agent.DefaultConfig()
	return storeClient{
		name: "agent", short: "Run a node's agent", defaultListen: ":10250",
		settings: &config,
		node:     func() string { return config.NodeName },
		deadline: config.ConnectionDeadline,
		make: func(_ *process, tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			return agent.New(config, tel, conn)
		},
	}.command()
}

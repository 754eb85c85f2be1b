package main

import (
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/proxy"
)

func newProxyCommand() *cobra.Command {
	config := proxy.DefaultConfig()
	return storeClient{
		name: "proxy", short: "Run a node's Proxy", defaultListen: "127.0.0.1:10256",
		settings: &config,
		node:     func() string { return config.Node },
		make: func(_ *process, tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			return proxy.New(config, tel, conn)
		},
	}.command()
}

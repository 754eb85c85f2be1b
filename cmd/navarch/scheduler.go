package main

import (
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/scheduler"
)

func newSchedulerCommand() *cobra.Command {
	config := scheduler.DefaultConfig()
	config.LeaderElect = true
	return storeClient{
		name: "scheduler", short: "Run a Scheduler", defaultListen: "127.0.0.1:10259",
		settings: &config,
		make: func(tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			return scheduler.New(config, tel, conn)
		},
	}.command()
}

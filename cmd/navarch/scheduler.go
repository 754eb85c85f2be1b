package main

import (
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/scheduler"
)

func newSchedulerCommand() *cobra.Command {
	config := scheduler.DefaultConfig()
	config.LeaderElect, config.Identity = true, hostIdentity("scheduler")
	return storeClient{
		name: "scheduler", short: "Run a Scheduler", defaultListen: "127.0.0.1:10259",
		settings: &config,
		make: func(_ *process, tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			return scheduler.New(config, tel, conn)
		},
	}.command()
}

// hostIdentity names this instance of a service in elections: stable over
// restarts, one per host.
func hostIdentity(service string) string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return service
}

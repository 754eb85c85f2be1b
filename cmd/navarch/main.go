// Command navarch is Navarch: a whole cluster on one machine (up, down), each
// of its services by itself, and the tools that look into them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	// Machines and images without time zone files run CronJobs too.
	_ "time/tzdata"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "navarch:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode is 2 for a call that cannot be understood and 1 for one that
// cannot be carried out.
func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

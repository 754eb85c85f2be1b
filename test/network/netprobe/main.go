// Command netprobe is the one program of the network tests' image: a server
// that says who it is and who asked, and a client that users' programs behave
// like. It resolves names with Go's own resolver, which reads the container's
// resolv.conf.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "netprobe:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: netprobe serve | get URL [TIMES] | load URL | udp ADDRESS | dial ADDRESS | lookup a|cname|srv|ptr NAME | true")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch command, rest := args[0], args[1:]; {
	case command == "serve":
		return serve(ctx)
	case command == "get" && len(rest) > 0:
		return get(ctx, rest[0], rest[1:])
	case command == "load" && len(rest) == 1:
		return load(ctx, rest[0])
	case command == "udp" && len(rest) == 1:
		return askUDP(ctx, rest[0])
	case command == "dial" && len(rest) == 1:
		return dial(ctx, rest[0])
	case command == "lookup" && len(rest) == 2:
		return lookup(ctx, rest[0], rest[1])
	case command == "true":
		return nil
	}
	return fmt.Errorf("%q: %w", strings.Join(args, " "), errUsage)
}

// Command clientcheck does with a cluster what programs built on client-go do.
// It is built with each version of client-go that is tested, so it uses only
// what all of them have.
//
//	clientcheck KUBECONFIG CHECK
//
// It exits with 0 if the check passed; otherwise standard error says what was
// wrong.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// patience bounds a check.
const patience = 2 * time.Minute

// namespace is where the checks work; the test makes it.
const namespace = "clientcheck"

// checks are what the program can do, by name. The test runs each of them.
var checks = map[string]func(context.Context, *rest.Config) error{
	"typed-json":      typedJSON,
	"typed-protobuf":  typedProtobuf,
	"dynamic":         dynamicClient,
	"metadata":        metadataClient,
	"watchlist":       watchList,
	"informer":        informer,
	"leader-election": leaderElection,
	"exec-websocket":  execWebSocket,
	"exec-spdy":       execSPDY,
	"port-forward":    portForward,
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: clientcheck KUBECONFIG CHECK")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "clientcheck: %s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
}

func run(kubeconfig, name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	check, ok := checks[name]
	if !ok {
		return fmt.Errorf("there is no such check")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	return check(ctx, config)
}

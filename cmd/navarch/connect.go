package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/cmd/navarch/localcluster"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
)

// accessConfig says how a tool reaches a cluster: by the data folder of a
// cluster on this machine, or by addresses and a certificate.
type accessConfig struct {
	dataDir                   string
	store, scheduler          string
	caFile, certFile, keyFile string
}

func (c *accessConfig) addFlags(fs *pflag.FlagSet) {
	addConfigFlag(fs)
	fs.StringVar(&c.dataDir, "data-dir", localcluster.DefaultDataDir, "data folder of a cluster on this machine")
	fs.StringVar(&c.store, "store", "", "host:port of the Store, instead of --data-dir")
	fs.StringVar(&c.scheduler, "scheduler", "", "host:port of the Scheduler (default: as the Store)")
	fs.StringVar(&c.caFile, "ca-file", "", "PEM certificate of the cluster's authority, with --store")
	fs.StringVar(&c.certFile, "cert-file", "", "PEM client certificate, with --store")
	fs.StringVar(&c.keyFile, "key-file", "", "PEM key of the client certificate, with --store")
}

// access is a tool's way into a cluster. Close it when done.
type access struct {
	bundle *certs.Bundle
	config accessConfig
	conns  []*grpc.ClientConn
	tel    telemetry.Set
}

func (c *accessConfig) open() (*access, error) {
	if c.store != "" {
		if c.caFile == "" || c.certFile == "" || c.keyFile == "" {
			return nil, usageError{errors.New("flag --store: needs --ca-file, --cert-file and --key-file too")}
		}
		bundle, err := certs.LoadBundle(c.caFile, c.certFile, c.keyFile)
		if err != nil {
			return nil, err
		}
		return c.with(bundle), nil
	}
	endpoints, bundle, err := localcluster.Access(c.dataDir)
	if err != nil {
		return nil, err
	}
	c.store, c.scheduler = endpoints.Store, endpoints.Scheduler
	return c.with(bundle), nil
}

func (c *accessConfig) with(bundle *certs.Bundle) *access {
	if c.scheduler == "" {
		c.scheduler = c.store
	}
	return &access{bundle: bundle, config: *c, tel: telemetry.Discard("cli")}
}

// Close ends the connections.
func (a *access) Close() {
	for _, c := range a.conns {
		_ = c.Close()
	}
}

func (a *access) dial(target, serverName string) (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(a.tel, target, a.bundle.Client(serverName))
	if err != nil {
		return nil, err
	}
	a.conns = append(a.conns, conn)
	return conn, nil
}

// store connects to the Store.
func (a *access) store() (*grpc.ClientConn, error) {
	return a.dial(a.config.store, certs.ServerName("store"))
}

// scheduler connects to the Scheduler.
func (a *access) scheduler() (*grpc.ClientConn, error) {
	return a.dial(a.config.scheduler, certs.ServerName("scheduler"))
}

// agent connects to the agent of a node; name "" is the cluster's only node.
func (a *access) agent(ctx context.Context, name string) (*grpc.ClientConn, error) {
	store, err := a.store()
	if err != nil {
		return nil, err
	}
	var nodes corev1.NodeList
	if err := client.New(store, "navarch-cli").List(ctx, &nodes, client.ListOptions{}); err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	node, err := chooseNode(nodes.Items, name)
	if err != nil {
		return nil, err
	}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			target := fmt.Sprintf("%s:%d", address.Address, node.Status.DaemonEndpoints.KubeletEndpoint.Port)
			return a.dial(target, certs.NodeServerName(node.Name))
		}
	}
	return nil, fmt.Errorf("node %s has told no InternalIP address yet", node.Name)
}

// nodeNames lists the cluster's nodes.
func (a *access) nodeNames(ctx context.Context) ([]string, error) {
	store, err := a.store()
	if err != nil {
		return nil, err
	}
	var nodes corev1.NodeList
	if err := client.New(store, "navarch-cli").List(ctx, &nodes, client.ListOptions{}); err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	names := make([]string, len(nodes.Items))
	for i := range nodes.Items {
		names[i] = nodes.Items[i].Name
	}
	return names, nil
}

func chooseNode(nodes []corev1.Node, name string) (*corev1.Node, error) {
	var names []string
	for i := range nodes {
		if nodes[i].Name == name || name == "" && len(nodes) == 1 {
			return &nodes[i], nil
		}
		names = append(names, nodes[i].Name)
	}
	if name == "" {
		return nil, usageError{fmt.Errorf("flag --node: required, since the cluster has several nodes (%s)", strings.Join(names, ", "))}
	}
	return nil, fmt.Errorf("flag --node: no node %q (have %s)", name, strings.Join(names, ", "))
}

// addNamespaceFlag adds -n.
func addNamespaceFlag(cmd *cobra.Command, namespace *string) {
	cmd.Flags().StringVarP(namespace, "namespace", "n", "default", "namespace of the object")
}

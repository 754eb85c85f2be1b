package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kubeconfig"
)

// certsOptions say which certificates to make.
type certsOptions struct {
	dir string
	// nodes are NAME=IP.
	nodes []string
	// names are what the control plane is reached by, names and addresses.
	names []string
	// server is the gateway's host:port in the kubeconfig.
	server string
}

func newCertsCommand() *cobra.Command {
	var o certsOptions
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Make a cluster's certificates, for services that run apart",
		Long: "Make a cluster's authority, a certificate for every service, node and the first user, those of the front proxy,\n" +
			"and a kubeconfig. " +
			"What is there and still good is kept, so the command can run before every start.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return usageError{err}
			}
			return makeCerts(o)
		},
	}
	addConfigFlag(cmd.Flags())
	cmd.Flags().StringVar(&o.dir, "dir", "", "folder to keep the certificates in")
	cmd.Flags().StringSliceVar(&o.nodes, "node", nil, "NAME=IP of a node (may be repeated)")
	cmd.Flags().StringSliceVar(&o.names, "name", nil, "DNS name or address by which the control plane is reached (may be repeated)")
	cmd.Flags().StringVar(&o.server, "server", "127.0.0.1:6443", "host:port of the gateway, for the kubeconfig")
	return cmd
}

func (o certsOptions) validate() error {
	if o.dir == "" {
		return errors.New("flag --dir: required")
	}
	if _, _, err := net.SplitHostPort(o.server); err != nil {
		return fmt.Errorf("flag --server: %q must be host:port", o.server)
	}
	for _, n := range o.nodes {
		name, address, ok := strings.Cut(n, "=")
		if !ok || name == "" || net.ParseIP(address) == nil {
			return fmt.Errorf("flag --node: %q must be NAME=IP", n)
		}
	}
	return nil
}

func makeCerts(o certsOptions) error {
	authority, err := certs.LoadOrCreate(o.dir)
	if err != nil {
		return err
	}
	for name, request := range o.requests() {
		if _, err := authority.Ensure(o.dir, name, request); err != nil {
			return fmt.Errorf("make the certificate of %s: %w", name, err)
		}
	}
	if _, err := certs.EnsureFrontProxy(o.dir); err != nil {
		return fmt.Errorf("make the certificate of the front proxy: %w", err)
	}
	if err := certs.EnsureSigningKey(filepath.Join(o.dir, "service-account.key")); err != nil {
		return err
	}
	admin, err := certs.ReadPair(o.dir, "admin")
	if err != nil {
		return fmt.Errorf("read the user's certificate: %w", err)
	}
	return kubeconfig.Write(filepath.Join(o.dir, "kubeconfig"), kubeconfig.Config{Server: o.server, Authority: authority.CertPEM(), User: admin})
}

// requests are the certificates by file name.
func (o certsOptions) requests() map[string]certs.Request {
	names, ips := splitNames(append([]string{"localhost", "127.0.0.1"}, o.names...))
	service := func(name, own string) certs.Request {
		return certs.Request{Identity: identity.Service(name), DNSNames: append([]string{certs.ServerName(own)}, names...), IPs: ips}
	}
	requests := map[string]certs.Request{
		"store":      service(identity.Store, "store"),
		"scheduler":  service(identity.Scheduler, "scheduler"),
		"controller": service(identity.Controller, "controller"),
		"gateway":    service(identity.Gateway, "gateway"),
		"admin":      {Identity: identity.Identity{Name: "kubernetes-admin", Groups: []string{identity.GroupMasters}}},
		// etcd members and the Stores that call them use one certificate.
		"etcd": {Identity: identity.Identity{Name: "etcd"}, DNSNames: names, IPs: ips},
	}
	for _, n := range o.nodes {
		name, address, _ := strings.Cut(n, "=")
		own := []net.IP{net.ParseIP(address), net.IPv4(127, 0, 0, 1)}
		requests["agent-"+name] = certs.Request{
			Identity: identity.Node(name), DNSNames: []string{certs.ServerName("agent"), certs.NodeServerName(name), name}, IPs: own,
		}
		requests["proxy-"+name] = certs.Request{Identity: identity.Service(identity.Proxy), DNSNames: []string{certs.ServerName("proxy"), name}, IPs: own}
	}
	return requests
}

func splitNames(all []string) (names []string, ips []net.IP) {
	for _, n := range all {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, n)
		}
	}
	return names, ips
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"navarch.dev/navarch/gateway"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/internal/version"
)

// gatewaySettings are the gateway's settings, with the files of what it shows
// to other API servers.
type gatewaySettings struct {
	gateway.Config
	frontProxy frontProxyFiles
}

func newGatewaySettings() *gatewaySettings { return &gatewaySettings{Config: gateway.DefaultConfig()} }

// AddFlags implements settings.
func (s *gatewaySettings) AddFlags(fs *pflag.FlagSet) {
	s.Config.AddFlags(fs)
	s.frontProxy.addFlags(fs)
}

// frontProxyFiles hold the certificate by which other API servers know that a
// request comes from this cluster.
type frontProxyFiles struct{ cert, key string }

func (f *frontProxyFiles) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.cert, "proxy-client-cert-file", "", "PEM certificate that other API servers are shown, which serve a part of the API; empty: none")
	fs.StringVar(&f.key, "proxy-client-key-file", "", "PEM key of that certificate")
}

// load returns what returns the certificate; nil if there is none.
func (f *frontProxyFiles) load(p *process) (func() *tls.Certificate, error) {
	switch {
	case (f.cert == "") != (f.key == ""):
		return nil, usageError{errors.New("flags --proxy-client-cert-file and --proxy-client-key-file: one is of no use without the other")}
	case f.cert == "":
		return nil, nil
	}
	bundle, err := certs.LoadBundle(p.config.CAFile, f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("flags --proxy-client-cert-file, --proxy-client-key-file: %w", err)
	}
	bundle.OnReload(p.reloaded)
	return bundle.Own, nil
}

func newGatewayCommand() *cobra.Command {
	var settings processConfig
	var store string
	config := newGatewaySettings()
	cmd := &cobra.Command{Use: "gateway", Short: "Run a gateway: the Kubernetes REST API", Args: cobra.NoArgs}
	settings.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&store, "store", "", "host:port of the Store, several separated by commas")
	config.AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runProcess(cmd.Context(), settings, "", func(ctx context.Context, p *process) error {
			tel, err := p.telemetry(ctx, "gateway")
			if err != nil {
				return err
			}
			conn, err := p.dialStore(tel, store)
			if err != nil {
				return err
			}
			g, err := newGateway(ctx, p, tel, config, conn)
			if err != nil {
				return err
			}
			group := newGroup(ctx)
			group.run("gateway", g.Run)
			return group.wait()
		})
	}
	return cmd
}

// newGateway makes a gateway that serves on every address of config.Listen.
func newGateway(ctx context.Context, p *process, tel telemetry.Set, settings *gatewaySettings, store grpc.ClientConnInterface) (*gateway.Gateway, error) {
	config := settings.Config
	listeners, err := listenAll(ctx, "gateway-listen", config.Listen)
	if err != nil {
		return nil, err
	}
	config.Listener = joinListeners(listeners)
	config.Version = version.Server
	if config.ProxyCertificate, err = settings.frontProxy.load(p); err != nil {
		return nil, err
	}
	config.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.bundle.Own(), nil }
	config.ClientCAs = p.bundle.Roots
	g, err := gateway.New(config, tel, store, newAgentDialer(p, p.bundle, tel))
	if err != nil {
		return nil, usageError{err}
	}
	return g, nil
}

// agentDialer keeps one connection per agent.
type agentDialer struct {
	bundle *certs.Bundle
	tel    telemetry.Set

	mu    sync.Mutex // guards conns
	conns map[string]*grpc.ClientConn
}

// newAgentDialer returns a dialer that shows a certificate, and whose
// connections close with the process.
func newAgentDialer(p *process, bundle *certs.Bundle, tel telemetry.Set) *agentDialer {
	d := &agentDialer{bundle: bundle, tel: tel, conns: make(map[string]*grpc.ClientConn)}
	p.closers = append(p.closers, d.close)
	return d
}

// Dial implements gateway.NodeDialer and usage.Dialer.
func (d *agentDialer) Dial(_ context.Context, node, endpoint string) (grpc.ClientConnInterface, error) {
	if _, _, err := net.SplitHostPort(endpoint); err != nil {
		return nil, fmt.Errorf("endpoint of node %s: %w", node, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := node + "@" + endpoint
	if conn, ok := d.conns[key]; ok {
		return conn, nil
	}
	conn, err := rpc.Dial(d.tel, endpoint, d.bundle.Client(certs.NodeServerName(node)))
	if err != nil {
		return nil, err
	}
	d.conns[key] = conn
	return conn, nil
}

func (d *agentDialer) close(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		_ = conn.Close()
	}
	return nil
}

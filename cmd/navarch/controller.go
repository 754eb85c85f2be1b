package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/controller"
)

// controllerSettings are the controllers' settings, with the files that hold
// the authorities' certificates, for publishing, the one that signs, and the one
// that agents are shown, and those that other API servers are shown.
type controllerSettings struct {
	controller.Config
	rootCAFile                      string
	signingCertFile, signingKeyFile string
	agentCertFile, agentKeyFile     string
	frontProxyCAFile                string
	frontProxy                      frontProxyFiles
}

// AddFlags implements settings.
func (c *controllerSettings) AddFlags(fs *pflag.FlagSet) {
	c.Config.AddFlags(fs)
	fs.StringVar(&c.rootCAFile, "root-ca-file", "", "PEM certificate that is published to pods, in kube-root-ca.crt and in a ClusterTrustBundle")
	fs.StringVar(&c.signingCertFile, "cluster-signing-cert-file", "", "PEM certificate of the authority that signs approved certificate requests; empty: none are signed")
	fs.StringVar(&c.signingKeyFile, "cluster-signing-key-file", "", "PEM key of that authority")
	fs.StringVar(&c.agentCertFile, "agent-client-cert-file", "", "PEM certificate of the controllers' identity, which agents are shown; empty: that of the process")
	fs.StringVar(&c.frontProxyCAFile, "requestheader-client-ca-file", "", "PEM certificate of the authority of what gateways show to other API servers; empty: these are told of none")
	c.frontProxy.addFlags(fs)
	fs.StringVar(&c.agentKeyFile, "agent-client-key-file", "", "PEM key of that certificate")
}

// load reads what the settings name.
func (c *controllerSettings) load(p *process) (controller.Config, error) {
	config := c.Config
	var err error
	if config.ProxyCertificate, err = c.frontProxy.load(p); err != nil {
		return config, err
	}
	if c.rootCAFile != "" {
		ca, err := os.ReadFile(c.rootCAFile)
		if err != nil {
			return config, fmt.Errorf("flag --root-ca-file: %w", err)
		}
		config.RootCA, config.Authentication.ClientCA = ca, ca
	}
	if c.frontProxyCAFile != "" {
		ca, err := os.ReadFile(c.frontProxyCAFile)
		if err != nil {
			return config, fmt.Errorf("flag --requestheader-client-ca-file: %w", err)
		}
		config.Authentication.FrontProxyCA = ca
	}
	if (c.signingCertFile == "") != (c.signingKeyFile == "") {
		return config, usageError{errors.New("flags --cluster-signing-cert-file and --cluster-signing-key-file: one is of no use without the other")}
	}
	if c.signingCertFile != "" {
		authority, err := certs.LoadFiles(c.signingCertFile, c.signingKeyFile)
		if err != nil {
			return config, fmt.Errorf("flags --cluster-signing-cert-file, --cluster-signing-key-file: %w", err)
		}
		config.Signing.Authority = authority
	}
	return config, nil
}

// agents returns a dialer that shows agents the controllers' certificate. A
// process that runs other services, too, may show another one otherwise.
func (c *controllerSettings) agents(p *process, tel telemetry.Set) (*agentDialer, error) {
	if (c.agentCertFile == "") != (c.agentKeyFile == "") {
		return nil, usageError{errors.New("flags --agent-client-cert-file and --agent-client-key-file: one is of no use without the other")}
	}
	if c.agentCertFile == "" {
		return newAgentDialer(p, p.bundle, tel), nil
	}
	bundle, err := certs.LoadBundle(p.config.CAFile, c.agentCertFile, c.agentKeyFile)
	if err != nil {
		return nil, fmt.Errorf("flags --agent-client-cert-file, --agent-client-key-file: %w", err)
	}
	bundle.OnReload(p.reloaded)
	return newAgentDialer(p, bundle, tel), nil
}

func newControllerCommand() *cobra.Command {
	settings := &controllerSettings{Config: controller.DefaultConfig()}
	settings.LeaderElect = true
	return storeClient{
		name: "controller", short: "Run the controllers", defaultListen: "127.0.0.1:10257",
		settings: settings,
		make: func(p *process, tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			config, err := settings.load(p)
			if err != nil {
				return nil, err
			}
			agents, err := settings.agents(p, tel)
			if err != nil {
				return nil, err
			}
			return controller.New(config, tel, conn, agents)
		},
	}.command()
}

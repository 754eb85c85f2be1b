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
// the authority's certificate, for publishing, and the one that signs.
type controllerSettings struct {
	controller.Config
	rootCAFile                      string
	signingCertFile, signingKeyFile string
}

// AddFlags implements settings.
func (c *controllerSettings) AddFlags(fs *pflag.FlagSet) {
	c.Config.AddFlags(fs)
	fs.StringVar(&c.rootCAFile, "root-ca-file", "", "PEM certificate that is published to pods in kube-root-ca.crt")
	fs.StringVar(&c.signingCertFile, "cluster-signing-cert-file", "", "PEM certificate of the authority that signs approved certificate requests; empty: none are signed")
	fs.StringVar(&c.signingKeyFile, "cluster-signing-key-file", "", "PEM key of that authority")
}

// load reads what the settings name.
func (c *controllerSettings) load() (controller.Config, error) {
	config := c.Config
	if c.rootCAFile != "" {
		ca, err := os.ReadFile(c.rootCAFile)
		if err != nil {
			return config, fmt.Errorf("flag --root-ca-file: %w", err)
		}
		config.RootCA = ca
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

func newControllerCommand() *cobra.Command {
	settings := &controllerSettings{Config: controller.DefaultConfig()}
	settings.LeaderElect = true
	return storeClient{
		name: "controller", short: "Run the controllers", defaultListen: "127.0.0.1:10257",
		settings: settings,
		make: func(p *process, tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			config, err := settings.load()
			if err != nil {
				return nil, err
			}
			return controller.New(config, tel, conn, newAgentDialer(p, tel))
		},
	}.command()
}

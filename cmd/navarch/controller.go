package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/controller"
)

// controllerSettings are the controllers' settings, with the file that holds
// the authority's certificate.
type controllerSettings struct {
	controller.Config
	rootCAFile string
}

// AddFlags implements settings.
func (c *controllerSettings) AddFlags(fs *pflag.FlagSet) {
	c.Config.AddFlags(fs)
	fs.StringVar(&c.rootCAFile, "root-ca-file", "", "PEM certificate that is published to pods in kube-root-ca.crt")
}

// load reads what the settings name.
func (c *controllerSettings) load() (controller.Config, error) {
	if c.rootCAFile == "" {
		return c.Config, nil
	}
	ca, err := os.ReadFile(c.rootCAFile)
	if err != nil {
		return c.Config, fmt.Errorf("flag --root-ca-file: %w", err)
	}
	config := c.Config
	config.RootCA = ca
	return config, nil
}

func newControllerCommand() *cobra.Command {
	settings := &controllerSettings{Config: controller.DefaultConfig()}
	settings.LeaderElect = true
	return storeClient{
		name: "controller", short: "Run the controllers", defaultListen: "127.0.0.1:10257",
		settings: settings,
		make: func(tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			config, err := settings.load()
			if err != nil {
				return nil, err
			}
			return controller.New(config, tel, conn)
		},
	}.command()
}

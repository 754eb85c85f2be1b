package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/agent"
	"navarch.dev/navarch/services/proxy"
)

// newCleanupCommand makes the hidden command by which `down` removes a node's
// pods, links, tables and control groups, from within the node's network
// namespace. It takes the agent's flags, so that it finds what the agent made.
func newCleanupCommand() *cobra.Command {
	config := agent.DefaultConfig()
	var settings processConfig
	var unused string
	cmd := &cobra.Command{Use: "node-cleanup", Hidden: true, Args: cobra.NoArgs}
	settings.addFlags(cmd.Flags())
	config.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&unused, "store", "", "")
	cmd.Flags().StringVar(&unused, "listen", "", "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings.DebugListen = ""
		return runProcess(cmd.Context(), settings, config.NodeName, func(ctx context.Context, p *process) error {
			tel, err := p.telemetry(ctx, "cleanup")
			if err != nil {
				return err
			}
			routing := proxy.DefaultConfig()
			routing.ClusterID, routing.Node = config.ClusterID, config.NodeName
			routing.ServiceCIDR = config.ServiceCIDR
			if len(config.ClusterDNS) > 0 {
				routing.DNSAddress = config.ClusterDNS[0]
			}
			return errors.Join(agent.Purge(ctx, config, tel), proxy.Cleanup(ctx, routing, tel.Log))
		})
	}
	return cmd
}

package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/cmd/navarch/localcluster"
)

func newDownCommand() *cobra.Command {
	var dataDir string
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster on this machine and remove what the host holds of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return localcluster.Down(cmd.Context(), slog.New(slog.NewTextHandler(os.Stderr, nil)), dataDir, purge)
		},
	}
	addConfigFlag(cmd.Flags())
	cmd.Flags().StringVar(&dataDir, "data-dir", localcluster.DefaultDataDir, "folder of the cluster's data")
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the data too")
	return cmd
}

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/internal/version"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "navarch %s\nKubernetes API %s\n%s %s/%s\n",
				version.Navarch(), version.Kubernetes, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

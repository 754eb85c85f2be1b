package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is a call that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "navarch",
		Short:         "Kubernetes re-founded on gRPC",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return applySettings(cmd.Flags())
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newUpCommand(), newDownCommand(),
		newControlPlaneCommand(),
		newStoreCommand(), newSchedulerCommand(), newControllerCommand(), newGatewayCommand(),
		newAgentCommand(), newProxyCommand(), newHollowCommand(),
		newImageCommand(), newTraceCommand(), newExplainCommand(), newHistoryCommand(),
		newCertsCommand(), newVersionCommand(), newCleanupCommand(),
	)
	reportUsageErrors(root)
	return root
}

// reportUsageErrors makes every command's complaint about its arguments a
// usageError, and unknown subcommands too.
func reportUsageErrors(cmd *cobra.Command) {
	check := cmd.Args
	cmd.Args = func(c *cobra.Command, args []string) error {
		if c.HasSubCommands() && len(args) > 0 {
			return usageError{fmt.Errorf("unknown command %q for %q (have %s)", args[0], c.CommandPath(), subcommandNames(c))}
		}
		if check == nil {
			return nil
		}
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w; usage: %s", err, c.UseLine())}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		reportUsageErrors(sub)
	}
}

func subcommandNames(c *cobra.Command) string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return strings.Join(names, ", ")
}

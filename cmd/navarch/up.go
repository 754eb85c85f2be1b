package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/cmd/navarch/localcluster"
	"navarch.dev/navarch/internal/audit"
)

// readyFD is where a detached supervisor reports to the command that started
// it: one line that begins with "ready" or says what is wrong.
const readyFD = 3

// detachedVariable tells a supervisor that it is the detached one.
const detachedVariable = "NAVARCH_UP_DETACHED"

func newUpCommand() *cobra.Command {
	var options localcluster.Options
	var detach bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a whole cluster on this machine",
		Long: "Run a whole cluster on this machine. Without flags it has one node, the host itself; with --nodes N each node is\n" +
			"a network namespace on a private bridge. Stopping the services leaves pods running; a later up on the same data\n" +
			"folder adopts them.",
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	addConfigFlag(fs)
	fs.IntVar(&options.Nodes, "nodes", 0, "number of nodes (default: as the data folder holds, or 1)")
	fs.StringVar(&options.DataDir, "data-dir", localcluster.DefaultDataDir, "folder of the cluster's data")
	fs.StringVar(&options.Kubeconfig, "kubeconfig", "", "file to write the kubeconfig to (default DATA-DIR/kubeconfig)")
	fs.StringVar(&options.GatewayListen, "gateway-listen", "", "address:port of the Kubernetes API (default 127.0.0.1:6443)")
	fs.BoolVar(&detach, "detach", false, "return when the cluster is ready; it goes on in the background")
	fs.BoolVar(&options.SplitServices, "split-services", false, "run each service of the control plane as a process of its own")
	addSchedulerConfigFlag(fs, &options.SchedulerConfig)
	options.Audit.AddFlags(fs)
	fs.StringArrayVar(&options.RegistryMirrors, "registry-mirror", nil, "HOST=URL: pull images of registry HOST from URL, in which host.navarch.internal is this machine (may be repeated)")
	fs.BoolVar(&options.FastFailover, "fast-failover", false, "replace the pods of a failed node within seconds; nodes that cannot reach the Store stop theirs")
	fs.StringVar(&options.BinDir, "bin-dir", localcluster.BinDir(), "folder of runc, navarch-shim and, in cni/, the CNI plugins")
	fs.StringVar(&options.LogLevel, "log-level", "info", "debug, info, warn or error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if detach && os.Getenv(detachedVariable) == "" {
			return upDetached(cmd.Context(), cmd.OutOrStdout(), options.DataDir)
		}
		return up(cmd.Context(), cmd.OutOrStdout(), options)
	}
	return cmd
}

func up(ctx context.Context, out io.Writer, options localcluster.Options) error {
	start := time.Now()
	report := func(line string) { _, _ = fmt.Fprintln(out, line) }
	if os.Getenv(detachedVariable) != "" {
		parent := os.NewFile(readyFD, "ready")
		report = func(line string) {
			_, _ = fmt.Fprintln(parent, line)
			_ = parent.Close()
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := checkSchedulerConfig(options.SchedulerConfig)
	if err == nil {
		err = checkAudit(&options.Audit)
	}
	var cluster *localcluster.Cluster
	if err == nil {
		cluster, err = localcluster.Prepare(ctx, log, options)
	}
	if err == nil {
		defer cluster.Close()
		err = cluster.Run(ctx, func(s localcluster.Summary) {
			releaseStart(ctx)
			report(fmt.Sprintf("ready in %.1fs  nodes %d  KUBECONFIG=%s", time.Since(start).Seconds(), s.Nodes, s.Kubeconfig))
		})
	}
	if err != nil && os.Getenv(detachedVariable) != "" {
		report(err.Error())
	}
	return err
}

// checkSchedulerConfig says what is wrong with the file before a service that
// is given it fails again and again.
func checkSchedulerConfig(file string) error {
	if file == "" {
		return nil
	}
	if _, _, err := readSchedulerConfig(file); err != nil {
		return usageError{err}
	}
	return nil
}

// checkAudit is the same for the audit policy.
func checkAudit(config *audit.Config) error {
	if err := config.Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// upDetached starts the same command again in a session of its own and waits
// until it reports.
func upDetached(ctx context.Context, out io.Writer, dataDir string) error {
	if err := localcluster.RequireRoot(); err != nil {
		return err
	}
	layout, err := localcluster.NewLayout(dataDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(layout.Log("up")), 0o700); err != nil {
		return fmt.Errorf("create the folder of logs: %w", err)
	}
	logFile, err := os.OpenFile(layout.Log("up"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the supervisor's log: %w", err)
	}
	defer func() { _ = logFile.Close() }()
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("open a pipe to the supervisor: %w", err)
	}
	defer func() { _ = read.Close() }()
	cmd := exec.Command(executable, os.Args[1:]...) //nolint:gosec // This program, with the user's own arguments.
	cmd.Env = append(os.Environ(), detachedVariable+"=1")
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{write} // becomes readyFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if err := relay(out, read, layout.Log("up")); err != nil {
		_ = cmd.Wait() // it stops all that it has started, and tells in its log
		if ctx.Err() != nil {
			return errors.New("interrupted before the cluster was ready")
		}
		return err
	}
	return nil
}

// relay passes the supervisor's report on to the user.
func relay(out io.Writer, from io.Reader, log string) error {
	line, err := bufio.NewReader(from).ReadString('\n')
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "ready in "):
		_, err = fmt.Fprintln(out, line)
		return err
	case line != "":
		return errors.New(line)
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("hear from the supervisor: %w", err)
	default:
		return fmt.Errorf("the supervisor stopped before the cluster was ready: see %s", log)
	}
}

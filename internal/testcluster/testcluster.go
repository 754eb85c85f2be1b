// Package testcluster runs real clusters for tests: the built navarch program,
// real etcd, runc, CNI and nftables, and the stock kubectl. Each cluster has a
// data folder and a port of its own and is removed when its test ends, also
// when it fails.
//
// The programs are taken from the folder that NAVARCH_BIN_DIR names, by default
// bin/ at the top of the repository (`make build`).
package testcluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options say what cluster to run.
type Options struct {
	// Nodes is how many; 0 is one.
	Nodes int
	// SplitServices runs each service as a process of its own.
	SplitServices bool
	// Args are added to `navarch up`.
	Args []string
}

// Cluster is a running cluster.
type Cluster struct {
	// Dir is its data folder.
	Dir string
	// Kubeconfig is the file that gives access to it.
	Kubeconfig string
	// ReadyLine is what `navarch up` printed.
	ReadyLine string

	options Options
	gateway string
	kubectl string // the program, in the folder of programs
}

// commandTime bounds a single command of a test, so that a hanging one fails
// with what it printed.
const commandTime = 3 * time.Minute

// Start runs a cluster until the test ends.
func Start(tb testing.TB, options Options) *Cluster {
	tb.Helper()
	// Not tb.TempDir: a mount left below it by a bug would be followed when it
	// is removed.
	dir, err := os.MkdirTemp("", "navarch-test-")
	if err != nil {
		tb.Fatal(err)
	}
	c := &Cluster{Dir: dir, options: options, gateway: freeAddress(tb), kubectl: "kubectl"}
	c.Kubeconfig = filepath.Join(dir, "kubeconfig")
	tb.Cleanup(func() {
		if tb.Failed() {
			c.dumpLogs(tb)
		}
		c.remove(tb)
	})
	c.Up(tb)
	return c
}

// Up starts the cluster's services, again after Stop.
func (c *Cluster) Up(tb testing.TB) {
	tb.Helper()
	args := []string{"up", "--detach", "--data-dir", c.Dir, "--gateway-listen", c.gateway}
	if c.options.Nodes > 0 {
		args = append(args, "--nodes", strconv.Itoa(c.options.Nodes))
	}
	if c.options.SplitServices {
		args = append(args, "--split-services")
	}
	c.ReadyLine = strings.TrimSpace(c.Navarch(tb, append(args, c.options.Args...)...))
}

// Stop stops the services and leaves the pods running.
func (c *Cluster) Stop(tb testing.TB) {
	tb.Helper()
	pid := c.PID(tb, "up")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		tb.Fatalf("stop the supervisor: %v", err)
	}
	Eventually(tb, "the supervisor ends", func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
}

func (c *Cluster) remove(tb testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, Binary("navarch"), "down", "--purge", "--data-dir", c.Dir).CombinedOutput()
	if err != nil {
		tb.Errorf("navarch down: %v\n%s", err, out)
		return
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		tb.Error(err)
	}
}

// dumpLogs shows the end of each process's log.
func (c *Cluster) dumpLogs(tb testing.TB) {
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "logs", "*.log"))
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		const most = 6000
		if len(data) > most {
			data = data[len(data)-most:]
		}
		tb.Logf("--- %s\n%s", filepath.Base(path), data)
	}
}

// PID returns the pid of one of the cluster's processes: "up",
// "control-plane", "agent-node-1", …
func (c *Cluster) PID(tb testing.TB, process string) int {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, "run", process+".pid"))
	if err != nil {
		tb.Fatalf("find the process: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		tb.Fatalf("find the process: %v", err)
	}
	return pid
}

// Kill ends one of the cluster's processes with SIGKILL and returns when the
// supervisor has started it again.
func (c *Cluster) Kill(tb testing.TB, process string) {
	tb.Helper()
	pid := c.PID(tb, process)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		tb.Fatalf("kill %s: %v", process, err)
	}
	Eventually(tb, process+" is started again", func() error {
		data, err := os.ReadFile(filepath.Join(c.Dir, "run", process+".pid"))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(data)) == strconv.Itoa(pid) {
			return fmt.Errorf("it is still process %d", pid)
		}
		return nil
	})
}

// Navarch runs the navarch program and returns what it printed. An error fails
// the test.
func (c *Cluster) Navarch(tb testing.TB, args ...string) string {
	tb.Helper()
	return run(tb, nil, Binary("navarch"), args...)
}

// Tool runs a navarch subcommand that looks into this cluster.
func (c *Cluster) Tool(tb testing.TB, args ...string) string {
	tb.Helper()
	return c.Navarch(tb, append(args, "--data-dir", c.Dir)...)
}

// UsingKubectl returns the same cluster, whose kubectl is another of the built
// programs.
func (c *Cluster) UsingKubectl(program string) *Cluster {
	other := *c
	other.kubectl = program
	return &other
}

// Kubectl runs kubectl against the cluster and returns its standard output. An
// error fails the test.
func (c *Cluster) Kubectl(tb testing.TB, args ...string) string {
	tb.Helper()
	return run(tb, nil, Binary(c.kubectl), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}

// KubectlInput is Kubectl with something on standard input.
func (c *Cluster) KubectlInput(tb testing.TB, input string, args ...string) string {
	tb.Helper()
	return run(tb, []byte(input), Binary(c.kubectl), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}

// KubectlCommand returns a command that is not started yet.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, Binary(c.kubectl), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}

// KubectlFails runs kubectl, which must fail, and returns all it printed.
func (c *Cluster) KubectlFails(tb testing.TB, args ...string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), commandTime)
	defer cancel()
	out, err := c.KubectlCommand(ctx, args...).CombinedOutput()
	if err == nil {
		tb.Fatalf("kubectl %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

// RESTConfig returns a client-go configuration for the cluster.
func (c *Cluster) RESTConfig(tb testing.TB) *rest.Config {
	tb.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		tb.Fatalf("read the kubeconfig: %v", err)
	}
	config.QPS = -1
	return config
}

// Clientset returns a typed client-go client for the cluster.
func (c *Cluster) Clientset(tb testing.TB) *kubernetes.Clientset {
	tb.Helper()
	clientset, err := kubernetes.NewForConfig(c.RESTConfig(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return clientset
}

// Binary returns the path of one of the built programs.
func Binary(name string) string { return filepath.Join(binDir(), name) }

func binDir() string {
	if dir := os.Getenv("NAVARCH_BIN_DIR"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, serr := os.Stat(filepath.Join(dir, "go.mod")); serr == nil {
			return filepath.Join(dir, "bin")
		}
		dir = filepath.Dir(dir)
	}
	return "bin"
}

func run(tb testing.TB, input []byte, program string, args ...string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if input != nil {
		cmd.Stdin = bytes.NewReader(input)
	}
	if err := cmd.Run(); err != nil {
		tb.Fatalf("%s %s: %v\n%s%s", filepath.Base(program), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"navarch.dev/navarch/cmd/navarch/localcluster"
	"navarch.dev/navarch/internal/busybox"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
)

// commandTime bounds one command.
const commandTime = 3 * time.Minute

// bench is one run: its options, its clusters, its results.
type bench struct {
	options
	work  string
	lines []line
	// shared is the cluster that most rows use, once it is started.
	shared *cluster
}

func newBench(o options) (*bench, error) {
	work, err := os.MkdirTemp(o.dir, "navarch-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a folder to work in: %w", err)
	}
	if o.binDir, err = filepath.Abs(o.binDir); err != nil {
		return nil, fmt.Errorf("find the programs: %w", err)
	}
	return &bench{options: o, work: work}, nil
}

func (b *bench) close(ctx context.Context) {
	if b.shared != nil {
		if err := b.shared.remove(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return
		}
	}
	_ = os.RemoveAll(b.work)
}

func (b *bench) program(name string) string { return filepath.Join(b.binDir, name) }

// cluster returns the shared cluster and starts it if need be.
func (b *bench) cluster(ctx context.Context) (*cluster, error) {
	if b.shared != nil {
		return b.shared, nil
	}
	c, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	b.shared = c
	return c, nil
}

// cluster is a cluster of one node, run by the built program.
type cluster struct {
	bench   *bench
	dir     string
	started time.Duration
	client  *kubernetes.Clientset
	config  *rest.Config
	loaded  bool
}

// start runs a new cluster and returns when its node is ready.
func (b *bench) start(ctx context.Context) (*cluster, error) {
	dir, err := os.MkdirTemp(b.work, "cluster-")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	c := &cluster{bench: b, dir: dir}
	c.started, err = timed(func() error {
		return c.navarch(ctx, "up", "--detach", "--gateway-listen", address)
	})
	if err != nil {
		return nil, errors.Join(err, c.remove(context.WithoutCancel(ctx)))
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig")); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	c.config.QPS = -1
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return c, nil
}

func (c *cluster) navarch(ctx context.Context, args ...string) error {
	return command(ctx, c.bench.program("navarch"), append(args, "--data-dir", c.dir)...)
}

func (c *cluster) remove(ctx context.Context) error { return c.navarch(ctx, "down", "--purge") }

// loadImage puts the image that pods run onto the node, once.
func (c *cluster) loadImage(ctx context.Context) error {
	if c.loaded {
		return nil
	}
	path := filepath.Join(c.bench.work, "busybox.tar")
	if err := busybox.WriteImage(path); err != nil {
		return err
	}
	c.loaded = true
	return c.navarch(ctx, "image", "load", path)
}

// supervisor is the pid of `navarch up`.
func (c *cluster) supervisor() (int, error) {
	data, err := os.ReadFile(localcluster.Layout{Dir: c.dir}.PidFile("up"))
	if err != nil {
		return 0, fmt.Errorf("find the supervisor: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// dialStore connects to the Store's gRPC port as the local user.
func (c *cluster) dialStore() (*grpc.ClientConn, error) {
	endpoints, bundle, err := localcluster.Access(c.dir)
	if err != nil {
		return nil, err
	}
	return rpc.Dial(telemetry.Discard("bench"), endpoints.Store, bundle.Client(certs.ServerName("store")))
}

// command runs a program to its end. What it says goes to a file: a pipe would
// be waited for as long as a detached child holds it.
func command(ctx context.Context, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	said, err := os.CreateTemp("", "navarch-bench-")
	if err != nil {
		return fmt.Errorf("run %s: %w", filepath.Base(program), err)
	}
	defer func() { _, _ = said.Close(), os.Remove(said.Name()) }()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = said
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(program), args[0], err, strings.TrimSpace(string(text)))
	}
	return nil
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// startTimeout is the longest that a server may take until it is ready.
const startTimeout = 5 * time.Minute

// server is a control plane that answers the Kubernetes API.
type server struct {
	name string
	url  string
	tls  *tls.Config
	// processes are what is measured: all but etcd.
	processes []*exec.Cmd
	etcd      *exec.Cmd
	nodes     int // how many it has been given
}

// peers are the two that are compared; nil is one that is not measured.
type peers struct {
	options
	work          string
	navarch, kube *server

	// fail ends the programs and all that is done with them.
	fail    context.CancelCauseFunc
	running sync.WaitGroup // counts the programs
}

// arrangement is which services take part.
type arrangement string

const (
	none    arrangement = "none"    // programs that the row starts itself
	apiOnly arrangement = "api"     // what serves the API
	full    arrangement = "cluster" // with scheduler and controllers
	// compared is what serves the API, with the one controller of Navarch's that
	// kube-apiserver has within it: that of custom kinds.
	compared arrangement = "compared"
)

// start starts both and waits until they are ready. All ends with ctx, which fail
// ends.
func start(ctx context.Context, fail context.CancelCauseFunc, o options, a arrangement) (*peers, error) {
	work, err := os.MkdirTemp(o.dir, "peers-")
	if err != nil {
		return nil, err
	}
	p := &peers{options: o, work: work, fail: fail}
	if o.only != "kube" {
		p.navarch, err = p.startServer(ctx, "navarch", a, p.startNavarch)
	}
	if err == nil && o.only != "navarch" {
		p.kube, err = p.startServer(ctx, "kubernetes", a, p.startKube)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	if a == none {
		return p, nil
	}
	for _, s := range p.both(0) {
		if err := s.prepare(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare %s: %w", s.name, err), p.stop())
		}
	}
	return p, nil
}

// stop ends all processes and removes their data.
func (p *peers) stop() error {
	p.fail(errStopped)
	p.running.Wait()
	if p.keep {
		fmt.Fprintf(os.Stderr, "kept %s\n", p.work)
		return nil
	}
	return os.RemoveAll(p.work)
}

// endpoints are what a server is started with.
type endpoints struct {
	dir    string // holds the certificates, see `navarch certs`
	port   string
	client string // URL of its etcd
}

func (e endpoints) file(name string) string { return filepath.Join(e.dir, name) }

// starter starts the programs of a side.
type starter func(context.Context, *server, endpoints, arrangement) error

func (p *peers) startServer(ctx context.Context, name string, a arrangement, programs starter) (*server, error) {
	e := endpoints{dir: filepath.Join(p.work, name)}
	s := &server{name: name}
	if a == none {
		return s, nil
	}
	var err error
	if e.port, err = freePort(ctx); err != nil {
		return nil, err
	}
	if s.etcd, e.client, err = p.startEtcd(ctx, e.dir); err != nil {
		return s, err
	}
	certs := p.command(ctx, "navarch", "certs", "--dir", e.dir, "--server", "127.0.0.1:"+e.port)
	if out, err := certs.CombinedOutput(); err != nil {
		return s, fmt.Errorf("make certificates: %w: %s", err, out)
	}
	if s.tls, err = adminTLS(e); err != nil {
		return s, err
	}
	s.url = "https://127.0.0.1:" + e.port
	return s, programs(ctx, s, e, a)
}

// startProgram starts one of a side's programs.
func (p *peers) startProgram(s *server, cmd *exec.Cmd, e endpoints) error {
	if err := p.run(cmd, e.file(filepath.Base(cmd.Path)+".log")); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	return nil
}

// errStopped is why programs end when they have been measured.
var errStopped = errors.New("the programs are stopped")

// run starts a program. If it ends by itself nothing that is measured would ever
// come to an end, so everything else ends with it.
func (p *peers) run(cmd *exec.Cmd, log string) error {
	if err := logTo(cmd, log); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.running.Go(func() {
		_ = cmd.Wait() // how it ended is in its state
		said, _ := os.ReadFile(log)
		p.fail(fmt.Errorf("%s ended: %v; it said: %s", filepath.Base(cmd.Path), cmd.ProcessState, said[max(0, len(said)-2000):]))
	})
	return nil
}

// reason is why something failed: err, unless a program ended before.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errStopped) {
		return cause
	}
	return err
}

// startEtcd starts an etcd on a fresh folder and returns its client URL.
func (p *peers) startEtcd(ctx context.Context, dir string) (*exec.Cmd, string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	clients, err := freePort(ctx)
	if err != nil {
		return nil, "", err
	}
	members, err := freePort(ctx)
	if err != nil {
		return nil, "", err
	}
	client, member := "http://127.0.0.1:"+clients, "http://127.0.0.1:"+members
	cmd := p.command(ctx, "etcd", "--name=default", "--data-dir="+filepath.Join(dir, "etcd"), "--log-level=error",
		"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls="+member,
		"--initial-advertise-peer-urls="+member, "--initial-cluster=default="+member, "--quota-backend-bytes=8589934592")
	return cmd, client, p.run(cmd, filepath.Join(dir, "etcd.log"))
}

func (p *peers) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.binDir, program), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func logTo(cmd *exec.Cmd, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = f, f // kept open: as long as the process
	return nil
}

func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// adminTLS returns how the first user connects.
func adminTLS(e endpoints) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(e.file("admin.crt"), e.file("admin.key"))
	if err != nil {
		return nil, fmt.Errorf("load the user's certificate: %w", err)
	}
	ca, err := os.ReadFile(e.file("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
}

// client returns an HTTP client with a connection of its own, as every
// Kubernetes client has.
func (s *server) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true, DisableCompression: true, ReadBufferSize: 64 << 10,
	}}
}

// ready waits until the program whose API it is answers it.
func (s *server) ready(ctx context.Context, e endpoints) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := s.client()
	defer c.CloseIdleConnections()
	for {
		_, err := s.do(ctx, c, request{method: http.MethodGet, path: "/readyz"})
		if err == nil {
			return nil
		}
		if wait(ctx, 100*time.Millisecond) != nil {
			log, _ := os.ReadFile(e.file(filepath.Base(s.processes[0].Path) + ".log"))
			return fmt.Errorf("%s is not ready: %w; it said: %s", s.name, err, log[max(0, len(log)-2000):])
		}
	}
}

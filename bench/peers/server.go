package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startTimeout is the longest that a server may take until it is ready.
const startTimeout = 2 * time.Minute

// server is a control plane that answers the Kubernetes API.
type server struct {
	name string
	url  string
	tls  *tls.Config
	// process is what is measured: all but etcd.
	process *exec.Cmd
	etcd    *exec.Cmd
}

// peers are the two that are compared.
type peers struct {
	options
	work          string
	navarch, kube *server
}

// both returns the two in the order of a round: they take turns to be first.
func (p *peers) both(round int) [2]*server {
	if round%2 == 0 {
		return [2]*server{p.navarch, p.kube}
	}
	return [2]*server{p.kube, p.navarch}
}

// start starts both and waits until they are ready.
func start(ctx context.Context, o options) (*peers, error) {
	work, err := os.MkdirTemp(o.dir, "peers-")
	if err != nil {
		return nil, err
	}
	p := &peers{options: o, work: work}
	if p.navarch, err = p.startServer(ctx, "navarch", p.navarchCommand); err == nil {
		p.kube, err = p.startServer(ctx, "kube-apiserver", p.kubeCommand)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
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
	for _, s := range []*server{p.navarch, p.kube} {
		if s == nil {
			continue
		}
		for _, c := range []*exec.Cmd{s.process, s.etcd} {
			if c != nil && c.Process != nil {
				_ = c.Process.Kill()
				_ = c.Wait()
			}
		}
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

func (p *peers) startServer(ctx context.Context, name string, command func(context.Context, endpoints) (*exec.Cmd, error)) (*server, error) {
	e := endpoints{dir: filepath.Join(p.work, name)}
	s := &server{name: name}
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
	if s.process, err = command(ctx, e); err != nil {
		return s, err
	}
	if err := logTo(s.process, e.file("log")); err != nil {
		return s, err
	}
	if err := s.process.Start(); err != nil {
		return s, fmt.Errorf("start %s: %w", name, err)
	}
	if err := s.ready(ctx); err != nil {
		tail, _ := os.ReadFile(e.file("log"))
		return s, fmt.Errorf("%w; it said: %s", err, tail[max(0, len(tail)-2000):])
	}
	return s, nil
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
	if err := logTo(cmd, filepath.Join(dir, "etcd.log")); err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start etcd: %w", err)
	}
	return cmd, client, nil
}

// navarchCommand is the Store and the gateway in one process: what the reference
// is, without scheduler and controllers.
func (p *peers) navarchCommand(ctx context.Context, e endpoints) (*exec.Cmd, error) {
	grpcPort, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	return p.command(ctx, "navarch", "control-plane", "--without=scheduler,controller", "--etcd-endpoints="+e.client,
		"--listen=127.0.0.1:"+grpcPort, "--gateway-listen=127.0.0.1:"+e.port, "--log-level=warn",
		"--ca-file="+e.file("ca.crt"), "--cert-file="+e.file("store.crt"), "--key-file="+e.file("store.key"),
		"--service-account-key-file="+e.file("service-account.key")), nil
}

func (p *peers) kubeCommand(ctx context.Context, e endpoints) (*exec.Cmd, error) {
	if err := writePublicKey(e.file("service-account.key"), e.file("service-account.pub")); err != nil {
		return nil, err
	}
	return p.command(ctx, "peers/kube-apiserver", "--etcd-servers="+e.client, "--bind-address=127.0.0.1", "--secure-port="+e.port,
		"--client-ca-file="+e.file("ca.crt"), "--tls-cert-file="+e.file("store.crt"), "--tls-private-key-file="+e.file("store.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+e.file("service-account.pub"),
		"--service-account-signing-key-file="+e.file("service-account.key"), "--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "--cert-dir="+e.file("kube")), nil
}

// writePublicKey writes the public part of a PKCS #8 key, which is all that
// kube-apiserver reads to verify tokens.
func writePublicKey(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return fmt.Errorf("%s holds no PEM", from)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("%s holds a %T, which has no public key", from, key)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return fmt.Errorf("encode the public key of %s: %w", from, err)
	}
	return os.WriteFile(to, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
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

// ready waits until the server is.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := s.client()
	defer c.CloseIdleConnections()
	for {
		_, err := s.do(ctx, c, request{method: http.MethodGet, path: "/readyz"})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", s.name, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

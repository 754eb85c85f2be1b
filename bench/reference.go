package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"navarch.dev/navarch/services/store/backend/etcd"
)

// referenceCommand makes this program serve a reference, in a process of its
// own as what it is compared with is.
const referenceCommand = "serve-reference"

// readyLine is what a reference prints when it serves.
const readyLine = "ready"

// serveReference runs until ctx ends. Its arguments are "etcd DIR ADDRESS", or
// "http FILE ADDRESS CERTIFICATE KEY".
func serveReference(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "etcd":
		return serveEtcd(ctx, args[1], args[2])
	case len(args) == 5 && args[0] == "http":
		return serveFile(ctx, args[1], args[2], args[3], args[4])
	}
	return fmt.Errorf("unusable arguments %q", args)
}

// serveEtcd serves a bare etcd that has the Store's settings.
func serveEtcd(ctx context.Context, dir, address string) error {
	cfg := etcd.DefaultConfig()
	cfg.Dir = dir
	ec := etcd.ServerConfig(cfg, slog.New(slog.DiscardHandler))
	ec.ListenClientUrls = []url.URL{{Scheme: "http", Host: address}}
	ec.AdvertiseClientUrls = ec.ListenClientUrls
	server, err := embed.StartEtcd(ec)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		return fmt.Errorf("start etcd: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Println(readyLine)
	<-ctx.Done()
	return nil
}

// serveFile answers every request with the same bytes.
func serveFile(ctx context.Context, file, address, cert, key string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	context.AfterFunc(ctx, func() { _ = server.Close() })
	listener, err := listen(ctx, address)
	if err != nil {
		return err
	}
	fmt.Println(readyLine)
	if err := server.ServeTLS(listener, cert, key); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", file, err)
	}
	return nil
}

// reference is a running reference process.
type reference struct {
	address string
	// started is how long it took until it served.
	started time.Duration
	cmd     *exec.Cmd
}

// reference starts a reference of a kind; see serveReference.
func (b *bench) reference(ctx context.Context, kind, what string, args ...string) (*reference, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	r := &reference{address: address}
	r.cmd = exec.CommandContext(ctx, self, append([]string{referenceCommand, kind, what, address}, args...)...)
	r.cmd.Stderr = os.Stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.started, err = timed(func() error {
		if err := r.cmd.Start(); err != nil {
			return err
		}
		_, err := bufio.NewReader(stdout).ReadString('\n')
		return err
	})
	if err != nil {
		r.stop()
		return nil, fmt.Errorf("start the reference %s: %w", kind, err)
	}
	return r, nil
}

// etcdReference starts a bare etcd on a fresh folder.
func (b *bench) etcdReference(ctx context.Context) (*reference, error) {
	dir, err := os.MkdirTemp(b.work, "etcd-")
	if err != nil {
		return nil, err
	}
	return b.reference(ctx, "etcd", dir)
}

func (r *reference) stop() {
	if r.cmd.Process != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	}
}

// client returns a client of an etcd reference, over a connection of its own.
func (r *reference) client() (*clientv3.Client, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{r.address}, DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("connect to the reference etcd: %w", err)
	}
	return c, nil
}

// put creates a key as the Store does: in a transaction that fails if the key
// is there.
func put(ctx context.Context, c *clientv3.Client, key, value string) error {
	resp, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if !resp.Succeeded {
		return fmt.Errorf("put %s: it is there already", key)
	}
	return nil
}

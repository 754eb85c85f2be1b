// Package etcd is a Backend kept by etcd: by a server inside this process,
// which listens nowhere and is reached by function calls, or by an external
// cluster.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/etcd/direct"
)

const (
	// requestTimeout bounds one request; etcd gives up on its own a little
	// earlier when it has no leader.
	requestTimeout = 10 * time.Second
	dialTimeout    = 5 * time.Second
	// streamWindow and connWindow bound what etcd may send ahead. That they are
	// set keeps gRPC from measuring the connection with a ping for each answer.
	streamWindow = 4 << 20
	connWindow   = 16 << 20
	// maxTxnOps is etcd's limit for one transaction.
	maxTxnOps = 128
	// maxRequestBytes is the largest transaction.
	maxRequestBytes = 3 << 20
)

// Backend is a backend.Backend on etcd.
type Backend struct {
	client *clientv3.Client
	// kv is what the client speaks to. Transactions go there directly: the
	// client's own way of putting them together copies them several times.
	kv etcdserverpb.KVClient
	// sizes are how large transactions and their answers may be.
	sizes []grpc.CallOption
	// watcher is where watches go directly, for the same reason.
	watcher etcdserverpb.WatchClient
	// direct is the connection of both to an external cluster; nil without one.
	direct *direct.Client
	// server is nil with an external cluster.
	server  *server
	leases  *leases
	watches *watches
	groups  groups
	// roster is nil with the embedded etcd, which has no other users.
	roster  *roster
	touched touched
	running sync.WaitGroup // counts what runs until Close
	log     *slog.Logger
	// open ends with Close.
	open  context.Context
	close context.CancelFunc
}

// Open starts the embedded etcd, or connects to the external one, and returns
// once it answers or ctx ends.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Backend, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure etcd: %w", err)
	}
	b := &Backend{
		log: log, watches: newWatches(),
		sizes: []grpc.CallOption{grpc.MaxCallSendMsgSize(2 * maxRequestBytes), grpc.MaxCallRecvMsgSize(math.MaxInt32)},
	}
	b.groups.send, b.groups.sendWaiting = b.send, b.sendWaiting
	b.open, b.close = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if len(cfg.Endpoints) == 0 {
		if b.server, err = startServer(ctx, cfg, log); err != nil {
			return nil, err
		}
		b.client, b.kv, b.watcher = b.server.client(), b.server.kv(), b.server.watcher()
	} else if err := b.dial(ctx, cfg, log); err != nil {
		return nil, err
	}
	b.leases = newLeases(b.client)
	if b.server == nil {
		if err := b.register(ctx, cfg); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	if _, err := b.Revision(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach etcd: %w", err), b.Close())
	}
	return b, nil
}

// register enters this Store into the roster of an external etcd's users.
func (b *Backend) register(ctx context.Context, cfg Config) error {
	b.roster = newRoster(b.client, b.kv, cfg, b.log)
	own, err := b.roster.join(ctx)
	if err != nil {
		return err
	}
	b.roster.enter(own)
	b.running.Go(func() { b.roster.run(b.open, own) })
	return nil
}

// dial connects to the external cluster, or begins to.
func (b *Backend) dial(ctx context.Context, cfg Config, log *slog.Logger) error {
	tlsConfig, err := cfg.clientTLS()
	if err != nil {
		return err
	}
	if b.client, err = usual(cfg, tlsConfig, log); err != nil {
		return err
	}
	b.direct = direct.New(direct.Config{
		Endpoints: cfg.Endpoints, TLS: tlsConfig, Usual: b.client.ActiveConnection(), Log: log,
		Metadata: []string{"user-agent", "navarch", rpctypes.MetadataClientAPIVersionKey, version.APIVersion},
	})
	b.direct.Connect(ctx)
	b.kv = directKV{clientv3.RetryKVClient(b.client), etcdserverpb.NewKVClient(b.direct)}
	b.watcher = etcdserverpb.NewWatchClient(b.direct)
	return nil
}

// directKV makes transactions directly, and all else by etcd's client, which repeats
// what may be repeated.
type directKV struct {
	etcdserverpb.KVClient
	direct etcdserverpb.KVClient
}

// Txn implements etcdserverpb.KVClient.
func (kv directKV) Txn(ctx context.Context, req *etcdserverpb.TxnRequest, opts ...grpc.CallOption) (*etcdserverpb.TxnResponse, error) {
	return kv.direct.Txn(ctx, req, opts...)
}

// usual returns etcd's own client of the external cluster.
func usual(cfg Config, tlsConfig *tls.Config, log *slog.Logger) (*clientv3.Client, error) {
	// The usual waits of up to two minutes between attempts to connect would have a
	// Store be without state for as long after etcd is back.
	again := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: tlsConfig, DialTimeout: dialTimeout,
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
		MaxCallSendMsgSize: maxRequestBytes, Logger: zapTo(log),
		DialOptions: []grpc.DialOption{
			grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: dialTimeout}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %v: %w", cfg.Endpoints, err)
	}
	return client, nil
}

// Stopped is closed when the embedded etcd has stopped by itself, which it
// does when it cannot go on. With an external cluster it never is.
func (b *Backend) Stopped() <-chan struct{} {
	if b.server == nil {
		return nil
	}
	return b.server.stopped()
}

// Close implements backend.Backend. It stops the embedded etcd.
func (b *Backend) Close() error {
	b.close()
	b.running.Wait()
	if b.direct != nil {
		b.direct.Close()
	}
	err := b.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if b.server != nil {
		b.server.close()
	}
	return err
}

// Count implements backend.Backend.
func (b *Backend) Count(ctx context.Context, prefix string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := b.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", prefix, translate(err))
	}
	return resp.Count, nil
}

// Revision implements backend.Backend.
func (b *Backend) Revision(ctx context.Context) (int64, error) {
	if b.open.Err() != nil {
		return 0, fmt.Errorf("read etcd's revision: %w: it is closed", backend.ErrUnavailable)
	}
	if b.server != nil {
		return stateAfter(b.server.revision()), nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	revision, err := b.roster.revision(ctx)
	if err != nil {
		return 0, fmt.Errorf("read etcd's revision: %w", translate(err))
	}
	return stateAfter(revision), nil
}

// Known implements backend.Backend: while no other Store writes, this one knows.
func (b *Backend) Known(prefix string) (int64, bool) {
	switch {
	case b.open.Err() != nil:
		return 0, false
	case b.server != nil:
		return stateAfter(b.touched.last(prefix, b.server.revision)), true
	}
	known, ok := b.roster.known(func() int64 { return b.touched.last(prefix, b.roster.newest.Load) })
	return stateAfter(known), ok
}

// translate turns etcd's errors into the backend's. A context's own error
// stays what it is.
func translate(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return backend.ErrCompacted
	case errors.Is(err, rpctypes.ErrFutureRev):
		return backend.ErrFutureRevision
	case errors.Is(err, rpctypes.ErrNoSpace):
		return backend.ErrNoSpace
	case errors.Is(err, rpctypes.ErrRequestTooLarge), status.Code(err) == codes.ResourceExhausted:
		return fmt.Errorf("%w: %w", backend.ErrTooLarge, err)
	case errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}

var _ backend.Backend = (*Backend)(nil)

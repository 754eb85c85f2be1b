package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
)

// server is the embedded etcd: one member, no listeners.
type server struct {
	etcd  *embed.Etcd
	quota int64
	room  *room
}

// startServer starts the embedded etcd and returns once it answers.
func startServer(ctx context.Context, cfg Config, log *slog.Logger) (*server, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make etcd's data folder: %w", err)
	}
	e, err := embed.StartEtcd(ServerConfig(cfg, log))
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return &server{etcd: e, quota: cfg.QuotaBytes, room: newRoom(cfg.Dir, log)}, nil
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = errors.New("it stopped by itself")
	}
	e.Close()
	return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
}

// ServerConfig returns the settings of the embedded etcd: a small member that
// is alone and listens nowhere.
func ServerConfig(cfg Config, log *slog.Logger) *embed.Config {
	ec := embed.NewConfig()
	ec.Name = "navarch"
	ec.Dir = cfg.Dir
	// Nobody connects: the client makes function calls, and there are no
	// peers. The advertised URL is only this member's name in the raft log.
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	ec.ListenPeerUrls, ec.ListenClientUrls = nil, nil
	ec.AdvertisePeerUrls, ec.AdvertiseClientUrls = []url.URL{nowhere}, []url.URL{nowhere}
	ec.InitialCluster = ec.Name + "=" + nowhere.String()
	// No follower needs to catch up from memory.
	ec.SnapshotCount, ec.SnapshotCatchUpEntries = 5000, 100
	ec.MaxTxnOps, ec.MaxRequestBytes = maxTxnOps, maxRequestBytes
	ec.QuotaBackendBytes = cfg.QuotaBytes
	ec.BootstrapDefragThresholdMegabytes = 64
	ec.WatchProgressNotifyInterval = time.Minute
	ec.StrictReconfigCheck = false
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(log))
	return ec
}

func (s *server) client() *clientv3.Client { return v3client.New(s.etcd.Server) }

// kv is the part of client that transactions go to.
func (s *server) kv() etcdserverpb.KVClient {
	return adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(s.etcd.Server))
}

// watcher is the part of client that watches go to.
func (s *server) watcher() etcdserverpb.WatchClient {
	return adapter.WatchServerToWatchClient(v3rpc.NewWatchServer(s.etcd.Server))
}

// revision returns that of etcd's last transaction. A member that is alone answers a
// write only after it has applied it, so that what it holds is the newest state: to
// ask raft for that takes several goroutines, and finds nothing else.
func (s *server) revision() int64 { return s.etcd.Server.KV().Rev() }

func (s *server) stopped() <-chan struct{} { return s.etcd.Server.StopNotify() }

func (s *server) close() { s.etcd.Close() }

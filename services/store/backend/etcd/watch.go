package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"navarch.dev/navarch/services/store/backend"
)

// prefixHeader keeps the watches of different prefixes in streams apart.
const prefixHeader = "navarch-watch-prefix"

// streamContext returns ctx as every watch of a prefix uses it. The client puts
// watches of equal metadata into one stream, and etcd answers a stream's
// progress request only when all of its watches have reached the revisions they
// begin at. A new watch begins at the next revision, so that in a stream shared
// by all prefixes it would keep the others from learning how far they are until
// something is written, which may be waiting for just that.
func (b *Backend) streamContext(ctx context.Context, prefix string) context.Context {
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(prefixHeader, prefix))
	if b.server == nil {
		// A member that has lost its cluster must end the watch, not fall
		// silent.
		ctx = clientv3.WithRequireLeader(ctx)
	}
	return ctx
}

// Watch implements backend.Backend.
func (b *Backend) Watch(ctx context.Context, prefix string, revision int64) <-chan backend.Batch {
	out := make(chan backend.Batch)
	responses := b.client.Watch(b.streamContext(ctx, prefix), prefix, clientv3.WithPrefix(), clientv3.WithRev(revision), clientv3.WithProgressNotify())
	go func() {
		defer close(out)
		for resp := range responses {
			batch := batchOf(prefix, resp)
			select {
			case out <- batch:
			case <-ctx.Done():
				return
			}
			if batch.Err != nil {
				return
			}
		}
		if ctx.Err() == nil {
			select {
			case out <- backend.Batch{Err: fmt.Errorf("watch %s: the stream ended: %w", prefix, backend.ErrUnavailable)}:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// batchOf translates one response. etcd never splits a revision over
// responses.
func batchOf(prefix string, resp clientv3.WatchResponse) backend.Batch {
	if err := resp.Err(); err != nil {
		return backend.Batch{Err: fmt.Errorf("watch %s: %w", prefix, translate(err))}
	}
	if resp.IsProgressNotify() {
		return backend.Batch{Progress: resp.Header.Revision}
	}
	events := make([]backend.Event, len(resp.Events))
	for i, e := range resp.Events {
		events[i] = backend.Event{
			KeyValue: backend.KeyValue{Key: string(e.Kv.Key), Value: e.Kv.Value, Revision: e.Kv.ModRevision},
			Deleted:  e.Type == clientv3.EventTypeDelete,
		}
	}
	return backend.Batch{Events: events}
}

// RequestProgress implements backend.Backend.
func (b *Backend) RequestProgress(ctx context.Context, prefix string) error {
	if err := b.client.RequestProgress(b.streamContext(ctx, prefix)); err != nil {
		return fmt.Errorf("ask etcd for the progress of watches: %w", err)
	}
	return nil
}

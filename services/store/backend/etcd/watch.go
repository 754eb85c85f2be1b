package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"navarch.dev/navarch/services/store/backend"
)

// watchHeader keeps the streams of different watches apart.
const watchHeader = "navarch-watch"

// watches are the open watches.
//
// The client puts watches of equal metadata into one stream, which must not
// happen: a request for progress concerns a whole stream. etcd answers it only
// when all of the stream's watches have reached the revisions they begin at, so
// that a new one, which begins at the next revision, would keep the others from
// learning how far they are. And the answer goes to every watch that the stream
// has by the time it is sent: also to one that was added after the question and
// still lacks changes of the past, for which it is not true.
type watches struct {
	mu   sync.Mutex // guards the fields below
	last uint64
	open map[*watch]struct{}
}

// watch is one open watch.
type watch struct {
	prefix string
	// key is the metadata that no other watch has.
	key string

	mu sync.RWMutex // guards ended; held while etcd is asked something
	// ended says that the stream is gone: to ask would open another.
	ended bool
}

func newWatches() *watches { return &watches{open: make(map[*watch]struct{})} }

// prepare returns a watch that nobody asks for its progress yet.
func (ws *watches) prepare(prefix string) *watch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.last++
	return &watch{prefix: prefix, key: strconv.FormatUint(ws.last, 10)}
}

func (ws *watches) add(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.open[w] = struct{}{}
}

func (ws *watches) remove(w *watch) {
	ws.mu.Lock()
	delete(ws.open, w)
	ws.mu.Unlock()
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
}

func (ws *watches) of(prefix string) []*watch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var found []*watch
	for w := range ws.open {
		if w.prefix == prefix {
			found = append(found, w)
		}
	}
	return found
}

// streamContext returns ctx as everything that concerns a watch uses it.
func (b *Backend) streamContext(ctx context.Context, w *watch) context.Context {
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs(watchHeader, w.key))
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
	w := b.watches.prepare(prefix)
	// The stream has a context of its own: once it is open, it must not end
	// before nobody asks it for progress any more.
	inner, cancel := context.WithCancel(b.streamContext(context.WithoutCancel(ctx), w))
	opened := context.AfterFunc(ctx, cancel)
	responses := b.client.Watch(inner, prefix, clientv3.WithPrefix(), clientv3.WithRev(revision), clientv3.WithProgressNotify())
	opened()
	b.watches.add(w)
	go func() {
		defer close(out)
		defer cancel()
		defer b.watches.remove(w)
		deliver(ctx, prefix, responses, out)
	}()
	return out
}

// deliver hands responses on until ctx or the watch ends.
func deliver(ctx context.Context, prefix string, responses clientv3.WatchChan, out chan<- backend.Batch) {
	for {
		var batch backend.Batch
		select {
		case <-ctx.Done():
			return
		case resp, ok := <-responses:
			if batch = batchOf(prefix, resp); !ok {
				batch = backend.Batch{Err: fmt.Errorf("watch %s: the stream ended: %w", prefix, backend.ErrUnavailable)}
			}
		}
		select {
		case out <- batch:
		case <-ctx.Done():
			return
		}
		if batch.Err != nil {
			return
		}
	}
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
	var errs []error
	for _, w := range b.watches.of(prefix) {
		errs = append(errs, b.requestProgress(ctx, w))
	}
	return errors.Join(errs...)
}

func (b *Backend) requestProgress(ctx context.Context, w *watch) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.ended {
		return nil
	}
	if err := b.client.RequestProgress(b.streamContext(ctx, w)); err != nil {
		return fmt.Errorf("ask etcd for the progress of watches: %w", err)
	}
	return nil
}

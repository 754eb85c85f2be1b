package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"navarch.dev/navarch/services/store/backend"
)

// watches are the open watches.
//
// Each has a stream of its own: a request for progress concerns a whole stream.
// etcd answers it only when all of the stream's watches have reached the
// revisions they begin at, so that a new one, which begins at the next
// revision, would keep the others from learning how far they are. And the
// answer goes to every watch that the stream has by the time it is sent: also to
// one that was added after the question and still lacks changes of the past, for
// which it is not true.
type watches struct {
	mu   sync.Mutex // guards open
	open map[*watch]struct{}
}

// watch is one open watch.
type watch struct {
	prefix string
	// from is the first revision whose changes are wanted.
	from   int64
	stream etcdserverpb.Watch_WatchClient
	// sending is held while something is sent on the stream.
	sending sync.Mutex
}

func newWatches() *watches { return &watches{open: make(map[*watch]struct{})} }

func (ws *watches) add(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.open[w] = struct{}{}
}

func (ws *watches) remove(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.open, w)
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

// Watch implements backend.Backend. The changes are read from etcd's stream by
// the goroutine that iterates: the client's own watcher, which can resume a
// watch and put many into one stream, passes each through several, and whoever
// watches here knows where to resume.
func (b *Backend) Watch(ctx context.Context, prefix string, revision int64) iter.Seq[backend.Batch] {
	return func(yield func(backend.Batch) bool) {
		err := b.follow(ctx, prefix, revision, yield)
		if err == nil || ctx.Err() != nil {
			return
		}
		if b.open.Err() != nil {
			err = fmt.Errorf("%w: it is closed", backend.ErrUnavailable)
		}
		yield(backend.Batch{Err: fmt.Errorf("watch %s: %w", prefix, err)})
	}
}

// follow hands changes on until somebody wants no more, which is no error, or
// the watch ends.
func (b *Backend) follow(ctx context.Context, prefix string, revision int64, yield func(backend.Batch) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.open, cancel)()
	if b.server == nil {
		// A member that has lost its cluster must end the watch, not fall
		// silent.
		ctx = clientv3.WithRequireLeader(ctx)
	}
	stream, err := b.watcher.Watch(ctx, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return translate(err)
	}
	w := &watch{prefix: prefix, from: revision, stream: stream}
	if err := w.begin(); err != nil {
		return err
	}
	b.watches.add(w)
	defer b.watches.remove(w)
	for {
		batch, err := w.next()
		if err != nil {
			return err
		}
		if len(batch.Events) > 0 {
			b.shown(prefix, batch.Progress>>slotBits)
		}
		if !yield(batch) {
			return nil
		}
	}
}

// begin asks for the changes, and waits until etcd has promised them.
func (w *watch) begin() error {
	transaction, _, err := split(w.from)
	if err != nil {
		return err
	}
	err = w.send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{
			Key: []byte(w.prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(w.prefix)),
			StartRevision: transaction, ProgressNotify: true,
		},
	}})
	if err != nil {
		return err
	}
	_, err = w.receive()
	return err
}

// next waits for what etcd tells next. etcd never splits a transaction over
// responses, so that with the events of one there is nothing left of it.
func (w *watch) next() (backend.Batch, error) {
	resp, err := w.receive()
	if err != nil {
		return backend.Batch{}, err
	}
	if len(resp.GetEvents()) == 0 {
		return backend.Batch{Progress: stateAfter(resp.GetHeader().GetRevision())}, nil
	}
	events := make([]backend.Event, 0, len(resp.GetEvents()))
	var last int64
	for _, e := range resp.GetEvents() {
		last = e.GetKv().GetModRevision()
		event := backend.Event{KeyValue: keyValue(e.GetKv()), Deleted: e.GetType() == mvccpb.DELETE}
		if event.Revision >= w.from {
			events = append(events, event)
		}
	}
	slices.SortStableFunc(events, func(a, b backend.Event) int { return cmp.Compare(a.Revision, b.Revision) })
	return backend.Batch{Events: events, Progress: stateAfter(last)}, nil
}

// receive returns a response that does not end the watch.
func (w *watch) receive() (*etcdserverpb.WatchResponse, error) {
	resp, err := w.stream.Recv()
	switch {
	case err != nil:
		return nil, translate(err)
	case resp.GetCompactRevision() != 0:
		return nil, backend.ErrCompacted
	case resp.GetCanceled():
		return nil, fmt.Errorf("%w: etcd ended the watch: %s", backend.ErrUnavailable, resp.GetCancelReason())
	}
	return resp, nil
}

// send sends a request. If the stream has ended, receive says why.
func (w *watch) send(req *etcdserverpb.WatchRequest) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	err := w.stream.Send(req)
	if err == nil || errors.Is(err, io.EOF) || w.stream.Context().Err() != nil {
		return nil
	}
	return translate(err)
}

// RequestProgress implements backend.Backend.
func (b *Backend) RequestProgress(_ context.Context, prefix string) error {
	var errs []error
	for _, w := range b.watches.of(prefix) {
		err := w.send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{
			ProgressRequest: &etcdserverpb.WatchProgressRequest{},
		}})
		if err != nil {
			errs = append(errs, fmt.Errorf("ask etcd for the progress of a watch of %s: %w", prefix, err))
		}
	}
	return errors.Join(errs...)
}

package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
)

const (
	// watchBatch is how many changes a watcher takes at a time.
	watchBatch = 256
	// lastBookmark is how long before a watch's deadline it gets a last
	// bookmark, so that the next watch begins where this one ended.
	lastBookmark = 2 * time.Second

	expiredWatch = "The resourceVersion for the provided watch is too old."
)

// Watch implements the RPC.
func (s *Store) Watch(req *storev1.WatchRequest, stream grpc.ServerStreamingServer[storev1.WatchResponse]) error {
	ctx := stream.Context()
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: "watch", namespace: req.GetNamespace(),
		labels: req.GetLabelSelector(), fields: req.GetFieldSelector(),
	})
	if err != nil {
		return err
	}
	leave := sc.leaveInTime()
	defer leave()
	selector, err := codec.ParseSelector(sc.kind, req.GetLabelSelector(), req.GetFieldSelector())
	if err != nil {
		return err
	}
	w := &watch{
		store: s, scope: sc, selector: selector, stream: stream,
		form:   cache.Form{Encoding: req.GetEncoding(), Projection: req.GetProjection()},
		prefix: s.registry.KeyPrefix(sc.kind, sc.namespace),
	}
	defer s.followers.enter(sc)()
	label := sc.kind.GroupResource().String()
	w.sent = s.metrics.events.WithLabelValues(label)
	s.metrics.watchers.WithLabelValues(label).Inc()
	defer s.metrics.watchers.WithLabelValues(label).Dec()
	err = w.begin(ctx, req)
	if w.watcher != nil {
		defer w.watcher.Stop()
	}
	if err != nil {
		return err
	}
	leave() // what lasts takes nobody's turn
	err = w.follow(ctx, req.GetAllowBookmarks())
	if errors.Is(err, errRetired) {
		return nil
	}
	if errors.Is(err, cache.ErrSlow) {
		s.metrics.cutOff.WithLabelValues(label).Inc()
	}
	return historyError(err, expiredWatch)
}

// watch is one client's watch.
type watch struct {
	store    *Store
	scope    scope
	selector codec.Selector
	form     cache.Form
	prefix   string
	stream   grpc.ServerStreamingServer[storev1.WatchResponse]

	sent    prometheus.Counter
	watcher *cache.Watcher
	batch   []*storev1.WatchEvent
	size    int
	// alone is what a message of the first event of batch alone holds; nil if there
	// is none.
	alone *storev1.WatchResponse_Events
}

// begin says that the watch is live and sends the present objects, where they
// are asked for.
func (w *watch) begin(ctx context.Context, req *storev1.WatchRequest) error {
	c := w.store.registry.Cache(w.scope.kind)
	part := w.part()
	rv := req.GetResourceVersion()
	revision, invalid := parseRevision(rv)
	if invalid != nil {
		return apierrors.NewInvalid(schema.GroupKind{Group: w.scope.kind.Group, Kind: w.scope.kind.Resource}, "", field.ErrorList{invalid})
	}
	if err := w.store.await(ctx, c, rv); err != nil {
		return err
	}
	if revision > 0 && !req.GetSendInitialEvents() {
		var err error
		if w.watcher, err = c.Watch(revision, part); err != nil {
			return historyError(err, expiredWatch)
		}
		return w.started(revision)
	}
	labels := w.selector.Labels()
	c.Want(labels)
	snapshot, watcher := c.WatchPresent(part)
	w.watcher = watcher
	if err := w.started(snapshot.Revision); err != nil || req.GetOmitInitialEvents() {
		return err
	}
	return w.present(ctx, snapshot.Labelled(labels), req.GetSendInitialEvents() && req.GetAllowBookmarks())
}

// part is what the watch is woken by.
func (w *watch) part() cache.Part {
	p := cache.Part{Only: w.selector.Exactly(w.scope.kind.WatchField), Prefix: w.prefix}
	name, one := w.selector.Name()
	if one && name != "" && (w.scope.namespace != "" || !w.scope.kind.Namespaced) {
		p.Key = w.prefix + name
	}
	return p
}

func (w *watch) started(revision int64) error {
	cols, err := columns(w.scope.kind, w.form)
	if err != nil {
		return err
	}
	return w.stream.Send(&storev1.WatchResponse{Message: &storev1.WatchResponse_Started{
		Started: &storev1.WatchStarted{ResourceVersion: cache.ResourceVersion(revision), TableColumns: cols},
	}})
}

// present sends the objects that there are, then, if marked, the bookmark that
// says so.
func (w *watch) present(ctx context.Context, snapshot cache.Snapshot, marked bool) error {
	var sent error
	err := snapshot.Ascend(ctx, w.prefix, "", func(stored *cache.Version) bool {
		var v *cache.Version
		if v, sent = stored.As(w.scope.kind); sent == nil && w.selector.Matches(v) {
			sent = w.add(storev1.WatchEvent_TYPE_ADDED, v)
		}
		return sent == nil
	})
	if err == nil {
		err = sent
	}
	if err == nil && marked {
		err = w.bookmark(snapshot.Revision, true)
	}
	if err != nil {
		return err
	}
	return w.flush()
}

// follow sends changes until the client or the cache ends the watch.
func (w *watch) follow(ctx context.Context, bookmarks bool) error {
	ctx, cancel := untilRetired(ctx, w.scope.kind)
	defer cancel()
	// What there is to wait for comes by one channel: a watcher that waits for
	// several costs twice as much to wake.
	var due, ended atomic.Bool
	defer context.AfterFunc(ctx, func() {
		ended.Store(true)
		w.watcher.Wake()
	})()
	timer := time.AfterFunc(w.untilBookmark(ctx), func() {
		due.Store(true)
		w.watcher.Wake()
	})
	defer timer.Stop()
	for !ended.Load() {
		late := due.Swap(false)
		events, revision, err := w.watcher.Next(watchBatch)
		if err != nil {
			return err
		}
		if err := w.send(events); err != nil {
			return err
		}
		if late {
			timer.Reset(w.untilBookmark(ctx))
		}
		if late && bookmarks {
			// The changes before it went first.
			if err := w.bookmarkNow(revision); err != nil {
				return err
			}
		}
		<-w.watcher.Woken()
	}
	return context.Cause(ctx)
}

// untilBookmark is how long to wait for the next bookmark: the usual interval,
// but one shortly before the watch's deadline.
func (w *watch) untilBookmark(ctx context.Context) time.Duration {
	interval := w.store.cfg.BookmarkInterval
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline) - lastBookmark; left > 0 && left < interval {
			return left
		}
	}
	return interval
}

func (w *watch) bookmarkNow(revision int64) error {
	if err := w.bookmark(revision, false); err != nil {
		return err
	}
	return w.flush()
}

// send sends those of the changes that the client has asked for.
func (w *watch) send(events []cache.Event) error {
	for _, e := range events {
		if len(e.Version.Key) < len(w.prefix) || e.Version.Key[:len(w.prefix)] != w.prefix {
			continue
		}
		if err := w.change(e); err != nil {
			return err
		}
	}
	return w.flush()
}

// change sends one change as the selector sees it: an object that begins to
// match is added, one that ceases to is deleted.
func (w *watch) change(e cache.Event) error {
	now, err := viewed(e.Version, w.scope.kind)
	if err != nil {
		return err
	}
	prev, err := viewed(e.Prev, w.scope.kind)
	if err != nil {
		return err
	}
	was, is := w.selector.Matches(prev), !e.Deleted && w.selector.Matches(now)
	switch {
	case was && is:
		return w.add(storev1.WatchEvent_TYPE_MODIFIED, now)
	case is:
		return w.add(storev1.WatchEvent_TYPE_ADDED, now)
	case was && e.Deleted:
		return w.add(storev1.WatchEvent_TYPE_DELETED, now)
	case was:
		return w.add(storev1.WatchEvent_TYPE_DELETED, prev.GoneAt(e.Revision))
	}
	return nil
}

// viewed returns a version as a kind; nil stays nil.
func viewed(v *cache.Version, kind *kinds.Kind) (*cache.Version, error) {
	if v == nil {
		return nil, nil
	}
	return v.As(kind)
}

// add puts an event into the message to be sent, which goes once it is large.
func (w *watch) add(t storev1.WatchEvent_Type, v *cache.Version) error {
	event, alone, err := v.Event(t, w.form)
	if err != nil {
		return err
	}
	if len(w.batch) == 0 {
		w.alone = alone
	}
	w.batch = append(w.batch, event)
	if w.size += weight(event.GetObject()); w.size >= batchBytes {
		return w.flush()
	}
	return nil
}

func (w *watch) bookmark(revision int64, initialEnd bool) error {
	obj, err := cache.Bookmark(w.scope.kind, revision, initialEnd, w.form)
	if err != nil {
		return err
	}
	w.batch = append(w.batch, &storev1.WatchEvent{
		Type: storev1.WatchEvent_TYPE_BOOKMARK, Object: obj,
		ResourceVersion: cache.ResourceVersion(revision), InitialEventsEnd: initialEnd,
	})
	return nil
}

func (w *watch) flush() error {
	if len(w.batch) == 0 {
		return nil
	}
	events, rest := w.alone, w.batch[:0]
	if events == nil || len(w.batch) > 1 {
		events = &storev1.WatchResponse_Events{Events: &storev1.WatchEvents{Events: w.batch}}
		rest = nil // who receives the message may keep it
	}
	n := len(w.batch)
	clear(rest[:cap(rest)]) // a watch that sleeps keeps nothing alive
	w.batch, w.size, w.alone = rest, 0, nil
	err := w.stream.Send(&storev1.WatchResponse{Message: events})
	w.sent.Add(float64(n))
	return err
}

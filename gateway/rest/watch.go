package rest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/apistatus"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// minWatch is the least time that a watch without timeoutSeconds lasts. Up to
// twice as long, at random, so that watches opened together do not end so.
const minWatch = 30 * time.Minute

// watch serves a watch. An error is returned only while nothing was written.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	req, timeout, err := watchRequest(r, t, f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	go func() {
		select {
		case <-h.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	sink := &watchSink{w: w, flush: http.NewResponseController(w).Flush, encoder: newEventEncoder(t, f)}
	err = h.Streams.Watch(ctx, req, sink.take)
	switch {
	case ctx.Err() != nil && sink.started, err == nil, errors.Is(err, errClientGone):
		return nil
	case !sink.started && ctx.Err() != nil && r.Context().Err() == nil:
		// It lasted as long as it was asked to and nothing happened.
		sink.start()
		return nil
	case !sink.started && !expired(err):
		return err
	case sink.started && status.Code(err) == codes.Unavailable:
		// The Store has gone away. A watch that merely ends is taken up again
		// where it was; an ERROR event would make clients list anew.
		return nil
	}
	return sink.fail(err)
}

// watchRequest turns the request's parameters into the Store's.
func watchRequest(r *http.Request, t routes.Target, f negotiate.Format) (*storev1.WatchRequest, time.Duration, error) {
	q := r.URL.Query()
	q.Set("watch", "true")
	o, err := parseListOptions(q, t.Kind)
	if err != nil {
		return nil, 0, err
	}
	if err := transformable(f, t, true); err != nil {
		return nil, 0, err
	}
	if t.Name != "" {
		o.oneName(t.Name)
	}
	p, err := projection(f, q)
	if err != nil {
		return nil, 0, err
	}
	if o.timeout == 0 {
		o.timeout = minWatch + rand.N(minWatch)
	}
	return &storev1.WatchRequest{
		Resource: resource(t), Namespace: t.Namespace, LabelSelector: o.labels, FieldSelector: o.fields,
		ResourceVersion: o.resourceVersion, AllowBookmarks: o.bookmarks,
		SendInitialEvents: o.initialEvents != nil && *o.initialEvents,
		OmitInitialEvents: o.initialEvents != nil && !*o.initialEvents,
		Encoding:          encoding(f), Projection: p,
	}, o.timeout, nil
}

// expired says whether a watch cannot begin where it was asked to. Clients
// expect to read that from the watch.
func expired(err error) bool {
	s := apistatus.Of(err)
	return s.Code == http.StatusGone
}

var errClientGone = errors.New("the client has gone")

// watchSink writes a watch's events to the client, a batch at a time.
type watchSink struct {
	w       http.ResponseWriter
	flush   func() error
	encoder eventEncoder
	started bool
	buf     []byte
}

func (s *watchSink) start() {
	s.started = true
	s.w.Header().Set("Content-Type", s.encoder.contentType())
	s.w.Header().Set("Cache-Control", "no-cache, private")
	s.w.WriteHeader(http.StatusOK)
	_ = s.flush() // a client that has gone is noticed at the first event
}

// take writes what the Store says.
func (s *watchSink) take(resp *storev1.WatchResponse) error {
	if started := resp.GetStarted(); started != nil {
		s.encoder.columns(started.GetTableColumns())
		if !s.started {
			s.start()
		}
		return nil
	}
	s.buf = slices.Grow(s.buf[:0], sizeOf(resp.GetEvents().GetEvents()))
	for _, e := range resp.GetEvents().GetEvents() {
		var err error
		if s.buf, err = s.encoder.event(s.buf, e); err != nil {
			return err
		}
	}
	if !s.started {
		s.start()
	}
	return s.send()
}

// eventWrapping is about how much an event is larger than the object in it.
const eventWrapping = 64

// sizeOf returns about how large events are together.
func sizeOf(events []*storev1.WatchEvent) int {
	n := 0
	for _, e := range events {
		n += len(e.GetObject().GetJson()) + len(e.GetObject().GetObject().GetValue()) + eventWrapping
	}
	return n
}

// keepBuffer is the most memory that an idle watch holds for its next batch.
const keepBuffer = 64 << 10

func (s *watchSink) send() error {
	if _, err := s.w.Write(s.buf); err != nil {
		return errClientGone
	}
	if cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	if err := s.flush(); err != nil {
		return errClientGone
	}
	return nil
}

// fail ends the watch with an ERROR event.
func (s *watchSink) fail(err error) error {
	if !s.started {
		s.start()
	}
	b, eerr := s.encoder.failure(s.buf[:0], apistatus.Of(err))
	if eerr != nil {
		return nil //nolint:nilerr // a Status can always be encoded; there is nobody to tell otherwise
	}
	s.buf = b
	_ = s.send() // the client may have gone
	return nil
}

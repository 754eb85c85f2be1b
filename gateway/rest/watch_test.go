package rest

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// script is a Store whose watches play back responses and then fail.
type script struct {
	Streams
	responses []*storev1.WatchResponse
	err       error
	asked     *storev1.WatchRequest
}

func (s *script) Watch(_ context.Context, req *storev1.WatchRequest, use func(*storev1.WatchResponse) error) error {
	s.asked = req
	for _, resp := range s.responses {
		if err := use(resp); err != nil {
			return err
		}
	}
	return s.err
}

func newHandler(streams Streams) *Handler {
	return New(Options{
		Streams: streams, Types: envelope.NewTypes(kinds.Default()), Tracer: noop.NewTracerProvider().Tracer(""),
		Log: slog.New(slog.DiscardHandler), MaxBody: 1 << 20, Timeout: time.Minute, Stopping: make(chan struct{}),
	})
}

func pods(t testing.TB) routes.Target {
	kind, ok := kinds.Default().ForResource(corev1.SchemeGroupVersion.WithResource("pods"))
	if !ok {
		t.Fatal("no pods")
	}
	return routes.Target{Kind: kind, Namespace: "default"}
}

func started() *storev1.WatchResponse {
	return &storev1.WatchResponse{Message: &storev1.WatchResponse_Started{Started: &storev1.WatchStarted{ResourceVersion: "5"}}}
}

func events(all ...*storev1.WatchEvent) *storev1.WatchResponse {
	return &storev1.WatchResponse{Message: &storev1.WatchResponse_Events{Events: &storev1.WatchEvents{Events: all}}}
}

func added(json string) *storev1.WatchEvent {
	return &storev1.WatchEvent{Type: storev1.WatchEvent_TYPE_ADDED, ResourceVersion: "6", Object: &storev1.Object{Json: []byte(json)}}
}

func TestHowWatchesEnd(t *testing.T) {
	expiredErr := apistatus.ToGRPC(apierrors.NewResourceExpired("too old resource version: 1 (5)"))
	for _, tc := range []struct {
		name  string
		store script
		code  int
		want  string // a part of the body
		lines int
	}{
		{"expired at once", script{err: expiredErr}, 200, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (5)","reason":"Expired","code":410}}`, 1},
		{"expired later", script{responses: []*storev1.WatchResponse{started(), events(added(`{"a":1}`))}, err: expiredErr}, 200, `{"type":"ADDED","object":{"a":1}}` + "\n" + `{"type":"ERROR"`, 2},
		{"forbidden", script{err: status.Error(codes.PermissionDenied, "no")}, 403, `"reason":"Forbidden"`, 1},
		{"too slow", script{responses: []*storev1.WatchResponse{started()}, err: status.Error(codes.ResourceExhausted, "too slow")}, 200, `"reason":"TooManyRequests"`, 1},
		{"the Store goes away", script{responses: []*storev1.WatchResponse{started(), events(added(`{}`))}, err: status.Error(codes.Unavailable, "gone")}, 200, `{"type":"ADDED","object":{}}`, 1},
		{"bookmark", script{responses: []*storev1.WatchResponse{started(), events(&storev1.WatchEvent{Type: storev1.WatchEvent_TYPE_BOOKMARK, ResourceVersion: "9", InitialEventsEnd: true})}},
			200, `"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}`, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			newHandler(&tc.store).ServeResource(w, httptest.NewRequest(http.MethodGet, "/?watch=true", nil), pods(t))
			body := w.Body.String()
			if w.Code != tc.code || !strings.Contains(body, tc.want) || strings.Count(body, "\n") != tc.lines {
				t.Errorf("%d %q, want %d with %q in %d lines", w.Code, body, tc.code, tc.want, tc.lines)
			}
		})
	}
}

func TestProtobufWatchError(t *testing.T) {
	store := script{err: apistatus.ToGRPC(apierrors.NewResourceExpired("too old"))}
	r := httptest.NewRequest(http.MethodGet, "/?watch=true&resourceVersion=1", nil)
	r.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
	w := httptest.NewRecorder()
	newHandler(&store).ServeResource(w, r, pods(t))
	frame := w.Body.Bytes()
	if len(frame) < 4 || int(binary.BigEndian.Uint32(frame)) != len(frame)-4 {
		t.Fatalf("no frame: %q", frame)
	}
	var e metav1.WatchEvent
	if err := e.Unmarshal(frame[4:]); err != nil {
		t.Fatal(err)
	}
	_, raw, err := envelope.Open(e.Object.Raw)
	if err != nil {
		t.Fatal(err)
	}
	var s metav1.Status
	if err := s.Unmarshal(raw); err != nil || e.Type != "ERROR" || s.Code != http.StatusGone {
		t.Errorf("event %s %+v, %v", e.Type, s, err)
	}
}

func TestWatchOfOneName(t *testing.T) {
	store := script{responses: []*storev1.WatchResponse{started()}}
	target := pods(t)
	target.Name = "a"
	r := httptest.NewRequest(http.MethodGet, "/?watch=true&fieldSelector=spec.nodeName%3Dn1&resourceVersion=7&allowWatchBookmarks=true", nil)
	newHandler(&store).ServeResource(httptest.NewRecorder(), r, target)
	if got := store.asked.GetFieldSelector(); got != "spec.nodeName=n1,metadata.name=a" {
		t.Errorf("field selector %q", got)
	}
	if store.asked.GetResourceVersion() != "7" || !store.asked.GetAllowBookmarks() || store.asked.GetNamespace() != "default" {
		t.Errorf("asked for %v", store.asked)
	}
}

func FuzzListOptions(f *testing.F) {
	f.Add("watch=1&limit=-1&timeoutSeconds=999999999999999999&resourceVersionMatch=Exact")
	f.Add("sendInitialEvents=&continue=%00")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		o, err := parseListOptions(q, &kinds.Kind{})
		if err == nil && (o.limit < 0 || o.timeout < 0 || o.timeout > 24*time.Hour) {
			t.Errorf("%q gave %+v", query, o)
		}
	})
}

func FuzzDeleteOptions(f *testing.F) {
	f.Add([]byte(`{"gracePeriodSeconds":0,"propagationPolicy":"Orphan"}`), "application/json")
	f.Add([]byte("k8s\x00\x12\x00"), "application/vnd.kubernetes.protobuf")
	f.Add([]byte("dryRun: [All]"), "application/yaml")
	f.Fuzz(func(t *testing.T, body []byte, media string) {
		o, err := decodeDeleteOptions(body, media)
		if err != nil {
			return
		}
		_, _ = storeDeleteOptions(o) // must not panic
	})
}

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/portforward"
	clientportforward "k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"navarch.dev/navarch/internal/podconn"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Forward is what a port-forward leads to.
type Forward struct {
	Pod *corev1.Pod
	// Ports are those that the request names, in the query parameter Parameter.
	// Only WebSockets with channels need any.
	Ports     []int32
	Parameter string
	Log       *slog.Logger
}

// PortForward forwards ports over SPDY, by itself or within a WebSocket. On it the
// client opens a pair of streams, data and error, per connection. Other WebSockets
// have channels for the ports that the request names. The error is as that of
// Exec.
func PortForward(w http.ResponseWriter, r *http.Request, t Forward, dial Dial) error {
	if wsstream.IsWebSocketRequest(r) && !wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		return forwardChannels(w, r, t, dial)
	}
	ctx, node, err := dial(r.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &forwarder{node: node, pod: t.Pod, log: t.Log, pairs: make(map[string]*pair)}
	conn, err := upgradeForward(w, r, func(s httpstream.Stream, replied <-chan struct{}) error {
		return f.opened(ctx, s, replied)
	})
	if errors.Is(err, errAnswered) {
		return nil
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetIdleTimeout(idleTimeout)
	f.connected(conn)
	select {
	case <-conn.CloseChan():
	case <-ctx.Done():
	}
	return nil
}

// pair is the two streams of one forwarded connection.
type pair struct {
	data, failure httpstream.Stream
	expiry        *time.Timer
}

// forwarder joins pairs of streams to ports of one pod.
type forwarder struct {
	node nodev1.NodeServiceClient
	pod  *corev1.Pod
	log  *slog.Logger

	mu    sync.Mutex
	pairs map[string]*pair
	conn  httpstream.Connection
}

// maxPairs bounds what one client can hold open half-way.
const maxPairs = 1024

// upgradeForward turns a request into a SPDY connection.
func upgradeForward(w http.ResponseWriter, r *http.Request, opened httpstream.NewStreamHandler) (httpstream.Connection, error) {
	switch {
	case wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
		upgrader := websocket.Upgrader{
			Subprotocols: []string{portforward.WebsocketsSPDYTunnelingPortForwardV1},
			// Credentials are certificates and headers, which no other
			// site's page can make a browser send along.
			CheckOrigin: func(*http.Request) bool { return true },
		}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return nil, errAnswered
		}
		if ws.Subprotocol() != portforward.WebsocketsSPDYTunnelingPortForwardV1 {
			_ = ws.Close()
			return nil, errAnswered
		}
		conn, err := spdy.NewServerConnection(clientportforward.NewTunnelingConnection("gateway", ws), opened)
		if err != nil {
			return nil, errAnswered // NewServerConnection has closed ws
		}
		return conn, nil
	case httpstream.IsUpgradeRequest(r):
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardV1Name}); err != nil {
			return nil, errAnswered
		}
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, opened)
		if conn == nil {
			return nil, errAnswered
		}
		return conn, nil
	}
	return nil, apierrors.NewBadRequest("Upgrade request required")
}

// connected is told the connection, which may have streams already.
func (f *forwarder) connected(conn httpstream.Connection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn = conn
}

// opened is called for each stream that the client opens.
func (f *forwarder) opened(ctx context.Context, s httpstream.Stream, replied <-chan struct{}) error {
	id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
	if id == "" {
		return errors.New("a forwarded stream has no request ID")
	}
	port, err := strconv.ParseUint(s.Headers().Get(corev1.PortHeader), 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("%q is no port", s.Headers().Get(corev1.PortHeader))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p, known := f.pairs[id]
	if !known {
		if len(f.pairs) == maxPairs {
			return errors.New("too many streams wait for their counterpart")
		}
		p = &pair{expiry: time.AfterFunc(setupTimeout, func() { f.expire(id) })}
		f.pairs[id] = p
	}
	switch kind := s.Headers().Get(corev1.StreamType); {
	case kind == corev1.StreamTypeError && p.failure == nil:
		p.failure = s
	case kind == corev1.StreamTypeData && p.data == nil:
		p.data = s
	default:
		return fmt.Errorf("a stream of type %q was not expected", kind)
	}
	if p.data != nil && p.failure != nil {
		p.expiry.Stop()
		delete(f.pairs, id)
		go func() {
			<-replied
			f.forward(ctx, p, uint32(port))
		}()
	}
	return nil
}

// expire drops a stream whose counterpart never came.
func (f *forwarder) expire(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pairs[id]
	if !ok {
		return
	}
	delete(f.pairs, id)
	for _, s := range []httpstream.Stream{p.data, p.failure} {
		if s != nil {
			_ = s.Reset() // it is dropped either way
			f.forget(s)
		}
	}
}

// forget frees streams. The caller holds mu.
func (f *forwarder) forget(streams ...httpstream.Stream) {
	if f.conn != nil {
		f.conn.RemoveStreams(streams...)
	}
}

// forward joins one pair to a port until both sides have closed.
func (f *forwarder) forward(ctx context.Context, p *pair, port uint32) {
	defer func() {
		_ = p.data.Close()
		_ = p.failure.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.forget(p.data, p.failure)
	}()
	start := &nodev1.PortForwardStart{Namespace: f.pod.Namespace, Pod: f.pod.Name, Port: port}
	if err := podconn.Join(ctx, f.node, start, p.data); err != nil && ctx.Err() == nil {
		f.log.InfoContext(ctx, "port-forward failed", "namespace", f.pod.Namespace, "pod", f.pod.Name, "port", port, "error", err)
		_, _ = io.WriteString(p.failure, failureOf(f.pod, port, err))
	}
}

// failureOf is what a client is told when a port cannot be reached.
func failureOf(pod *corev1.Pod, port uint32, err error) string {
	return fmt.Sprintf("error forwarding port %d to pod %s, uid %s: %s", port, pod.Name, pod.UID, status.Convert(err).Message())
}

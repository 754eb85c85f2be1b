package rpc_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// counted is a listener that counts the connections that were made, and those that
// are open.
type counted struct {
	net.Listener
	made, open atomic.Int32
	closed     chan struct{} // gets one for each that was closed
}

func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.made.Add(1)
	l.open.Add(1)
	return &countedConn{Conn: conn, listener: l}, nil
}

type countedConn struct {
	net.Conn
	listener *counted
	gone     atomic.Bool
}

func (c *countedConn) Close() error {
	if !c.gone.Swap(true) {
		c.listener.open.Add(-1)
		c.listener.closed <- struct{}{}
	}
	return c.Conn.Close()
}

// serveCounted serves until the test ends, and returns how to connect.
func serveCounted(t *testing.T) (*counted, *tls.Config) {
	t.Helper()
	issue := issuer(t)
	serving := issue(certs.Request{Identity: identity.Service(identity.Store), DNSNames: []string{certs.ServerName("store")}})
	server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{TLS: serving.Server()})
	n := &named{name: "a", hangs: make(chan struct{})}
	close(n.hangs)
	storev1.RegisterStoreServiceServer(server, n)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &counted{Listener: listener, closed: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return l, issue(certs.Request{Identity: identity.Node("n1")}).Client(certs.ServerName("store"))
}

// TestStreamsAreBounded reads what a server tells a client that it may do.
func TestStreamsAreBounded(t *testing.T) {
	l, config := serveCounted(t)
	config = config.Clone()
	config.NextProtos = []string{http2.NextProtoTLS}
	conn, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", frame)
	}
	if most, ok := settings.Value(http2.SettingMaxConcurrentStreams); !ok || most != 1000 {
		t.Errorf("a client may have %d streams (%t), want 1000", most, ok)
	}
}

// More calls than a connection takes go on at the same time, and what was made for
// them goes with them.
func TestSpread(t *testing.T) {
	l, config := serveCounted(t)
	conn, err := rpc.DialSpread(telemetry.Discard("test"), l.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	conn.Narrow(10)
	store := storev1.NewStoreServiceClient(conn)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 25 {
		watch, err := store.Watch(ctx, &storev1.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Get(t.Context(), &storev1.GetRequest{}); err != nil {
		t.Errorf("a call beside them: %v", err)
	}
	if made := l.made.Load(); made != 3 {
		t.Errorf("there are %d connections, want 3", made)
	}
	cancel()
	for range 2 {
		<-l.closed
	}
	if _, err := store.Get(t.Context(), &storev1.GetRequest{}); err != nil {
		t.Errorf("a call after them: %v", err)
	}
	if open, made := l.open.Load(), l.made.Load(); open != 1 || made != 3 {
		t.Errorf("%d connections are left of %d, want 1 of 3", open, made)
	}
}

// Connections that are opened after a switch are to the server that was switched to.
func TestSpreadAfterSwitch(t *testing.T) {
	_, target, config := serveNamed(t, "localhost", 2)
	conn, err := rpc.DialSpread(telemetry.Discard("test"), target, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	conn.Narrow(10)
	store := storev1.NewStoreServiceClient(conn)
	if got, err := ask(t, conn, patience); err != nil || got != "a" {
		t.Fatalf("%q answers, want a: %v", got, err)
	}
	conn.Switch()
	for i := range 20 {
		watch, err := store.Watch(t.Context(), &storev1.WatchRequest{})
		if err == nil {
			_, err = watch.Recv()
		}
		if err != nil {
			t.Fatalf("watch %d: %v", i, err)
		}
	}
	if got, err := ask(t, conn, patience); err != nil || got != "b" {
		t.Errorf("%q answers on the third connection, want b: %v", got, err)
	}
}

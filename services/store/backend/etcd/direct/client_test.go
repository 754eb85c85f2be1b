package direct_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"navarch.dev/navarch/services/store/backend/etcd/direct"
)

// peer is a server of gRPC, which answers by the method, and counts its calls.
type peer struct {
	address string
	server  *grpc.Server
	calls   atomic.Int64
	began   chan struct{} // of calls of /wait
}

func newPeer(t *testing.T, opts ...grpc.ServerOption) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{address: l.Addr().String(), began: make(chan struct{}, 100)}
	p.server = grpc.NewServer(append(opts, grpc.UnknownServiceHandler(p.handle))...)
	var serving sync.WaitGroup
	serving.Go(func() { _ = p.server.Serve(l) })
	t.Cleanup(func() {
		p.server.Stop()
		serving.Wait()
	})
	return p
}

func (p *peer) handle(_ any, stream grpc.ServerStream) error {
	p.calls.Add(1)
	method, _ := grpc.MethodFromServerStream(stream)
	switch method {
	case "/test/fails":
		return status.Error(codes.FailedPrecondition, "100 % wrong\nin two lines: ä")
	case "/test/waits":
		p.began <- struct{}{}
		<-stream.Context().Done()
		return stream.Context().Err()
	case "/test/metadata":
		sent, _ := metadata.FromIncomingContext(stream.Context())
		return stream.SendMsg(wrapperspb.Bytes([]byte(sent.Get("of-client")[0] + " " + sent.Get("of-call")[0])))
	}
	for { // everything comes back
		m := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

// usual counts the calls that go there.
type usual struct {
	*grpc.ClientConn
	calls atomic.Int64
}

func (u *usual) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	u.calls.Add(1)
	return u.ClientConn.Invoke(ctx, method, args, reply, opts...)
}

func (u *usual) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	u.calls.Add(1)
	return u.ClientConn.NewStream(ctx, desc, method, opts...)
}

// connect returns a client of servers, whose usual way is to the first.
func connect(t *testing.T, addresses ...string) (*direct.Client, *usual) {
	t.Helper()
	conn, err := grpc.NewClient(addresses[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	cfg := direct.Config{Usual: &usual{ClientConn: conn}, Log: slog.New(slog.DiscardHandler), Metadata: []string{"of-client", "one"}}
	for _, a := range addresses {
		cfg.Endpoints = append(cfg.Endpoints, "http://"+a)
	}
	c := direct.New(cfg)
	t.Cleanup(func() {
		c.Close()
		_ = conn.Close()
	})
	c.Connect(t.Context())
	return c, cfg.Usual.(*usual)
}

// echo makes a call, which should bring back what it sends.
func echo(t *testing.T, c grpc.ClientConnInterface, sent []byte) {
	t.Helper()
	got := new(wrapperspb.BytesValue)
	if err := c.Invoke(t.Context(), "/test/echo", wrapperspb.Bytes(sent), got); err != nil {
		t.Error(err)
	} else if !bytes.Equal(got.GetValue(), sent) {
		t.Errorf("%d bytes came back as %d others", len(sent), len(got.GetValue()))
	}
}

func TestCalls(t *testing.T) {
	p := newPeer(t)
	c, usual := connect(t, p.address)
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			for n := range 200 {
				echo(t, c, bytes.Repeat([]byte{byte(i)}, n*7%1500))
			}
		})
	}
	calls.Wait()
	if p.calls.Load() != 8*200 {
		t.Errorf("the server has seen %d calls", p.calls.Load())
	}
	t.Logf("%d of them went the usual way, as the server let nobody send more", usual.calls.Load())
}

func TestOutcome(t *testing.T) {
	c, usual := connect(t, newPeer(t).address)
	err := c.Invoke(t.Context(), "/test/fails", new(wrapperspb.BytesValue), new(wrapperspb.BytesValue))
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "100 % wrong\nin two lines: ä" {
		t.Errorf("a call that fails: %v", err)
	}
	got := new(wrapperspb.BytesValue)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "of-call", "two")
	if err := c.Invoke(ctx, "/test/metadata", new(wrapperspb.BytesValue), got); err != nil || string(got.GetValue()) != "one two" {
		t.Errorf("metadata: %q, %v", got.GetValue(), err)
	}
	if usual.calls.Load() != 0 {
		t.Errorf("%d calls went the usual way", usual.calls.Load())
	}
}

func TestCancel(t *testing.T) {
	p := newPeer(t)
	c, usual := connect(t, p.address)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		failed <- c.Invoke(ctx, "/test/waits", new(wrapperspb.BytesValue), new(wrapperspb.BytesValue))
	}()
	<-p.began
	stream, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/test/waits")
	if err != nil {
		t.Fatal(err)
	}
	<-p.began
	cancel()
	if err := <-failed; status.Code(err) != codes.Canceled {
		t.Errorf("the call ended with %v", err)
	}
	if err := stream.RecvMsg(new(wrapperspb.BytesValue)); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v", err)
	}
	echo(t, c, []byte("after that")) // the connection has not suffered
	if usual.calls.Load() != 0 {
		t.Errorf("%d calls went the usual way", usual.calls.Load())
	}
}

// Messages may be larger than the windows, on streams also those that are sent.
func TestStream(t *testing.T) {
	c, usual := connect(t, newPeer(t).address)
	stream, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test/echo")
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int{0, 1, 10, 60_000, 1, 60_000, 60_000, 3}
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, size := range sizes {
			if err := stream.SendMsg(wrapperspb.Bytes(make([]byte, size))); err != nil {
				t.Error(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Error(err)
		}
	})
	defer sending.Wait()
	for _, size := range sizes {
		got := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(got); err != nil || len(got.GetValue()) != size {
			t.Fatalf("%d bytes, %v, want %d", len(got.GetValue()), err, size)
		}
	}
	for range 2 {
		if err := stream.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ended with %v", err)
		}
	}
	if usual.calls.Load() != 0 {
		t.Errorf("%d calls went the usual way", usual.calls.Load())
	}
}

// What a server does not take at once goes the usual way, and so does everything
// while there is no connection.
func TestUsual(t *testing.T) {
	c, usual := connect(t, newPeer(t).address)
	echo(t, c, make([]byte, 1<<20))
	if usual.calls.Load() != 1 {
		t.Errorf("a large message went the usual way %d times", usual.calls.Load())
	}
	c.Close()
	echo(t, c, []byte("x"))
	if usual.calls.Load() != 2 {
		t.Errorf("when it was closed %d calls went the usual way", usual.calls.Load()-1)
	}
	for _, endpoint := range []string{"unix:///run/etcd", "https://127.0.0.1:2379", "127.0.0.1:2379", "http://127.0.0.1", ":"} {
		c := direct.New(direct.Config{Endpoints: []string{endpoint}, Usual: usual, Log: slog.New(slog.DiscardHandler)})
		c.Connect(t.Context())
		before := usual.calls.Load()
		echo(t, c, []byte("x"))
		if usual.calls.Load() != before+1 {
			t.Errorf("a call to %q does not go the usual way", endpoint)
		}
		c.Close()
	}
}

// When a server ends, calls fail that are under way, and others are made at the next
// server.
func TestServerEnds(t *testing.T) {
	one, other := newPeer(t), newPeer(t)
	c, _ := connect(t, one.address, other.address)
	failed := make(chan error, 1)
	go func() {
		failed <- c.Invoke(t.Context(), "/test/waits", new(wrapperspb.BytesValue), new(wrapperspb.BytesValue))
	}()
	at, next := one, other
	select {
	case <-one.began:
	case <-other.began:
		at, next = other, one
	}
	at.server.Stop()
	if err := <-failed; status.Code(err) != codes.Unavailable {
		t.Errorf("the call ended with %v", err)
	}
	stream, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test/echo")
	if err == nil {
		err = errors.Join(stream.SendMsg(wrapperspb.Bytes([]byte("x"))), stream.RecvMsg(new(wrapperspb.BytesValue)))
	}
	if err != nil || next.calls.Load() != 1 {
		t.Errorf("after that: %v, the next server has seen %d calls", err, next.calls.Load())
	}
}

func TestTLS(t *testing.T) {
	known := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate
	defer known.Close()
	p := newPeer(t, grpc.Creds(credentials.NewServerTLSFromCert(&known.TLS.Certificates[0])))
	roots := x509.NewCertPool()
	roots.AddCert(known.Certificate())
	for _, test := range []struct {
		name   string
		tls    *tls.Config
		direct bool
	}{
		{"its authority is known", &tls.Config{RootCAs: roots}, true},
		{"its authority is not known", &tls.Config{}, false},
	} {
		conn, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots})))
		if err != nil {
			t.Fatal(err)
		}
		usual := &usual{ClientConn: conn}
		c := direct.New(direct.Config{Endpoints: []string{"https://" + p.address}, TLS: test.tls, Usual: usual, Log: slog.New(slog.DiscardHandler)})
		c.Connect(t.Context())
		echo(t, c, []byte("x"))
		if direct := usual.calls.Load() == 0; direct != test.direct {
			t.Errorf("where %s a call goes directly: %t, want %t", test.name, direct, test.direct)
		}
		c.Close()
		_ = conn.Close()
	}
}

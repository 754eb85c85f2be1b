package rpc_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// patience bounds waits that a test which succeeds does not wait for.
const patience = 20 * time.Second

// named is a service that tells its name, or hangs.
type named struct {
	storev1.UnimplementedStoreServiceServer
	name  string
	hangs chan struct{} // closed: it does not
}

func (n *named) Get(ctx context.Context, _ *storev1.GetRequest) (*storev1.GetResponse, error) {
	select {
	case <-n.hangs:
		return &storev1.GetResponse{Object: &storev1.Object{Json: []byte(n.name)}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *named) Watch(_ *storev1.WatchRequest, stream storev1.StoreService_WatchServer) error {
	if err := stream.Send(&storev1.WatchResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// several starts servers a, b and so on, and connects to all of them. The first
// is known by a name.
func several(t *testing.T, count int) ([]*named, *rpc.SwitchableConn) {
	t.Helper()
	return connect(t, "localhost", count)
}

// one starts a server that is known by a host.
func one(t *testing.T, host string) ([]*named, *rpc.SwitchableConn) {
	t.Helper()
	return connect(t, host, 1)
}

func connect(t *testing.T, host string, count int) ([]*named, *rpc.SwitchableConn) {
	t.Helper()
	all, addresses, client := serveNamed(t, host, count)
	conn, err := rpc.DialSwitchable(telemetry.Discard("test"), addresses, client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return all, conn
}

// serveNamed starts servers, and returns their addresses and how to connect.
func serveNamed(t *testing.T, host string, count int) (all []*named, target string, client *tls.Config) {
	t.Helper()
	issue := issuer(t)
	serving := issue(certs.Request{Identity: identity.Service(identity.Store), DNSNames: []string{certs.ServerName("store")}})
	var addresses []string
	for i := range count {
		n := &named{name: string(rune('a' + i)), hangs: make(chan struct{})}
		close(n.hangs)
		server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{TLS: serving.Server()})
		storev1.RegisterStoreServiceServer(server, n)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(ctx, listener) }()
		t.Cleanup(func() { cancel(); <-done })
		all, addresses = append(all, n), append(addresses, listener.Addr().String())
	}
	addresses[0] = strings.Replace(addresses[0], "127.0.0.1", host, 1)
	return all, strings.Join(addresses, ","), issue(certs.Request{Identity: identity.Node("n1")}).Client(certs.ServerName("store"))
}

// ask returns who answers.
func ask(t *testing.T, conn grpc.ClientConnInterface, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	resp, err := storev1.NewStoreServiceClient(conn).Get(ctx, &storev1.GetRequest{})
	return string(resp.GetObject().GetJson()), err
}

func TestSwitch(t *testing.T) {
	servers, conn := several(t, 3)
	conn.Switch() // nobody was called yet
	for _, want := range []string{"a", "b", "c", "a"} {
		for range 2 {
			if got, err := ask(t, conn, patience); err != nil || got != want {
				t.Fatalf("%q answers, want %q: %v", got, want, err)
			}
		}
		conn.Switch()
	}
	if got, err := ask(t, conn, patience); err != nil || got != "b" {
		t.Fatalf("%q answers, want b: %v", got, err)
	}
	servers[1].hangs = make(chan struct{})
	if got, err := ask(t, conn, 100*time.Millisecond); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("%q answers although it hangs: %v", got, err)
	}
	watch, err := storev1.NewStoreServiceClient(conn).Watch(t.Context(), &storev1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	conn.Switch()
	if got, err := ask(t, conn, patience); err != nil || got != "c" {
		t.Errorf("%q answers, want c, which is next to the one that hangs: %v", got, err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a watch of the server that was left goes on: %v", err)
	}
}

// TestSwitchOfOne has one address only: a name, behind which there may be other
// servers, is connected to anew, one server is not.
func TestSwitchOfOne(t *testing.T) {
	for _, host := range []string{"localhost", "127.0.0.1"} {
		t.Run(host, func(t *testing.T) {
			_, conn := one(t, host)
			if got, err := ask(t, conn, patience); err != nil || got != "a" {
				t.Fatalf("%q answers: %v", got, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			watch, err := storev1.NewStoreServiceClient(conn).Watch(ctx, &storev1.WatchRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := watch.Recv(); err != nil {
				t.Fatal(err)
			}
			conn.Switch()
			if got, err := ask(t, conn, patience); err != nil || got != "a" {
				t.Fatalf("%q answers: %v", got, err)
			}
			want := codes.Unavailable
			if host == "127.0.0.1" {
				want = codes.Canceled
				cancel()
			}
			if _, err := watch.Recv(); status.Code(err) != want {
				t.Errorf("the watch ends with %v, want %v", err, want)
			}
		})
	}
}

package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// fixture is a service whose answers show what reached it.
type fixture struct {
	storev1.UnimplementedStoreServiceServer
	caller   identity.Identity
	span     trace.SpanContext
	metadata []string
	value    any // of the client's context

	mu   sync.Mutex // guards seen
	seen []string   // by interceptors: methods, callers and errors
}

func (f *fixture) note(ctx context.Context, method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, fmt.Sprint(path.Base(method), " of ", identity.FromContext(ctx).Name, ": ", apierrors.ReasonForError(err)))
}

func (f *fixture) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	f.note(ctx, info.FullMethod, err)
	return resp, err
}

func (f *fixture) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	err := handler(srv, stream)
	f.note(stream.Context(), info.FullMethod, err)
	return err
}

type clientKey struct{}

func (f *fixture) Get(ctx context.Context, req *storev1.GetRequest) (*storev1.GetResponse, error) {
	f.caller, f.span = identity.FromContext(ctx), trace.SpanContextFromContext(ctx)
	f.metadata, f.value = metadata.ValueFromIncomingContext(ctx, "fixture"), ctx.Value(clientKey{})
	if err := grpc.SetHeader(ctx, metadata.Pairs("said", "first")); err == nil {
		_ = grpc.SetHeader(ctx, metadata.Pairs("said", "second"))
	}
	switch req.GetName() {
	case "wait":
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	case "derive":
		_, cancel := context.WithCancel(context.WithValue(ctx, clientKey{}, "of the server"))
		defer cancel()
		return &storev1.GetResponse{Object: &storev1.Object{Json: cancellers()}}, nil
	case "panic":
		panic("on purpose")
	case "absent":
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "absent")
	}
	return &storev1.GetResponse{Object: &storev1.Object{Json: []byte(req.GetName())}}, nil
}

func (f *fixture) Watch(req *storev1.WatchRequest, stream grpc.ServerStreamingServer[storev1.WatchResponse]) error {
	f.caller = identity.FromContext(stream.Context())
	_ = stream.SetHeader(metadata.Pairs("said", "by the stream"))
	_ = grpc.SetHeader(stream.Context(), metadata.Pairs("said", "by its context"))
	if req.GetResourceVersion() == "none" {
		return apierrors.NewBadRequest("none")
	}
	for range 3 {
		started := &storev1.WatchStarted{ResourceVersion: req.GetResourceVersion()}
		if err := stream.Send(&storev1.WatchResponse{Message: &storev1.WatchResponse_Started{Started: started}}); err != nil {
			return err
		}
	}
	return apierrors.NewResourceExpired("too old")
}

// issuer returns what issues certificates of one authority.
func issuer(t *testing.T) func(certs.Request) *certs.Bundle {
	t.Helper()
	authority, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return func(r certs.Request) *certs.Bundle {
		t.Helper()
		pair, err := authority.Issue(r)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := authority.Bundle(pair)
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
}

// onBothPaths runs a test over the network with mutual TLS and in process.
func onBothPaths(t *testing.T, id identity.Identity, test func(*testing.T, *fixture, grpc.ClientConnInterface)) {
	bundleOf := issuer(t)
	serving := bundleOf(certs.Request{Identity: identity.Service(identity.Store), DNSNames: []string{certs.ServerName("store")}})
	calling := bundleOf(certs.Request{Identity: id})
	start := func(t *testing.T) (*fixture, *rpc.Server) {
		f := new(fixture)
		server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{TLS: serving.Server(), Unary: f.unary, Stream: f.stream})
		storev1.RegisterStoreServiceServer(server, f)
		return f, server
	}
	t.Run("network", func(t *testing.T) {
		f, server := start(t)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- server.Serve(ctx, listener) }()
		conn, err := rpc.Dial(telemetry.Discard("test"), listener.Addr().String(), calling.Client(certs.ServerName("store")))
		if err != nil {
			t.Fatal(err)
		}
		test(t, f, conn)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Run("in process", func(t *testing.T) {
		f, server := start(t)
		test(t, f, server.Local(id))
	})
}

// TestInterceptors: what a server is given sees every call, of whichever form and on
// whichever path, with its caller and its error.
func TestInterceptors(t *testing.T) {
	id := identity.Node("n1")
	onBothPaths(t, id, func(t *testing.T, f *fixture, conn grpc.ClientConnInterface) {
		store := storev1.NewStoreServiceClient(conn)
		if _, err := store.Get(t.Context(), &storev1.GetRequest{Name: "absent"}); err == nil {
			t.Error("there is something absent")
		}
		stream, err := store.Watch(t.Context(), &storev1.WatchRequest{ResourceVersion: "none"})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("the watch ended with %v", err)
		}
		err = rpc.Receive(t.Context(), conn, storev1.StoreService_Watch_FullMethodName, &storev1.WatchRequest{}, func(*storev1.WatchResponse) error { return nil })
		if status.Code(err) != codes.OutOfRange {
			t.Errorf("the received watch ended with %v", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		want := []string{"Get of " + id.Name + ": NotFound", "Watch of " + id.Name + ": BadRequest", "Watch of " + id.Name + ": Expired"}
		if diff := cmp.Diff(want, f.seen); diff != "" {
			t.Errorf("they saw (-want +got):\n%s", diff)
		}
	})
}

func TestCallsCarryIdentityTraceAndErrors(t *testing.T) {
	id := identity.Node("n1")
	onBothPaths(t, id, func(t *testing.T, f *fixture, conn grpc.ClientConnInterface) {
		store := storev1.NewStoreServiceClient(conn)
		span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
		ctx := trace.ContextWithSpanContext(t.Context(), span)

		resp, err := store.Get(ctx, &storev1.GetRequest{Name: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(resp.GetObject().GetJson()); got != "x" {
			t.Errorf("answer = %q, want x", got)
		}
		if diff := cmp.Diff(id, f.caller); diff != "" {
			t.Errorf("caller (-want +got):\n%s", diff)
		}
		if f.span.TraceID() != span.TraceID() {
			t.Errorf("trace = %v, want %v", f.span.TraceID(), span.TraceID())
		}
		if _, err := store.Get(ctx, &storev1.GetRequest{Name: "absent"}); !apierrors.IsNotFound(apistatus.FromGRPC(err)) {
			t.Errorf("error = %v, want NotFound", err)
		}
		if _, err := store.Get(ctx, &storev1.GetRequest{Name: "panic"}); !apierrors.IsInternalError(apistatus.FromGRPC(err)) {
			t.Errorf("error after a panic = %v, want InternalError", err)
		}
		if _, err := store.Get(ctx, &storev1.GetRequest{Name: "y"}); err != nil {
			t.Errorf("a call after a panic: %v", err)
		}
	})
}

func TestMethodsSeeMetadataAndNoValues(t *testing.T) {
	onBothPaths(t, identity.Node("n1"), func(t *testing.T, f *fixture, conn grpc.ClientConnInterface) {
		ctx := context.WithValue(metadata.AppendToOutgoingContext(t.Context(), "Fixture", "a", "fixture", "b"), clientKey{}, "secret")
		if _, err := storev1.NewStoreServiceClient(conn).Get(ctx, &storev1.GetRequest{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a", "b"}, f.metadata); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		if f.value != nil {
			t.Errorf("the method sees a value of its client's context: %v", f.value)
		}
	})
}

func TestCallsEndWithTheirContext(t *testing.T) {
	onBothPaths(t, identity.Node("n1"), func(t *testing.T, _ *fixture, conn grpc.ClientConnInterface) {
		store := storev1.NewStoreServiceClient(conn)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		for range 2 { // the second one is over before it begins
			if _, err := store.Get(ctx, &storev1.GetRequest{Name: "wait"}); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("error = %v, want DeadlineExceeded", err)
			}
		}
	})
}

// cancellers returns the stacks of the goroutines that the calling one has started to
// end contexts.
func cancellers() []byte {
	stack := make([]byte, 1<<20)
	stack = stack[:runtime.Stack(stack, true)]
	own, _, _ := strings.Cut(strings.TrimPrefix(string(stack), "goroutine "), " ")
	var out []byte
	for s := range strings.SplitSeq(string(stack), "\n\n") {
		if strings.Contains(s, "created by context.(*cancelCtx).propagateCancel in goroutine "+own+"\n") {
			out = append(out, s...)
		}
	}
	return out
}

// Each request derives some contexts of its own: none takes a goroutine.
func TestLocalContextsTakeNoGoroutines(t *testing.T) {
	server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{})
	storev1.RegisterStoreServiceServer(server, new(fixture))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := storev1.NewStoreServiceClient(server.Local(identity.Node("n1"))).Get(ctx, &storev1.GetRequest{Name: "derive"})
	if err != nil {
		t.Fatal(err)
	}
	if stack := resp.GetObject().GetJson(); len(stack) > 0 {
		t.Errorf("a goroutine waits for the end of a context:\n%s", stack)
	}
}

func TestLocalCallsAreOfKnownMethods(t *testing.T) {
	server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{})
	_, err := storev1.NewStoreServiceClient(server.Local(identity.Node("n1"))).Get(t.Context(), &storev1.GetRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("error = %v, want Unimplemented", err)
	}
}

func TestStreamsEndWithTheirError(t *testing.T) {
	id := identity.Service(identity.Proxy)
	onBothPaths(t, id, func(t *testing.T, f *fixture, conn grpc.ClientConnInterface) {
		stream, err := storev1.NewStoreServiceClient(conn).Watch(t.Context(), &storev1.WatchRequest{ResourceVersion: "7"})
		if err != nil {
			t.Fatal(err)
		}
		received := 0
		for {
			resp, err := stream.Recv()
			if err != nil {
				if !apierrors.IsResourceExpired(apistatus.FromGRPC(err)) {
					t.Errorf("the stream ended with %v, want Expired", err)
				}
				break
			}
			if got := resp.GetStarted().GetResourceVersion(); got != "7" {
				t.Errorf("version = %q, want 7", got)
			}
			received++
		}
		if received != 3 {
			t.Errorf("received %d messages, want 3", received)
		}
		if diff := cmp.Diff(id, f.caller); diff != "" {
			t.Errorf("caller (-want +got):\n%s", diff)
		}
	})
}

func TestStrangersAreTurnedAway(t *testing.T) {
	authority, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bundle := func(a *certs.Authority, r certs.Request) *certs.Bundle {
		pair, err := a.Issue(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := authority.Bundle(pair) // trusts the cluster's authority
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	serving := bundle(authority, certs.Request{Identity: identity.Service(identity.Store), DNSNames: []string{certs.ServerName("store")}})
	server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{TLS: serving.Server()})
	storev1.RegisterStoreServiceServer(server, new(fixture))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	defer func() {
		cancel()
		<-done
	}()
	stranger := bundle(other, certs.Request{Identity: identity.Identity{Name: "eve", Groups: []string{identity.GroupMasters}}})
	conn, err := rpc.Dial(telemetry.Discard("test"), listener.Addr().String(), stranger.Client(certs.ServerName("store")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := storev1.NewStoreServiceClient(conn).Get(t.Context(), &storev1.GetRequest{Name: "x"}); err == nil {
		t.Error("a caller with another authority's certificate was answered")
	}
}

func TestDialRefusesWhatIsNoAddress(t *testing.T) {
	for _, target := range []string{"localhost", "1.2.3.4:5,six"} {
		conn, err := rpc.Dial(telemetry.Discard("test"), target, nil)
		if err == nil {
			// The resolver may only run at the first call.
			_, err = storev1.NewStoreServiceClient(conn).Get(t.Context(), &storev1.GetRequest{})
			_ = conn.Close()
		}
		if err == nil {
			t.Errorf("Dial(%q) succeeded", target)
		}
	}
}

func TestReceive(t *testing.T) {
	id := identity.Service(identity.Proxy)
	onBothPaths(t, id, func(t *testing.T, f *fixture, conn grpc.ClientConnInterface) {
		received := 0
		failure := errors.New("enough")
		receive := func(ctx context.Context, most int) error {
			received = 0
			return rpc.Receive(ctx, conn, storev1.StoreService_Watch_FullMethodName, &storev1.WatchRequest{ResourceVersion: "7"}, func(resp *storev1.WatchResponse) error {
				if got := resp.GetStarted().GetResourceVersion(); got != "7" {
					t.Errorf("version = %q, want 7", got)
				}
				if received++; received == most {
					return failure
				}
				return nil
			})
		}
		if err := receive(t.Context(), 100); !apierrors.IsResourceExpired(apistatus.FromGRPC(err)) || received != 3 {
			t.Errorf("the stream ended after %d messages with %v, want Expired after 3", received, err)
		}
		if diff := cmp.Diff(id, f.caller); diff != "" {
			t.Errorf("caller (-want +got):\n%s", diff)
		}
		if err := receive(t.Context(), 2); !errors.Is(err, failure) || received != 2 {
			t.Errorf("the stream ended after %d messages with %v, want that of the receiver after 2", received, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := receive(ctx, 100); status.Code(err) != codes.Canceled || received != 0 {
			t.Errorf("the stream ended after %d messages with %v, want Canceled", received, err)
		}
		err := rpc.Receive(t.Context(), conn, storev1.StoreService_List_FullMethodName, &storev1.ListRequest{}, func(*storev1.ListResponse) error { return nil })
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("error = %v, want Unimplemented", err)
		}
	})
}

// TestOnHeader: whoever wants the header of an answer gets it once, with an error
// too, and before a stream's first message.
func TestOnHeader(t *testing.T) {
	onBothPaths(t, identity.Service(identity.Gateway), func(t *testing.T, _ *fixture, conn grpc.ClientConnInterface) {
		store := storev1.NewStoreServiceClient(conn)
		var said [][]string
		outer := 0
		ctx := rpc.OnHeader(t.Context(), func(metadata.MD) { outer++ })
		ctx = rpc.OnHeader(ctx, func(md metadata.MD) {
			if said = append(said, md.Get("said")); outer != len(said) {
				t.Errorf("whom the outer context names was called %d times, the inner %d times", outer, len(said))
			}
		})
		want := func(what string, want ...string) {
			t.Helper()
			if diff := cmp.Diff([][]string{want}, said); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
			said, outer = nil, 0
		}
		if _, err := store.Get(ctx, &storev1.GetRequest{Name: "x"}); err != nil {
			t.Error(err)
		}
		want("a call", "first", "second")
		if _, err := store.Get(ctx, &storev1.GetRequest{Name: "absent"}); !apierrors.IsNotFound(apistatus.FromGRPC(err)) {
			t.Error(err)
		}
		want("a call that fails", "first", "second")
		if _, err := store.Get(ctx, &storev1.GetRequest{Name: "panic"}); err == nil {
			t.Error("no error")
		}
		want("a call that panics", "first", "second")
		err := rpc.Receive(ctx, conn, storev1.StoreService_Watch_FullMethodName, &storev1.WatchRequest{}, func(*storev1.WatchResponse) error {
			if len(said) != 1 {
				t.Errorf("%d headers before a message", len(said))
			}
			return nil
		})
		if !apierrors.IsResourceExpired(apistatus.FromGRPC(err)) {
			t.Error(err)
		}
		want("a stream", "by the stream", "by its context")
		err = rpc.Receive(ctx, conn, storev1.StoreService_Watch_FullMethodName, &storev1.WatchRequest{ResourceVersion: "none"}, func(*storev1.WatchResponse) error { return nil })
		if !apierrors.IsBadRequest(apistatus.FromGRPC(err)) {
			t.Error(err)
		}
		want("a stream without messages", "by the stream", "by its context")
		if _, err := store.Get(t.Context(), &storev1.GetRequest{Name: "x"}); err != nil || said != nil {
			t.Errorf("a call whose header is not wanted: %v, %q", err, said)
		}
	})
}

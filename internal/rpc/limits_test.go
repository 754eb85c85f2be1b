package rpc_test

import (
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// TestRequestsAreBounded: what a caller can have a server hold before the server
// looks at who calls is not what an answer may be.
func TestRequestsAreBounded(t *testing.T) {
	bundleOf := issuer(t)
	serving := bundleOf(certs.Request{Identity: identity.Service(identity.Store), DNSNames: []string{certs.ServerName("store")}})
	calling := bundleOf(certs.Request{Identity: identity.Node("n1")})
	server := rpc.NewServer(telemetry.Discard("store"), rpc.ServerOptions{TLS: serving.Server()})
	storev1.RegisterStoreServiceServer(server, new(fixture))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(t.Context(), listener) }()
	// A client that has no bounds of its own.
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(calling.Client(certs.ServerName("store")))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	store := storev1.NewStoreServiceClient(conn)
	for _, tt := range []struct {
		name          string
		request, meta int // KiB
		want          codes.Code
	}{
		{"small", 1, 1, codes.OK},
		{"the largest object", 3 << 10, 1, codes.OK},
		{"a request that is too large", 7 << 10, 1, codes.ResourceExhausted},
		{"what a gateway was asked with", 1, 128, codes.OK},
		{"metadata that are too large", 1, 300, codes.Internal},
		{"small again", 1, 1, codes.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "fixture", strings.Repeat("x", tt.meta<<10))
			_, err := store.Get(ctx, &storev1.GetRequest{Name: strings.Repeat("x", tt.request<<10)}, grpc.MaxCallRecvMsgSize(16<<20))
			if got := status.Code(err); got != tt.want {
				t.Errorf("the call ended with %v, want %s", err, tt.want)
			}
		})
	}
}

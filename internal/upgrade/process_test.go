package upgrade

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// lateSender sends nothing before the server has answered.
type lateSender struct{ grpc.ClientStream }

func (s lateSender) SendMsg(m any) error {
	_, _ = s.Header() // comes with the end, if that is all there is
	return s.ClientStream.SendMsg(m)
}

// A client is told why the agent refused, also where the agent did so before it
// had read what was asked.
func TestRefusedBeforeItWasRead(t *testing.T) {
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.StreamInterceptor(func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
		return status.Error(codes.PermissionDenied, "not by you")
	}))
	nodev1.RegisterNodeServiceServer(server, nodev1.UnimplementedNodeServiceServer{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///node", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := next(ctx, desc, cc, method, opts...)
			return lateSender{stream}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for name, open := range map[string]opener{"exec": openExec(&nodev1.ExecStart{}), "attach": openAttach(&nodev1.ExecStart{})} {
		got := joinProcess(t.Context(), &clientStreams{}, nodev1.NewNodeServiceClient(conn), open)
		if !strings.Contains(got.Message, "not by you") {
			t.Errorf("%s: the client is told %q", name, got.Message)
		}
	}
}

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/logs"
	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/stats"
	"navarch.dev/navarch/internal/identity"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// onePod is a node with the pod default/web, whose container "c" runs. It counts
// how often it was told of images.
type onePod struct{ loads *atomic.Int32 }

func (o onePod) ImagesLoaded() { o.loads.Add(1) }

func (onePod) Pods(context.Context) ([]*corev1.Pod, error) {
	return []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}}, nil
}

func (onePod) Pod(_ context.Context, namespace, name string) (podworker.PodInfo, error) {
	if name != "web" {
		return podworker.PodInfo{}, fmt.Errorf("pod %s/%s: %w", namespace, name, podworker.ErrNoPod)
	}
	pod := &corev1.Pod{Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "127.0.0.1"}}}}
	return podworker.PodInfo{UID: "uid", Object: pod}, nil
}

func (o onePod) Container(ctx context.Context, namespace, pod, name string) (podworker.ContainerInfo, error) {
	if _, err := o.Pod(ctx, namespace, pod); err != nil {
		return podworker.ContainerInfo{}, err
	}
	if name == "new" {
		return podworker.ContainerInfo{}, fmt.Errorf("container %q %w", name, podworker.ErrWaiting)
	}
	return podworker.ContainerInfo{PodUID: "uid", Name: "c", ID: "id", Running: true, LogPath: "log"}, nil
}

// echo is a Runtime whose Exec copies its input to its output.
type echo struct{ runtime.Runtime }

func (echo) Exec(_ context.Context, _ string, o runtime.ExecOptions) (int, error) {
	b, err := io.ReadAll(o.Stdin)
	if err != nil {
		return -1, err
	}
	_, err = o.Stdout.Write(bytes.ToUpper(b))
	return 7, err
}

type noImages struct{ image.Images }

func (noImages) Load(_ context.Context, r io.Reader) ([]image.Image, error) {
	b, err := io.ReadAll(r)
	return []image.Image{{ID: string(b)}}, err
}

func (noImages) Remove(context.Context, string) error { return image.ErrInUse }

func serve(id identity.Identity) nodev1.NodeServiceClient {
	return servePods(id, onePod{new(atomic.Int32)})
}

func servePods(id identity.Identity, pods onePod) nodev1.NodeServiceClient {
	ch := &inprocgrpc.Channel{}
	ch.WithServerUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		return h(identity.NewContext(ctx, id), req)
	})
	ch.WithServerStreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		return h(srv, as{s, id})
	})
	readLog := func(_ context.Context, path string, _ logs.Options, w io.Writer) error {
		_, err := io.WriteString(w, path)
		return err
	}
	nodev1.RegisterNodeServiceServer(ch, New(pods, echo{}, noImages{}, stats.New("n1", echo{}, stats.ReadMachine), readLog, http.HandlerFunc(showPage), slog.New(slog.DiscardHandler)))
	return nodev1.NewNodeServiceClient(ch)
}

// showPage answers with what it was asked, and at /long with much.
func showPage(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/empty":
	case "/long":
		_, _ = w.Write(make([]byte, 3*maxPagePart+1))
	default:
		w.Header().Set("Content-Type", "text/odd")
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.EscapedPath(), r.URL.Query().Get("q"))
	}
}

type as struct {
	grpc.ServerStream
	id identity.Identity
}

func (s as) Context() context.Context { return identity.NewContext(s.ServerStream.Context(), s.id) }

var gateway = identity.Service(identity.Gateway)

func TestOnlyGatewaysAndAdministrators(t *testing.T) {
	tests := []struct {
		id   identity.Identity
		want codes.Code
	}{
		{gateway, codes.OK},
		{identity.Identity{Name: "admin", Groups: []string{identity.GroupMasters}}, codes.OK},
		{identity.Service(identity.Scheduler), codes.PermissionDenied},
		{identity.Node("n2"), codes.PermissionDenied},
		{identity.Identity{}, codes.PermissionDenied},
	}
	for _, tt := range tests {
		client := serve(tt.id)
		if _, err := client.ListPods(t.Context(), &nodev1.ListPodsRequest{}); status.Code(err) != tt.want {
			t.Errorf("%q lists pods: %v, want %v", tt.id.Name, err, tt.want)
		}
		stream, err := client.Logs(t.Context(), &nodev1.LogsRequest{Namespace: "default", Pod: "web"})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != tt.want {
			t.Errorf("%q reads a log: %v, want %v", tt.id.Name, err, tt.want)
		}
	}
}

func TestLogsOfWhatIsNotThere(t *testing.T) {
	tests := []struct {
		req  *nodev1.LogsRequest
		want codes.Code
	}{
		{&nodev1.LogsRequest{Namespace: "default", Pod: "none"}, codes.NotFound},
		{&nodev1.LogsRequest{Namespace: "default", Pod: "web", PodUid: "other"}, codes.NotFound},
		{&nodev1.LogsRequest{Namespace: "default", Pod: "web", Container: "new"}, codes.FailedPrecondition},
		{&nodev1.LogsRequest{Namespace: "default", Pod: "web", Previous: true}, codes.FailedPrecondition},
		{&nodev1.LogsRequest{Namespace: "default", Pod: "web", Stream: "x"}, codes.InvalidArgument},
	}
	for _, tt := range tests {
		stream, err := serve(gateway).Logs(t.Context(), tt.req)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != tt.want {
			t.Errorf("%v: %v, want %v", tt.req, err, tt.want)
		}
	}
}

func TestExecJoinsTheStreams(t *testing.T) {
	stream, err := serve(gateway).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*nodev1.ExecRequest{
		{Message: &nodev1.ExecRequest_Start{Start: &nodev1.ExecStart{Namespace: "default", Pod: "web", Command: []string{"cat"}, Stdin: true, Stdout: true}}},
		{Message: &nodev1.ExecRequest_Stdin{Stdin: []byte("ab")}},
		{Message: &nodev1.ExecRequest_Stdin{Stdin: []byte("c")}},
		{Message: &nodev1.ExecRequest_StdinClosed{StdinClosed: true}},
	} {
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	var out []byte
	for {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, resp.GetStdout()...)
		if e := resp.GetExit(); e != nil {
			if e.GetExitCode() != 7 || string(out) != "ABC" {
				t.Errorf("exit = %v, output = %q", e, out)
			}
			return
		}
	}
}

// forward sends hello to a port of a pod that shouts back, and returns what
// comes.
func forward(t *testing.T, start *nodev1.PortForwardStart) (string, error) {
	t.Helper()
	stream, err := serve(gateway).PortForward(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*nodev1.PortForwardRequest{
		{Message: &nodev1.PortForwardRequest_Start{Start: start}},
		{Message: &nodev1.PortForwardRequest_Data{Data: []byte("hello")}},
	} {
		if err := stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return string(out), nil
		}
		if err != nil {
			return string(out), err
		}
		out = append(out, resp.GetData()...)
	}
}

func TestPortForward(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	port := uint32(l.Addr().(*net.TCPAddr).Port)
	for _, address := range []string{"", "127.0.0.1"} {
		out, err := forward(t, &nodev1.PortForwardStart{Namespace: "default", Pod: "web", Port: port, Address: address})
		if err != nil || out != "hello" {
			t.Errorf("answer at address %q = %q, %v", address, out, err)
		}
	}
	_, err = forward(t, &nodev1.PortForwardStart{Namespace: "default", Pod: "web", Port: port, Address: "127.0.0.2"})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("an address that is not the pod's: %v", err)
	}
}

func TestImages(t *testing.T) {
	pods := onePod{new(atomic.Int32)}
	client := servePods(gateway, pods)
	stream, err := client.LoadImage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"one", "", "two"} {
		if err := stream.Send(&nodev1.LoadImageRequest{Data: []byte(part)}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil || len(resp.GetImages()) != 1 || resp.GetImages()[0].GetId() != "onetwo" {
		t.Errorf("loaded %v, %v", resp, err)
	}
	if told := pods.loads.Load(); told != 1 {
		t.Errorf("the pods were told %d times that there are images", told)
	}
	if _, err := client.RemoveImage(t.Context(), &nodev1.RemoveImageRequest{Image: "x"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("remove an image in use: %v", err)
	}
}

// page returns what the node answers to a read.
func page(t *testing.T, node nodev1.NodeServiceClient, req *nodev1.PageRequest) (start *nodev1.PageStart, body []byte, err error) {
	t.Helper()
	stream, err := node.Page(t.Context(), req)
	if err != nil {
		return nil, nil, err
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return start, body, nil
		}
		if err != nil {
			return start, body, err
		}
		if resp.GetStart() != nil {
			start = resp.GetStart()
		}
		body = append(body, resp.GetData()...)
	}
}

func TestPage(t *testing.T) {
	start, body, err := page(t, serve(gateway), &nodev1.PageRequest{Path: "/a%2Fb/", Query: "q=1"})
	if err != nil || start.GetStatus() != 418 || start.GetHeaders()["Content-Type"] != "text/odd" || string(body) != "GET /a%2Fb/ 1" {
		t.Errorf("%v %q %v", start, body, err)
	}
	if start, body, err := page(t, serve(gateway), &nodev1.PageRequest{Path: "/empty"}); err != nil || start.GetStatus() != 200 || len(body) != 0 {
		t.Errorf("an empty page: %v %q %v", start, body, err)
	}
	if _, body, err := page(t, serve(gateway), &nodev1.PageRequest{Path: "/long"}); err != nil || len(body) != 3*maxPagePart+1 {
		t.Errorf("a long page: %d bytes, %v", len(body), err)
	}
	for _, path := range []string{"", "x", "http://elsewhere/x", "/%zz"} {
		if _, _, err := page(t, serve(gateway), &nodev1.PageRequest{Path: path}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("path %q: %v", path, err)
		}
	}
	if _, _, err := page(t, serve(identity.Node("n2")), &nodev1.PageRequest{Path: "/pods"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another node: %v", err)
	}
}

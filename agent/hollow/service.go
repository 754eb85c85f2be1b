package hollow

import (
	"context"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/agent/logs"
	"navarch.dev/navarch/agent/pages"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/server"
	"navarch.dev/navarch/internal/certs"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Register registers the Node service of all nodes, each of which is known by
// the server name that a caller asks for.
func (f *Fleet) Register(r grpc.ServiceRegistrar) {
	nodev1.RegisterNodeServiceServer(r, service{find: f.serviceOf})
}

// service is the Node service of many nodes on one address.
type service struct {
	nodev1.UnimplementedNodeServiceServer
	find func(context.Context) (*server.Server, error)
}

// serviceOf returns the service of the node that a call is meant for.
func (f *Fleet) serviceOf(ctx context.Context) (*server.Server, error) {
	name := ""
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			name, _ = certs.NodeOf(info.State.ServerName)
		}
	}
	a, err := f.agentOf(name)
	if err != nil {
		return nil, err
	}
	return a.server, nil
}

// agentOf returns the agent of a node. The error is a gRPC status.
func (f *Fleet) agentOf(name string) (*agent, error) {
	n, ok := f.nodes[name]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "%q is none of the hollow nodes of this process", name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.agent == nil {
		return nil, status.Errorf(codes.Unavailable, "the hollow node %s is silent", name)
	}
	return n.agent, nil
}

// HTTP returns what answers HTTPS requests for the pages of all nodes, which
// are told apart as in Register.
func (f *Fleet) HTTP() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if r.TLS != nil {
			name, _ = certs.NodeOf(r.TLS.ServerName)
		}
		a, err := f.agentOf(name)
		switch {
		case status.Code(err) == codes.NotFound:
			http.Error(w, status.Convert(err).Message(), http.StatusNotFound)
		case err != nil:
			http.Error(w, status.Convert(err).Message(), http.StatusServiceUnavailable)
		default:
			a.https.ServeHTTP(w, r)
		}
	})
}

// Logs implements the RPC: hollow containers say nothing.
func (s service) Logs(req *nodev1.LogsRequest, stream grpc.ServerStreamingServer[nodev1.LogsResponse]) error {
	srv, err := s.find(stream.Context())
	if err != nil {
		return err
	}
	return srv.Logs(req, stream)
}

// readNothing is a server.LogReader of logs in which nothing ever is.
func readNothing(ctx context.Context, _ string, opts logs.Options, _ io.Writer) error {
	if !opts.Follow {
		return nil
	}
	select {
	case <-opts.Finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Exec implements the RPC: every command succeeds and says nothing.
func (s service) Exec(stream grpc.BidiStreamingServer[nodev1.ExecRequest, nodev1.ExecResponse]) error {
	srv, err := s.find(stream.Context())
	if err != nil {
		return err
	}
	return srv.Exec(stream)
}

// Attach implements the RPC.
func (service) Attach(stream grpc.BidiStreamingServer[nodev1.AttachRequest, nodev1.AttachResponse]) error {
	return refuse(stream)
}

// refuse says no once it has been asked: a caller that is still sending would
// only see that the stream has ended.
func refuse[Req, Resp any](stream grpc.BidiStreamingServer[Req, Resp]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return status.Error(codes.Unimplemented, errHollow.Error())
}

// PortForward implements the RPC. Unlike an agent's it must not connect to
// anything: a hollow pod's network is this process's own.
func (service) PortForward(stream grpc.BidiStreamingServer[nodev1.PortForwardRequest, nodev1.PortForwardResponse]) error {
	return refuse(stream)
}

// Stats implements the RPC.
func (s service) Stats(ctx context.Context, req *nodev1.StatsRequest) (*nodev1.StatsResponse, error) {
	return answer(ctx, s, req, (*server.Server).Stats)
}

// ListPods implements the RPC.
func (s service) ListPods(ctx context.Context, req *nodev1.ListPodsRequest) (*nodev1.ListPodsResponse, error) {
	return answer(ctx, s, req, (*server.Server).ListPods)
}

// ListImages implements the RPC.
func (s service) ListImages(ctx context.Context, req *nodev1.ListImagesRequest) (*nodev1.ListImagesResponse, error) {
	return answer(ctx, s, req, (*server.Server).ListImages)
}

// LoadImage implements the RPC: it says that hollow nodes keep no images.
func (s service) LoadImage(stream grpc.ClientStreamingServer[nodev1.LoadImageRequest, nodev1.LoadImageResponse]) error {
	srv, err := s.find(stream.Context())
	if err != nil {
		return err
	}
	return srv.LoadImage(stream)
}

// RemoveImage implements the RPC.
func (s service) RemoveImage(ctx context.Context, req *nodev1.RemoveImageRequest) (*nodev1.RemoveImageResponse, error) {
	return answer(ctx, s, req, (*server.Server).RemoveImage)
}

// Page implements the RPC.
func (s service) Page(req *nodev1.PageRequest, stream grpc.ServerStreamingServer[nodev1.PageResponse]) error {
	srv, err := s.find(stream.Context())
	if err != nil {
		return err
	}
	return srv.Page(req, stream)
}

// pages returns a node's pages, which are made when they are asked for. They
// show nothing of the machine's files.
func (n *hollowNode) pages(pods pages.Pods, usage pages.Stats) http.Handler {
	begun, cfg := time.Now(), &n.fleet.cfg
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages.New(pages.Config{
			Started: begun, Pods: pods, Stats: usage, Metrics: n.fleet.tel.Metrics,
			Settings: pages.Settings{Address: n.address().String(), Port: int(cfg.Service.Port()), MaxPods: cfg.MaxPods},
		}).ServeHTTP(w, r)
	})
}

// answer calls a method of the node's service.
func answer[Req, Resp any](ctx context.Context, s service, req *Req, method func(*server.Server, context.Context, *Req) (*Resp, error)) (*Resp, error) {
	srv, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	return method(srv, ctx, req)
}

// machine returns what reads the usage of a node's machine: that of its pods.
func machine(rt *hollowRuntime) func() (runtime.Usage, error) {
	return func() (runtime.Usage, error) { return rt.NodeUsage(context.Background()) }
}

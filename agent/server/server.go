// Package server serves the Node service: what the gateway asks of a node on
// behalf of users whom the Store has authorized, and administrators directly; and
// what others ask a kubelet over HTTP.
package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/logs"
	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/stats"
	"navarch.dev/navarch/internal/identity"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Pods finds the node's pods. *podworker.Manager implements it.
type Pods interface {
	Pods(ctx context.Context) ([]*corev1.Pod, error)
	Pod(ctx context.Context, namespace, name string) (podworker.PodInfo, error)
	Container(ctx context.Context, namespace, pod, name string) (podworker.ContainerInfo, error)
	// ImagesLoaded is told that the node has further images.
	ImagesLoaded()
}

// LogReader reads a container's log. logs.Read is one.
type LogReader func(ctx context.Context, path string, opts logs.Options, w io.Writer) error

// Server implements the Node service.
type Server struct {
	nodev1.UnimplementedNodeServiceServer
	pods    Pods
	runtime runtime.Runtime
	images  image.Images
	stats   *stats.Reader
	readLog LogReader
	// reads answers requests over HTTP that only read.
	reads http.Handler
	log   *slog.Logger
}

// New returns the service. pages answers what is read over HTTP, but for what
// the service knows itself.
func New(pods Pods, rt runtime.Runtime, images image.Images, st *stats.Reader, readLog LogReader, pages http.Handler, log *slog.Logger) *Server {
	s := &Server{pods: pods, runtime: rt, images: images, stats: st, readLog: readLog, log: log}
	s.reads = s.newReads(pages)
	return s
}

// authorize lets gateways and administrators in. What users may do is the
// Store's to decide, before a gateway calls.
func authorize(ctx context.Context) error {
	id := identity.FromContext(ctx)
	if id.InGroup(identity.GroupGateways) || id.InGroup(identity.GroupMasters) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%q may not use the Node service", id.Name)
}

// authorizeController lets the Controller in, too: it scales by what pods use,
// and asks API servers that are pods whether they serve.
func authorizeController(ctx context.Context) error {
	if identity.FromContext(ctx).Name == identity.Controller {
		return nil
	}
	return authorize(ctx)
}

// asStatus gives the package's errors their gRPC codes.
func asStatus(err error) error {
	var code codes.Code
	switch {
	case err == nil:
		return nil
	case errors.Is(err, podworker.ErrNoPod), errors.Is(err, runtime.ErrNotFound), errors.Is(err, image.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, podworker.ErrWaiting), errors.Is(err, runtime.ErrNotRunning), errors.Is(err, image.ErrInUse):
		code = codes.FailedPrecondition
	case errors.Is(err, image.ErrInvalidName), errors.Is(err, image.ErrCorrupt), errors.Is(err, image.ErrPlatform):
		code = codes.InvalidArgument
	default:
		return err
	}
	return status.Error(code, err.Error())
}

// Stats returns the present usage of the node, its pods and containers.
func (s *Server) Stats(ctx context.Context, _ *nodev1.StatsRequest) (*nodev1.StatsResponse, error) {
	if err := authorizeController(ctx); err != nil {
		return nil, err
	}
	resp, err := s.stats.Read(ctx)
	return resp, asStatus(err)
}

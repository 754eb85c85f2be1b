package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/agent/logs"
	"navarch.dev/navarch/agent/podworker"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Logs streams a container's log.
func (s *Server) Logs(req *nodev1.LogsRequest, stream grpc.ServerStreamingServer[nodev1.LogsResponse]) error {
	if err := authorize(stream.Context()); err != nil {
		return err
	}
	return s.streamLog(stream.Context(), req, func(b []byte) error { return stream.Send(&nodev1.LogsResponse{Data: b}) })
}

// streamLog sends a container's log part by part. The error is a gRPC status.
func (s *Server) streamLog(ctx context.Context, req *nodev1.LogsRequest, send func([]byte) error) error {
	info, err := s.pods.Container(ctx, req.GetNamespace(), req.GetPod(), req.GetContainer())
	if err != nil {
		return asStatus(err)
	}
	if uid := req.GetPodUid(); uid != "" && uid != info.PodUID {
		return status.Errorf(codes.NotFound, "pod %s/%s with UID %s is not on this node", req.GetNamespace(), req.GetPod(), uid)
	}
	path := info.LogPath
	if req.GetPrevious() {
		if path = info.PreviousLogPath; path == "" {
			return status.Errorf(codes.FailedPrecondition, "previous terminated container %q in pod %q not found", info.Name, req.GetPod())
		}
	}
	opts, err := logOptions(req)
	if err != nil {
		return err
	}
	if opts.Follow && !req.GetPrevious() {
		done := make(chan struct{})
		opts.Finished = done
		followed, cancel := context.WithCancel(ctx)
		defer cancel()
		go s.waitExit(followed, info, done)
	}
	err = s.readLog(ctx, path, opts, chunkWriter(send))
	if err != nil && ctx.Err() == nil {
		return asStatus(fmt.Errorf("read the log: %w", err))
	}
	return nil
}

// waitExit closes done once the container has ended.
func (s *Server) waitExit(ctx context.Context, info podworker.ContainerInfo, done chan<- struct{}) {
	if info.Running {
		// Whatever the error, there is no more to wait for.
		_, _ = s.runtime.WaitExit(ctx, info.ID)
	}
	close(done)
}

func logOptions(req *nodev1.LogsRequest) (logs.Options, error) {
	opts := logs.Options{
		Follow: req.GetFollow() && !req.GetPrevious(), Timestamps: req.GetTimestamps(),
		TailLines: req.TailLines, LimitBytes: req.LimitBytes,
	}
	if req.GetSince() != nil {
		opts.Since = req.GetSince().AsTime()
	}
	switch req.GetStream() {
	case "", "All":
	case "Stdout":
		opts.Stream = logs.StreamStdout
	case "Stderr":
		opts.Stream = logs.StreamStderr
	default:
		return opts, status.Errorf(codes.InvalidArgument, "stream %q is none of All, Stdout and Stderr", req.GetStream())
	}
	return opts, nil
}

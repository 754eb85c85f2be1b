package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/internal/kinds"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// ListPods returns the pods this agent runs, with their true state.
func (s *Server) ListPods(ctx context.Context, _ *nodev1.ListPodsRequest) (*nodev1.ListPodsResponse, error) {
	if err := authorize(ctx); err != nil {
		return nil, err
	}
	pods, err := s.pods.Pods(ctx)
	if err != nil {
		return nil, asStatus(err)
	}
	resp := &nodev1.ListPodsResponse{}
	for _, pod := range pods {
		obj, err := kinds.Encode(pod)
		if err != nil {
			return nil, err
		}
		resp.Pods = append(resp.Pods, &storev1.Object{Object: obj})
	}
	return resp, nil
}

// ListImages returns the node's images.
func (s *Server) ListImages(ctx context.Context, _ *nodev1.ListImagesRequest) (*nodev1.ListImagesResponse, error) {
	if err := authorize(ctx); err != nil {
		return nil, err
	}
	return &nodev1.ListImagesResponse{Images: describe(s.images.List())}, nil
}

// LoadImage stores the images of a tar.
func (s *Server) LoadImage(stream grpc.ClientStreamingServer[nodev1.LoadImageRequest, nodev1.LoadImageResponse]) error {
	if err := authorize(stream.Context()); err != nil {
		return err
	}
	tar := &chunkReader{next: func() ([]byte, error) {
		req, err := stream.Recv()
		return req.GetData(), err
	}}
	loaded, err := s.images.Load(stream.Context(), tar)
	if err != nil {
		return asStatus(fmt.Errorf("load the images: %w", err))
	}
	s.pods.ImagesLoaded()
	return stream.SendAndClose(&nodev1.LoadImageResponse{Images: describe(loaded)})
}

// RemoveImage removes an image by name or ID.
func (s *Server) RemoveImage(ctx context.Context, req *nodev1.RemoveImageRequest) (*nodev1.RemoveImageResponse, error) {
	if err := authorize(ctx); err != nil {
		return nil, err
	}
	if err := s.images.Remove(ctx, req.GetImage()); err != nil {
		return nil, asStatus(err)
	}
	return &nodev1.RemoveImageResponse{}, nil
}

func describe(images []image.Image) []*nodev1.Image {
	out := make([]*nodev1.Image, 0, len(images))
	for _, i := range images {
		out = append(out, &nodev1.Image{Id: i.ID, Names: i.Names, Digests: i.Digests, SizeBytes: i.SizeBytes})
	}
	return out
}

// chunkReader reads what arrives in messages.
type chunkReader struct {
	next func() ([]byte, error)
	rest []byte
	err  error
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// chunkWriter sends what is written in messages.
type chunkWriter func([]byte) error

func (w chunkWriter) Write(p []byte) (int, error) {
	const longest = 32 << 10
	sent := 0
	for len(p) > 0 {
		n := min(len(p), longest)
		if err := w(append([]byte(nil), p[:n]...)); err != nil {
			return sent, err
		}
		sent += n
		p = p[n:]
	}
	return sent, nil
}

// ended says that a stream ended as it should.
func ended(err error) bool { return errors.Is(err, io.EOF) }

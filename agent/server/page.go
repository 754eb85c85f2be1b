package server

import (
	"net/http"
	"net/url"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Page answers a read of what the node shows over HTTP.
func (s *Server) Page(req *nodev1.PageRequest, stream grpc.ServerStreamingServer[nodev1.PageResponse]) error {
	if err := authorize(stream.Context()); err != nil {
		return err
	}
	u, err := url.ParseRequestURI(req.GetPath())
	if err != nil || u.Host != "" {
		return status.Errorf(codes.InvalidArgument, "path %q is not an absolute path", req.GetPath())
	}
	u.RawQuery = req.GetQuery()
	r := (&http.Request{
		Method: http.MethodGet, URL: u, RequestURI: u.RequestURI(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
	}).WithContext(stream.Context())
	w := &pageWriter{stream: stream, header: http.Header{}}
	s.reads.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK) // unless it wrote something
	return w.err
}

// pageWriter sends a page as it is written.
type pageWriter struct {
	stream  grpc.ServerStreamingServer[nodev1.PageResponse]
	header  http.Header
	started bool
	err     error
}

// Header implements http.ResponseWriter.
func (w *pageWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *pageWriter) WriteHeader(code int) {
	if w.started {
		return
	}
	w.started = true
	start := &nodev1.PageStart{Status: uint32(code), Headers: make(map[string]string, len(w.header))}
	for name := range w.header {
		start.Headers[name] = w.header.Get(name)
	}
	w.err = w.stream.Send(&nodev1.PageResponse{Message: &nodev1.PageResponse_Start{Start: start}})
}

// Write implements http.ResponseWriter.
func (w *pageWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	for sent := 0; sent < len(p); sent += maxPagePart {
		if w.err != nil {
			return sent, w.err
		}
		part := p[sent:min(sent+maxPagePart, len(p))]
		w.err = w.stream.Send(&nodev1.PageResponse{Message: &nodev1.PageResponse_Data{Data: part}})
	}
	return len(p), w.err
}

// maxPagePart is the most that is sent in one message.
const maxPagePart = 64 << 10

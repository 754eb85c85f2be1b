// Package rpc makes the gRPC servers and connections of Navarch: every service
// is served and called in the same way, whether across the network with mutual
// TLS or within one process.
//
// A Server takes service registrations once and serves them on both paths. The
// caller's identity, the trace, the conversion of errors, panics and metrics
// are the same on both.
package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/reflect/protodesc"

	"navarch.dev/navarch/internal/telemetry"
)

const (
	// maxMessageSize bounds an answer: a batch of the largest objects that etcd
	// takes, or a chunk of a list.
	maxMessageSize = 64 << 20
	// maxRequestSize bounds what is asked for, and so what a call can have a server
	// hold before anybody knows whether it is allowed: twice the largest body that
	// the gateway takes.
	maxRequestSize = 6 << 20
	// maxHeaderSize bounds the metadata of a call, of which a gateway makes several
	// from what it has itself been asked with, in 64 KiB.
	maxHeaderSize = 256 << 10
	// streamWindow and connWindow bound what may be under way to a receiver
	// that does not read. That they are set keeps gRPC from measuring the
	// connection with a ping for each message, which costs as much as a small
	// call itself.
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	// readBuffer is for what a connection has sent and nobody has read. Requests
	// are small, and most connections, those of agents, are idle.
	readBuffer = 4 << 10
	// maxStreams is how many calls may go on at a time on a connection, as many as
	// kube-apiserver takes requests on one. A client of which there may be more
	// makes further connections (SpreadConn).
	maxStreams = 1000
	// keptWorkers is how many goroutines are kept for calls; further ones are
	// started as needed.
	keptWorkers = 32
	// drainTime is how long calls in progress may finish when a server stops.
	drainTime = 2 * time.Second
)

// Server serves gRPC services to the network and to its own process.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	// interceptors are what every call passes.
	interceptors interceptors
	// local takes the streams of this process, unary its other calls, by their
	// full names.
	local *inprocgrpc.Channel
	unary map[string]unaryMethod
	// streaming are the methods of Receive.
	streaming map[string]streamingMethod
	// https serves what is not gRPC; nil is nothing.
	https *httpsServer
}

// ServerOptions qualify a Server.
type ServerOptions struct {
	// TLS is for the network; it must verify client certificates.
	TLS *tls.Config
	// HTTP, if it is not nil, answers the connections on which a client has not
	// agreed on HTTP/2 (certs.Bundle.SharedServer). It must find out by itself
	// who asks: a client certificate has been verified if there is one.
	HTTP http.Handler
	// Descriptors resolve messages for reflection; nil is the linked-in ones.
	Descriptors protodesc.Resolver
	// OwnSpans names services that begin a span for each call themselves, with
	// more to say than the call's name.
	OwnSpans []string
	// Unary and Stream, if they are not nil, see the calls of both paths, with their
	// caller in the context and before their errors are converted.
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor
}

// wantsSpan says whether the server shall begin a span for a call; the caller's
// trace is continued in any case.
func (o ServerOptions) wantsSpan(info *stats.RPCTagInfo) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(info.FullMethodName, "/"), "/")
	return !slices.Contains(o.OwnSpans, service)
}

// NewServer returns a server that has health and reflection, and nothing else
// yet.
func NewServer(tel telemetry.Set, opts ServerOptions) *Server {
	passed := newInterceptors(newEdge(tel), opts)
	creds, https := credentials.NewTLS(opts.TLS), (*httpsServer)(nil)
	if opts.HTTP != nil {
		https = newHTTPSServer(opts.HTTP, tel.Log)
		creds = sharedPort{TransportCredentials: creds, config: opts.TLS, others: https}
	}
	s := &Server{
		https: https,
		grpc: grpc.NewServer(
			grpc.Creds(creds),
			grpc.StatsHandler(otelgrpc.NewServerHandler(
				otelgrpc.WithTracerProvider(tel.Traces), otelgrpc.WithPropagators(propagation.TraceContext{}),
				otelgrpc.WithFilter(opts.wantsSpan))),
			grpc.UnaryInterceptor(passed.unary),
			grpc.StreamInterceptor(passed.stream),
			grpc.MaxRecvMsgSize(maxRequestSize), grpc.MaxSendMsgSize(maxMessageSize), grpc.MaxHeaderListSize(maxHeaderSize),
			grpc.MaxConcurrentStreams(maxStreams),
			grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connWindow),
			grpc.ReadBufferSize(readBuffer),
			// Calls run on goroutines that are kept, whose stacks have grown.
			grpc.NumStreamWorkers(keptWorkers),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		),
		interceptors: passed,
		local:        new(inprocgrpc.Channel),
		unary:        make(map[string]unaryMethod),
		streaming:    make(map[string]streamingMethod),
		health:       health.NewServer(),
	}
	s.local.WithCloner(sharingCloner{}).
		WithServerUnaryInterceptor(passed.unary).
		WithServerStreamInterceptor(passed.stream)
	healthv1.RegisterHealthServer(s, s.health)
	reflectionOptions := reflection.ServerOptions{Services: s.grpc}
	if opts.Descriptors != nil {
		reflectionOptions.DescriptorResolver = opts.Descriptors
	}
	registerReflection(s, reflectionOptions)
	return s
}

// RegisterService adds a service. Call it before Serve and Local.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
	s.local.RegisterService(desc, impl)
	for _, m := range desc.Methods {
		s.unary["/"+desc.ServiceName+"/"+m.MethodName] = unaryMethod{service: impl, handler: m.Handler}
	}
	for _, m := range desc.Streams {
		if m.ServerStreams && !m.ClientStreams {
			name := "/" + desc.ServiceName + "/" + m.StreamName
			s.streaming[name] = streamingMethod{impl, m.Handler, &grpc.StreamServerInfo{FullMethod: name, IsServerStream: true}}
		}
	}
}

// SetServing tells health checks that a service, or the whole server for "",
// can take calls or cannot.
func (s *Server) SetServing(service string, serving bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, status)
}

// Serve serves the network on listener until ctx ends, then lets calls in
// progress finish for a short while.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		s.health.Shutdown()
		var others sync.WaitGroup
		defer others.Wait()
		if s.https != nil {
			others.Go(func() { s.https.shutdown(ctx) })
		}
		hard := time.AfterFunc(drainTime, s.grpc.Stop)
		defer hard.Stop()
		s.grpc.GracefulStop()
	}()
	if s.https != nil {
		listener = s.https.share(listener)
	}
	if err := s.grpc.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve gRPC on %s: %w", listener.Addr(), err)
	}
	<-stopped
	return nil
}

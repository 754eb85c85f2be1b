package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
)

// edge is what every call passes on its way in: it finds out who calls, counts,
// turns panics into errors and errors into gRPC statuses.
type edge struct {
	log      *slog.Logger
	handled  *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newEdge(tel telemetry.Set) *edge {
	service := prometheus.Labels{"service": tel.Service}
	e := &edge{
		log: tel.Log,
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_rpc_handled_total", Help: "Calls answered, by method and gRPC code.", ConstLabels: service,
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "navarch_rpc_duration_seconds", Help: "Time to answer unary calls, by method.", ConstLabels: service,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"method"}),
	}
	tel.Metrics.MustRegister(e.handled, e.duration)
	return e
}

func (e *edge) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	start := time.Now()
	ctx = callerContext(ctx)
	defer func() {
		if r := recover(); r != nil {
			err = e.panicked(ctx, info.FullMethod, r)
		}
		err = apistatus.ToGRPC(err)
		e.handled.WithLabelValues(info.FullMethod, status.Code(err).String()).Inc()
		e.duration.WithLabelValues(info.FullMethod).Observe(time.Since(start).Seconds())
	}()
	return handler(ctx, req)
}

func (e *edge) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := callerContext(ss.Context())
	defer func() {
		if r := recover(); r != nil {
			err = e.panicked(ctx, info.FullMethod, r)
		}
		err = apistatus.ToGRPC(err)
		e.handled.WithLabelValues(info.FullMethod, status.Code(err).String()).Inc()
	}()
	return handler(srv, &streamWithContext{ServerStream: ss, ctx: ctx})
}

func (e *edge) panicked(ctx context.Context, method string, value any) error {
	e.log.ErrorContext(ctx, "call panicked", "method", method, "panic", value, "stack", string(debug.Stack()))
	return status.Error(codes.Internal, fmt.Sprintf("%s panicked: %v", method, value))
}

// streamWithContext is a stream whose context knows the caller.
type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *streamWithContext) Context() context.Context { return s.ctx }

// callerContext adds to a server's context who the caller is: from the
// in-process connection, or from the verified client certificate.
func callerContext(ctx context.Context) context.Context {
	if client := inprocgrpc.ClientContext(ctx); client != nil {
		return localCaller(ctx, client)
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ctx
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ctx
	}
	return identity.NewContext(ctx, identity.FromCertificate(info.State.VerifiedChains[0][0]))
}

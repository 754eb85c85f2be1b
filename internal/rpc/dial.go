package rpc

import (
	"crypto/tls"
	"fmt"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"navarch.dev/navarch/internal/telemetry"
)

// WithDeadline makes a connection count as broken when what was sent has not been
// acknowledged for so long. A connection on which nothing is sent is tried every ten
// seconds.
func WithDeadline(d time.Duration) grpc.DialOption {
	return grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: d, PermitWithoutStream: true})
}

// Dial returns a connection to the service at target, an address or several
// separated by commas, tried in turn. It does not wait for the service: calls
// fail with UNAVAILABLE until it can be reached. Options of gRPC's own may be
// added.
func Dial(tel telemetry.Set, target string, config *tls.Config, extra ...grpc.DialOption) (*grpc.ClientConn, error) {
	return dial(tel, target, config, &addressList{}, extra)
}

func dial(tel telemetry.Set, target string, config *tls.Config, list *addressList, extra []grpc.DialOption) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(tel.Traces), otelgrpc.WithPropagators(propagation.TraceContext{}))),
		grpc.WithChainUnaryInterceptor(HandHeader),
		grpc.WithResolvers(list),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize), grpc.MaxCallSendMsgSize(maxRequestSize)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		WithDeadline(5 * time.Second),
		grpc.WithIdleTimeout(0),
	}
	conn, err := grpc.NewClient(resolverTarget(target), append(options, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target, err)
	}
	return conn, nil
}

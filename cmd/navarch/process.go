package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/apidescriptors"
	"navarch.dev/navarch/internal/atomicfile"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/internal/tracing"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// processConfig is what every service process is told.
type processConfig struct {
	CAFile, CertFile, KeyFile string
	// DebugListen is where metrics and pprof are served; empty is nowhere.
	DebugListen string
	// DebugAddressFile is where the address that DebugListen has led to is
	// written.
	DebugAddressFile string
	// TraceEndpoint takes spans, beside the standard OTEL_* variables.
	TraceEndpoint string
	LogLevel      string
	LogFormat     string
}

func (c *processConfig) addFlags(fs *pflag.FlagSet) {
	addConfigFlag(fs)
	fs.StringVar(&c.CAFile, "ca-file", "", "PEM certificate of the cluster's authority")
	fs.StringVar(&c.CertFile, "cert-file", "", "PEM certificate of this service")
	fs.StringVar(&c.KeyFile, "key-file", "", "PEM private key of this service")
	fs.StringVar(&c.TraceEndpoint, "trace-endpoint", "", "host:port of a cluster service that takes spans (OTEL_* variables apply too)")
	c.addReportFlags(fs)
}

// addReportFlags adds the flags about what the process tells of itself.
func (c *processConfig) addReportFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.DebugListen, "debug-listen", "127.0.0.1:0", "loopback address for metrics and pprof; empty: none")
	fs.StringVar(&c.DebugAddressFile, "debug-address-file", "", "file to write the address of metrics and pprof to, for a port chosen by the system")
	fs.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&c.LogFormat, "log-format", "text", "text or json")
}

func (c *processConfig) validate() error {
	for _, f := range []struct{ flag, value string }{{"ca-file", c.CAFile}, {"cert-file", c.CertFile}, {"key-file", c.KeyFile}} {
		if f.value == "" {
			return usageError{fmt.Errorf("flag --%s: required", f.flag)}
		}
	}
	return c.validateReports()
}

func (c *processConfig) validateReports() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return usageError{fmt.Errorf("flag --log-level: %q must be debug, info, warn or error", c.LogLevel)}
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return usageError{fmt.Errorf("flag --log-format: %q must be text or json", c.LogFormat)}
	}
	if host, _, err := net.SplitHostPort(c.DebugListen); c.DebugListen != "" && (err != nil || !isLoopback(host)) {
		return usageError{fmt.Errorf("flag --debug-listen: %q must be a loopback address and a port", c.DebugListen)}
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// process is one running service process: its certificate, its log, and what
// must be ended in order when it stops.
type process struct {
	config  processConfig
	bundle  *certs.Bundle
	log     *slog.Logger
	node    string
	memory  *tracing.Memory // takes the spans of this process; nil sends them on
	closers []func(context.Context) error

	mu        sync.Mutex // guards gatherers
	gatherers []prometheus.Gatherer
}

// shutdownTime bounds how long a stopping process may take to send its last
// spans.
const shutdownTime = 3 * time.Second

// runProcess sets a process up, runs it and tidies up after it.
func runProcess(ctx context.Context, c processConfig, node string, run func(context.Context, *process) error) error {
	if err := c.validate(); err != nil {
		return err
	}
	bundle, err := certs.LoadBundle(c.CAFile, c.CertFile, c.KeyFile)
	if err != nil {
		return err
	}
	boundHeap(ctx)
	releaseStart(ctx)
	return runProcessAs(ctx, c, bundle, node, run)
}

// runProcessAs is runProcess with a certificate that need not be in files.
func runProcessAs(ctx context.Context, c processConfig, bundle *certs.Bundle, node string, run func(context.Context, *process) error) error {
	p := &process{config: c, bundle: bundle, log: newLogger(c), node: node}
	slog.SetDefault(p.log)
	bundle.OnReload(p.reloaded)
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		for i := len(p.closers) - 1; i >= 0; i-- {
			if cerr := p.closers[i](end); cerr != nil && !errors.Is(cerr, context.DeadlineExceeded) {
				p.log.Warn("clean-up failed", "error", cerr)
			}
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := p.serveDebug(ctx); err != nil {
		return err
	}
	return run(ctx, p)
}

// reloaded tells what became of a certificate that was renewed on disk.
func (p *process) reloaded(end time.Time, err error) {
	if err != nil {
		p.log.Warn("the renewed certificate cannot be used, the old one is", "file", p.config.CertFile, "expires", end, "error", err)
		return
	}
	p.log.Info("the certificate was renewed", "file", p.config.CertFile, "expires", end)
}

func newLogger(c processConfig) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // validated before
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

// telemetry makes the telemetry of one service of the process.
func (p *process) telemetry(ctx context.Context, service string) (telemetry.Set, error) {
	set := telemetry.Set{
		Service: service,
		Log:     p.log.With("service", service),
		Traces:  noop.NewTracerProvider(),
		Metrics: prometheus.NewRegistry(),
	}
	options := tracing.Options{Service: service, Node: p.node}
	switch {
	case p.memory != nil:
		options.Memory = p.memory
	case p.config.TraceEndpoint != "":
		conn, err := rpc.Dial(set, p.config.TraceEndpoint, p.bundle.Client(certs.ServerName("store")))
		if err != nil {
			return set, err
		}
		p.closers = append(p.closers, func(context.Context) error { return conn.Close() })
		options.Clients = []otlptrace.Client{tracing.RemoteClient{Conn: conn}}
	}
	provider, shutdown, err := tracing.NewProvider(ctx, options)
	if err != nil {
		return set, err
	}
	set.Traces = provider
	p.closers = append(p.closers, shutdown)
	p.mu.Lock()
	p.gatherers = append(p.gatherers, set.Metrics)
	p.mu.Unlock()
	return set, nil
}

// gather returns the metrics of all services of the process.
func (p *process) gather() prometheus.Gatherers {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(prometheus.Gatherers(nil), p.gatherers...)
}

func (p *process) serveDebug(ctx context.Context) error {
	if p.config.DebugListen == "" {
		return nil
	}
	own := prometheus.NewRegistry()
	own.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.gatherers = append(p.gatherers, own)
	listener, err := listen(ctx, "debug-listen", p.config.DebugListen)
	if err != nil {
		return err
	}
	if file := p.config.DebugAddressFile; file != "" {
		err := atomicfile.Write(file, []byte(listener.Addr().String()+"\n"), 0o644)
		switch {
		case errors.Is(err, syscall.ENOSPC): // which must not keep the service from running
			p.log.Warn("the address of metrics and profiles is not noted", "error", err)
		case err != nil:
			_ = listener.Close()
			return fmt.Errorf("flag --debug-address-file: %w", err)
		default:
			p.closers = append(p.closers, func(context.Context) error { return os.Remove(file) })
		}
	}
	p.log.Info("serving metrics and profiles", "address", listener.Addr().String())
	go func() {
		gather := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return p.gather().Gather() })
		if err := rpc.ServeDebug(ctx, listener, gather); err != nil {
			p.log.Warn("metrics are not served", "error", err)
		}
	}()
	return nil
}

// dialStore connects to the Store with the process's own identity.
func (p *process) dialStore(tel telemetry.Set, endpoints string, options ...grpc.DialOption) (*rpc.SpreadConn, error) {
	if endpoints == "" {
		return nil, usageError{errors.New("flag --store: required: host:port of the Store, several separated by commas")}
	}
	conn, err := rpc.DialSpread(tel, endpoints, p.bundle.Client(certs.ServerName("store")), options...)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func(context.Context) error { return conn.Close() })
	return conn, nil
}

// serverOptions are those of a gRPC server with the process's certificate.
func (p *process) serverOptions() rpc.ServerOptions {
	return rpc.ServerOptions{
		TLS: p.bundle.Server(), Descriptors: apidescriptors.Resolver(),
		OwnSpans: []string{storev1.StoreService_ServiceDesc.ServiceName},
	}
}

// listenAll listens on every address of a comma-separated list.
func listenAll(ctx context.Context, flag, addresses string) ([]net.Listener, error) {
	var listeners []net.Listener
	for address := range strings.SplitSeq(addresses, ",") {
		l, err := listen(ctx, flag, address)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close()
			}
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("flag --%s: %w", flag, err)
	}
	return l, nil
}

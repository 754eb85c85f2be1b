package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/h2"
)

// Limits of the HTTP server that keep a client from holding what it does not
// use.
const (
	readHeaderTimeout    = 10 * time.Second
	idleTimeout          = 2 * time.Minute
	maxHeaderBytes       = 64 << 10
	maxConcurrentStreams = 250
)

// Run serves HTTPS until ctx ends, then lets requests finish.
func (g *Gateway) Run(ctx context.Context) (err error) {
	defer g.stop()
	if g.closeAudit != nil {
		defer func() { err = errors.Join(err, g.closeAudit()) }()
	}
	if g.cfg.Certificate == nil || g.cfg.ClientCAs == nil {
		return errors.New("serve the Kubernetes API: the configuration has no certificates")
	}
	listener := g.cfg.Listener
	if listener == nil {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", g.cfg.Listen)
		if err != nil {
			return fmt.Errorf("serve the Kubernetes API: %w", err)
		}
		listener = l
	}
	server := &http.Server{
		Handler:           g.handler,
		ConnContext:       caller.ConnContext,
		TLSConfig:         g.tlsConfig(),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(g.tel.Log.Handler(), slog.LevelDebug),
	}
	h2.Configure(server, maxConcurrentStreams)
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	go g.others.Run(following)
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(h2.Listener(listener), "", "") }()
	g.tel.Log.InfoContext(ctx, "serving the Kubernetes API", "address", listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve the Kubernetes API: %w", err)
	case <-ctx.Done():
	}
	return g.shutdown(ctx, server)
}

// shutdown ends watches and streams, waits for other requests, and cuts off
// what is left.
func (g *Gateway) shutdown(ctx context.Context, server *http.Server) error {
	g.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		g.tel.Log.WarnContext(ctx, "requests were cut off", "error", err)
		if cerr := server.Close(); cerr != nil {
			return fmt.Errorf("close the Kubernetes API's server: %w", cerr)
		}
	}
	return nil
}

// tlsConfig asks clients for a certificate and checks one that is given.
func (g *Gateway) tlsConfig() *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: g.cfg.Certificate,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      g.cfg.ClientCAs(),
		NextProtos:     []string{"h2", "http/1.1"},
		// Small first records help browsers draw early; for a list they are a
		// hundred writes where ten would do.
		DynamicRecordSizingDisabled: true,
	}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.GetConfigForClient = nil
		c.ClientCAs = g.cfg.ClientCAs()
		return c, nil
	}
	return base
}

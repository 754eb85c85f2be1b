package h2

import (
	"context"
	"crypto/tls"
	"log"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"navarch.dev/navarch/internal/workers"
)

// Configure makes hs serve HTTP/2 by this package: connections whose client has
// chosen it in the TLS handshake, which hs.TLSConfig must offer. A connection serves
// at most maxStreams requests at a time. Of hs, IdleTimeout, MaxHeaderBytes and
// ErrorLog are heeded. hs.Shutdown lets requests finish.
func Configure(hs *http.Server, maxStreams int) {
	s := &server{
		workers: workers.New(), conns: make(map[*conn]struct{}), log: hs.ErrorLog,
		maxStreams: maxStreams, maxHeader: hs.MaxHeaderBytes, idleTimeout: hs.IdleTimeout,
	}
	if s.log == nil {
		s.log = log.Default()
	}
	if s.maxHeader <= 0 {
		s.maxHeader = http.DefaultMaxHeaderBytes
	}
	hs.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		http2.NextProtoTLS: func(_ *http.Server, c *tls.Conn, h http.Handler) { s.serve(c, h) },
	}
	hs.RegisterOnShutdown(s.shutdown)
}

// server is what all connections share.
type server struct {
	workers     *workers.Pool
	log         *log.Logger
	maxStreams  int
	maxHeader   int // bytes, as RFC 9113 counts them
	idleTimeout time.Duration

	mu       sync.Mutex // guards the fields below; a leaf lock
	conns    map[*conn]struct{}
	stopping bool
}

// serve serves a connection until it ends.
func (s *server) serve(c *tls.Conn, h http.Handler) {
	base := context.Background()
	// What net/http calls this with knows the connection's context.
	if known, ok := h.(interface{ BaseContext() context.Context }); ok {
		base = known.BaseContext()
	}
	ctx, cancel := context.WithCancel(base)
	defer cancel()
	state := c.ConnectionState()
	cn := newConn(ctx, s, c, h)
	cn.tls = &state
	s.add(cn)
	defer s.remove(cn)
	cn.serve()
}

func (s *server) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	if s.stopping {
		go c.goAway()
	}
}

func (s *server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// shutdown tells all clients to begin no further requests.
func (s *server) shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	s.stopping = true
	s.workers.Stop()
	for c := range s.conns {
		go c.goAway()
	}
}

package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// Limits that keep an HTTPS client from holding what it does not use.
const (
	httpsHeaderTime = 10 * time.Second
	httpsIdleTime   = 90 * time.Second
	httpsMaxHeader  = 64 << 10
)

// sharedPort are the credentials of a port on which gRPC arrives beside other
// HTTPS. They hand the connections of the latter over once their TLS is set up.
type sharedPort struct {
	credentials.TransportCredentials
	config *tls.Config
	others *httpsServer
}

// ServerHandshake implements credentials.TransportCredentials.
func (p sharedPort) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	port, ok := raw.(*portConn)
	if !ok {
		return nil, nil, fmt.Errorf("a %T did not come in on a shared port", raw)
	}
	conn := tls.Server(port.Conn, p.config)
	// gRPC has set a deadline for this.
	if err := conn.Handshake(); err != nil {
		return nil, nil, err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		info := credentials.TLSInfo{State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
		return conn, info, nil
	}
	port.handedOver.Store(true)
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	if !p.others.take(conn) {
		return nil, nil, net.ErrClosed
	}
	return nil, nil, credentials.ErrConnDispatched
}

// portConn is a connection that gRPC was given. Once it is another's, gRPC no
// longer decides how long that may take.
type portConn struct {
	net.Conn
	handedOver atomic.Bool
}

// SetDeadline implements net.Conn.
func (c *portConn) SetDeadline(t time.Time) error {
	if c.handedOver.Load() {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

// httpsServer answers the connections that sharedPort hands over.
type httpsServer struct {
	http  *http.Server
	conns chan net.Conn
	start sync.Once
	// closed is, once no more are taken.
	closed chan struct{}
	stop   func()
}

func newHTTPSServer(handler http.Handler, log *slog.Logger) *httpsServer {
	s := &httpsServer{
		http: &http.Server{
			Handler: handler, ReadHeaderTimeout: httpsHeaderTime, IdleTimeout: httpsIdleTime, MaxHeaderBytes: httpsMaxHeader,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		conns: make(chan net.Conn), closed: make(chan struct{}),
	}
	s.stop = sync.OnceFunc(func() { close(s.closed) })
	return s
}

// share returns a listener for gRPC, and begins to answer what that hands over.
func (s *httpsServer) share(l net.Listener) net.Listener {
	s.start.Do(func() { go func() { _ = s.http.Serve(handedOver{s, l.Addr()}) }() }) // it ends when it is told to
	return portListener{l}
}

// take takes a connection, unless the server has stopped.
func (s *httpsServer) take(conn net.Conn) bool {
	select {
	case s.conns <- conn:
		return true
	case <-s.closed:
		return false
	}
}

// shutdown lets requests in progress finish for a short while. ctx has ended.
func (s *httpsServer) shutdown(ctx context.Context) {
	s.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // cuts off what is left
	}
}

// portListener makes connections that can be handed over.
type portListener struct{ net.Listener }

// Accept implements net.Listener.
func (l portListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &portConn{Conn: conn}, nil
}

// handedOver is the listener of the HTTP server.
type handedOver struct {
	server *httpsServer
	addr   net.Addr
}

// Accept implements net.Listener.
func (l handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-l.server.conns:
		return conn, nil
	case <-l.server.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l handedOver) Close() error {
	l.server.stop()
	return nil
}

// Addr implements net.Listener.
func (l handedOver) Addr() net.Addr { return l.addr }

package direct

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

const (
	dialTimeout = 2 * time.Second
	// shortestPause and longestPause are between attempts to connect that calls make
	// begin, other than streams.
	shortestPause = 50 * time.Millisecond
	longestPause  = 5 * time.Second
	// silence is for how long a server that is asked may say nothing at all before
	// the call that ends then ends the connection, too.
	silence = 5 * time.Second
)

var errClosed = errors.New("the connection is closed")

// Config says how to connect.
type Config struct {
	// Endpoints are the servers, as http or https URLs. Without any, and with ones
	// of other forms, all calls go to Usual.
	Endpoints []string
	// TLS is for https; nil for servers without.
	TLS *tls.Config
	// Metadata is sent with every call: names and values in turns.
	Metadata []string
	// Usual is gRPC's own connection to the same servers.
	Usual grpc.ClientConnInterface
	Log   *slog.Logger
}

// Client is a grpc.ClientConnInterface. Close it in the end.
type Client struct {
	cfg     Config
	servers []server
	open    context.Context //nolint:containedctx // ends with Close
	close   context.CancelFunc
	running sync.WaitGroup // counts what runs until then

	mu sync.Mutex // guards the fields below
	// conn is where calls go; nil if that is nowhere.
	conn *conn
	// dialing is closed when the present attempt to connect has ended; nil if there
	// is none.
	dialing chan struct{}
	// again is when the next attempt may begin, and pause how long the one after it
	// has to wait.
	again time.Time
	pause time.Duration
	// next is the server to try next.
	next int
}

// server is where to connect.
type server struct {
	address string
	tls     *tls.Config
}

var _ grpc.ClientConnInterface = (*Client)(nil)

// New returns a client that connects when it is used, or by Connect.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, servers: servers(cfg), pause: shortestPause}
	c.next = rand.N(max(len(c.servers), 1))
	c.open, c.close = context.WithCancel(context.Background())
	return c
}

// servers returns those that can be connected to: all or none, so that a call finds
// the same wherever it goes.
func servers(cfg Config) []server {
	var all []server
	for _, e := range cfg.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Port() == "" {
			return nil
		}
		s := server{address: u.Host}
		switch {
		case u.Scheme == "http":
		case u.Scheme == "https" && cfg.TLS != nil:
			s.tls = cfg.TLS.Clone()
			s.tls.NextProtos = []string{"h2"}
			if s.tls.ServerName == "" {
				s.tls.ServerName = u.Hostname()
			}
		default:
			return nil
		}
		all = append(all, s)
	}
	return all
}

// Close ends all calls.
func (c *Client) Close() {
	c.close()
	c.running.Wait()
}

// Connect returns when the client is connected, or could not be.
func (c *Client) Connect(ctx context.Context) { c.connected(ctx) }

// connected returns the connection, after an attempt to have one; nil if there is
// none.
func (c *Client) connected(ctx context.Context) *conn {
	conn, dialing := c.live(true)
	if dialing == nil {
		return conn
	}
	select {
	case <-dialing:
	case <-ctx.Done():
	}
	conn, _ = c.live(false)
	return conn
}

// Invoke implements grpc.ClientConnInterface.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, _ := c.live(false)
	if conn == nil {
		return c.cfg.Usual.Invoke(ctx, method, args, reply, opts...)
	}
	message, err := encode(args.(proto.Message))
	if err != nil {
		return err
	}
	st := conn.call(ctx, method, message)
	giveBuffer(message)
	if st == nil {
		return c.cfg.Usual.Invoke(ctx, method, args, reply, opts...)
	}
	answer, err := st.answer(ctx)
	if err != nil {
		return err
	}
	return decode(answer, reply.(proto.Message))
}

// NewStream implements grpc.ClientConnInterface.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if conn := c.connected(ctx); conn != nil { // it lasts, so that it is worth waiting for
		if st := conn.stream(ctx, method); st != nil {
			return st, nil
		}
	}
	return c.cfg.Usual.NewStream(ctx, desc, method, opts...)
}

// live returns the connection; nil if there is none, and then what is closed when
// the present attempt to have one has ended, if there is one. It begins one if that
// is due, or wanted now.
func (c *Client) live(now bool) (*conn, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		if c.conn.usable() {
			return c.conn, nil
		}
		if time.Since(c.conn.began) > longestPause { // it has served
			c.pause = shortestPause
		}
		c.conn = nil
		c.next++
	}
	if c.dialing == nil && len(c.servers) > 0 && c.open.Err() == nil && (now || !time.Now().Before(c.again)) {
		c.dialing = make(chan struct{})
		s := c.servers[c.next%len(c.servers)]
		c.running.Go(func() { c.connect(s) })
	}
	return nil, c.dialing
}

// connect tries to connect to a server.
func (c *Client) connect(s server) {
	conn, err := c.dial(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.dialing)
	c.dialing = nil
	// A connection that ends at once is one that has failed.
	c.again = time.Now().Add(c.pause/2 + rand.N(c.pause/2))
	c.pause = min(2*c.pause, longestPause)
	if err != nil {
		c.next++
		if c.open.Err() == nil {
			c.cfg.Log.DebugContext(c.open, "there is no direct connection", "server", s.address, "error", err)
		}
		return
	}
	conn.choosy = len(c.servers) > 1
	c.conn = conn
	c.running.Go(func() {
		defer context.AfterFunc(c.open, func() { conn.end(errClosed) })()
		conn.read()
	})
}

func (c *Client) dial(s server) (*conn, error) {
	ctx, cancel := context.WithTimeout(c.open, dialTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if s.tls != nil {
		scheme = "https"
		over := tls.Client(raw, s.tls)
		err = over.HandshakeContext(ctx)
		if err == nil && over.ConnectionState().NegotiatedProtocol != "h2" {
			err = errors.New("the server does not speak HTTP/2")
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("greet %s: %w", s.address, err), raw.Close())
		}
		raw = over
	}
	conn := newConn(raw, scheme, s.address, c.cfg.Metadata)
	if err := conn.greet(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("greet %s: %w", s.address, err), raw.Close())
	}
	return conn, nil
}

package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/internal/telemetry"
)

// SwitchableConn is a connection to one of several servers that can be told to
// go to another. gRPC leaves a server whose connection breaks; one that hangs, or
// refuses everything, it stays with.
type SwitchableConn struct {
	*grpc.ClientConn
	list *addressList
	// given are the addresses that it was made for, as they were given.
	given string
	// only is the target's address if there is but one, a name behind which there
	// may be several servers; empty otherwise.
	only string
	// fixed says that there is but one server.
	fixed bool

	mu sync.Mutex // guards the fields below
	// dialed is what a connection's remote address was dialed by, which may be
	// a name.
	dialed map[string]string
	// used is the remote address of the call that ended last.
	used string
	// streams are those that go on, by what breaks each.
	streams map[*switchableStream]struct{}
}

// errLeft is why a stream was broken.
var errLeft = errors.New("the connection went to another server")

// DialSwitchable is Dial for a connection that can be told to go to another of
// the target's addresses or, where it is a single name, as of a Service with
// several pods, to connect to it anew.
func DialSwitchable(tel telemetry.Set, target string, config *tls.Config, extra ...grpc.DialOption) (*SwitchableConn, error) {
	c := &SwitchableConn{list: &addressList{}, given: target, dialed: make(map[string]string), streams: make(map[*switchableStream]struct{})}
	if strings.Contains(target, ",") {
		extra = append(extra, grpc.WithContextDialer(c.dial))
	} else if c.only = target; !isName(target) {
		c.fixed = true
	}
	var err error
	c.ClientConn, err = dial(tel, target, config, c.list, extra)
	return c, err
}

// target returns the addresses in the order in which they are tried by now.
func (c *SwitchableConn) target() string {
	if order := c.list.order(); len(order) > 0 {
		return strings.Join(order, ",")
	}
	return c.given
}

// isName says whether a target is the name of a host and a port.
func isName(target string) bool {
	host, _, err := net.SplitHostPort(target)
	if err != nil || strings.Contains(target, "/") {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err != nil
}

// dial connects to an address and remembers which connection is to it.
func (c *SwitchableConn) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", address) // gRPC keeps it alive
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialed[conn.RemoteAddr().String()] = address
	return conn, nil
}

// Invoke makes a unary call and notes who has answered it, or has not.
func (c *SwitchableConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	var server peer.Peer
	err := c.ClientConn.Invoke(ctx, method, args, reply, append(opts[:len(opts):len(opts)], grpc.Peer(&server))...)
	if server.Addr != nil {
		c.mu.Lock()
		c.used = server.Addr.String()
		c.mu.Unlock()
	}
	return err
}

// NewStream begins a stream, which Switch breaks: gRPC would let it go on with the
// server that was left.
func (c *SwitchableConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if c.fixed {
		return c.ClientConn.NewStream(ctx, desc, method, opts...)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stream, err := c.ClientConn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	s := &switchableStream{ClientStream: stream, left: func() bool { return errors.Is(context.Cause(ctx), errLeft) }, leave: func() { cancel(errLeft) }}
	c.mu.Lock()
	c.streams[s] = struct{}{}
	c.mu.Unlock()
	context.AfterFunc(stream.Context(), func() { // it has ended
		c.mu.Lock()
		delete(c.streams, s)
		c.mu.Unlock()
		cancel(nil)
	})
	return s, nil
}

// switchableStream is a stream that says why it broke.
type switchableStream struct {
	grpc.ClientStream
	left  func() bool
	leave func()
}

// RecvMsg implements grpc.ClientStream.
func (s *switchableStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil && s.left() {
		return status.Error(codes.Unavailable, errLeft.Error())
	}
	return err
}

// Switch leaves the server that was called last for another, if there may be one:
// its connection is closed, streams break, and it is tried again only after all
// others.
func (c *SwitchableConn) Switch() {
	c.mu.Lock()
	address, ok := c.dialed[c.used]
	if c.only != "" {
		address, ok = c.only, !c.fixed
	}
	streams := slices.Collect(maps.Keys(c.streams))
	c.mu.Unlock()
	if !ok {
		return
	}
	c.list.leave(address) // first, so that what is begun again is begun elsewhere
	for _, s := range streams {
		s.leave()
	}
}

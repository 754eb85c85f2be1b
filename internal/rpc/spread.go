package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/telemetry"
)

// callsPerConn is how many calls go on at a time on each of a SpreadConn's
// connections. It is less than servers allow, as one that has ended here may go on
// there for a moment.
const callsPerConn = maxStreams * 9 / 10

// SpreadConn is a connection that opens further ones while more calls go on than
// the server takes on one, such as the watches behind a gateway. All of them are to
// one server, if it is there, and are switched together.
type SpreadConn struct {
	dial func(target string) (*SwitchableConn, error)
	// perConn is how many calls go on at a time on each connection.
	perConn int

	mu sync.Mutex // guards the fields below
	// members are filled in their order. The first is there always, the others as
	// long as they are needed.
	members []*member
}

// member is one of the connections and how many calls go on on it.
type member struct {
	*SwitchableConn
	calls int
}

// DialSpread is DialSwitchable for clients of which many calls may go on at a time.
func DialSpread(tel telemetry.Set, target string, config *tls.Config, extra ...grpc.DialOption) (*SpreadConn, error) {
	c := &SpreadConn{perConn: callsPerConn, dial: func(target string) (*SwitchableConn, error) { return DialSwitchable(tel, target, config, extra...) }}
	first, err := c.dial(target)
	if err != nil {
		return nil, err
	}
	c.members = []*member{{SwitchableConn: first}}
	return c, nil
}

// take returns the connection for another call, which release ends.
func (c *SpreadConn) take() (*member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.calls < c.perConn {
			m.calls++
			return m, nil
		}
	}
	conn, err := c.dial(c.members[0].target())
	if err != nil {
		return nil, err
	}
	m := &member{SwitchableConn: conn, calls: 1}
	c.members = append(c.members, m)
	return m, nil
}

// release ends a call. Connections without calls are closed if the others have
// room for half as many as each would take: otherwise they are soon needed again.
func (c *SpreadConn) release(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.calls--
	room := 0
	for _, m := range c.members {
		room += c.perConn - m.calls
	}
	for i := len(c.members) - 1; i > 0 && room-c.perConn >= c.perConn/2; i-- {
		if idle := c.members[i]; idle.calls == 0 {
			c.members = slices.Delete(c.members, i, i+1)
			room -= c.perConn
			_ = idle.Close() // nothing is on it
		}
	}
}

// Invoke implements grpc.ClientConnInterface.
func (c *SpreadConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m, err := c.take()
	if err != nil {
		return err
	}
	defer c.release(m)
	return m.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c *SpreadConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	m, err := c.take()
	if err != nil {
		return nil, err
	}
	stream, err := m.NewStream(ctx, desc, method, opts...)
	if err != nil {
		c.release(m)
		return nil, err
	}
	context.AfterFunc(stream.Context(), func() { c.release(m) }) // it has ended
	return stream, nil
}

// Switch leaves the server for another, if there may be one, as
// SwitchableConn.Switch does.
func (c *SpreadConn) Switch() {
	c.mu.Lock()
	members := slices.Clone(c.members)
	c.mu.Unlock()
	for _, m := range members {
		m.Switch()
	}
}

// Close closes all connections. What goes on on them is broken.
func (c *SpreadConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, m := range c.members {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

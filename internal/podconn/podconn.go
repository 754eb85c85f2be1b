// Package podconn connects to ports in pods through their node's agent, so that
// the pods' network need not reach to where a service runs.
package podconn

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// copyBuffer is the most that is sent in one message.
const copyBuffer = 32 << 10

// Dial returns a connection to the port that start names. It does not wait for
// the port to answer: a failure to reach it is told by the first Read or Write.
// The connection outlives ctx, and does not carry its metadata: the agent trusts
// this service, not those for whom it works.
func Dial(ctx context.Context, node nodev1.NodeServiceClient, start *nodev1.PortForwardStart) net.Conn {
	ctx = metadata.NewOutgoingContext(context.WithoutCancel(ctx), metadata.MD{})
	ctx, cancel := context.WithCancel(ctx)
	near, far := net.Pipe()
	c := &conn{Conn: near, cancel: cancel}
	go func() {
		defer func() { _ = far.Close() }()
		if err := Join(ctx, node, start, far); err != nil {
			c.failure.Store(&err)
		}
	}()
	return c
}

// conn is one end of a pipe whose other end Join copies to the agent.
type conn struct {
	net.Conn
	cancel  context.CancelFunc
	failure atomic.Pointer[error]
}

// Read says why the pod's side has ended, if it was a failure.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.explain(err, io.EOF)
}

// Write says it too.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.explain(err, io.ErrClosedPipe)
}

// explain returns the failure for an error that means only the end.
func (c *conn) explain(err, end error) error {
	if failure := c.failure.Load(); errors.Is(err, end) && failure != nil {
		return errors.New(status.Convert(*failure).Message())
	}
	return err
}

func (c *conn) Close() error {
	c.cancel()
	return c.Conn.Close()
}

// Join copies both ways between a connection and a pod's port. It ends when the
// pod's side does.
func Join(ctx context.Context, node nodev1.NodeServiceClient, start *nodev1.PortForwardStart, data io.ReadWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := node.PortForward(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&nodev1.PortForwardRequest{Message: &nodev1.PortForwardRequest_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	go func() {
		buf := make([]byte, copyBuffer)
		for {
			n, err := data.Read(buf)
			if n > 0 {
				chunk := append([]byte(nil), buf[:n]...)
				if stream.Send(&nodev1.PortForwardRequest{Message: &nodev1.PortForwardRequest_Data{Data: chunk}}) != nil {
					_, _ = io.Copy(io.Discard, data) // keep the connection's other streams moving
					return
				}
			}
			if err != nil {
				_ = stream.CloseSend() // never fails
				return
			}
		}
	}()
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := data.Write(resp.GetData()); err != nil {
			return nil // the client closed its side
		}
	}
}

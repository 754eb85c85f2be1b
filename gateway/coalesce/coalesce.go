// Package coalesce spares system calls on busy connections.
//
// An HTTP/2 server writes every frame by itself, and TLS every record: a list of
// ten megabytes is a thousand writes, and an event that a thousand watchers of
// twenty connections are told is another thousand. A connection of this package
// writes at once what comes after a pause, so that a single answer is not held
// up. What follows closely on that is gathered until everybody who is ready to
// run has run, and then goes out together.
package coalesce

import (
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// pause is how long a connection has been quiet when it writes at once.
	pause = 100 * time.Microsecond
	// mostHeld is how many bytes are held before writers have to wait.
	mostHeld = 256 << 10
	// keptBuffer is the largest buffer that is kept for reuse: what is held, and
	// the write that exceeds it.
	keptBuffer = 2 * mostHeld
	// closeGrace is how long what is held when a connection is closed may take.
	closeGrace = 5 * time.Second
)

// Listener returns a listener whose connections coalesce their writes.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

// conn is a connection whose Write returns before the bytes are on their way.
// What becomes of them is told by a later Write.
type conn struct {
	net.Conn

	mu   sync.Mutex // guards the fields below; not held while writing
	room sync.Cond  // told when held has become shorter, or err is set
	held []byte
	// sending says that a goroutine sends what is held.
	sending bool
	// wrote is when the last write ended.
	wrote time.Time
	// err is why nothing can be written any more.
	err error
	// expired says that a deadline has passed for what is yet to be written.
	expired bool
	closed  bool
}

func newConn(c net.Conn) *conn {
	out := &conn{Conn: c}
	out.room.L = &out.mu
	return out
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.held) > 0 && len(c.held)+len(p) > mostHeld {
		c.room.Wait()
	}
	switch {
	case c.err != nil:
		return 0, c.err
	case c.expired:
		return 0, os.ErrDeadlineExceeded
	}
	if !c.sending && time.Since(c.wrote) >= pause {
		return c.writeNow(p)
	}
	if c.held == nil {
		c.held = *buffers.Get().(*[]byte)
	}
	c.held = append(c.held, p...)
	if !c.sending {
		c.sending = true
		go c.send()
	}
	return len(p), nil
}

// writeNow writes without a detour. The caller holds mu.
func (c *conn) writeNow(p []byte) (int, error) {
	// Who writes meanwhile has what it writes held, and sent after this.
	c.sending = true
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.settle(err)
	if c.sending {
		go c.send()
	}
	return n, err
}

// send sends what is held until nothing is.
func (c *conn) send() {
	for more := true; more; {
		runtime.Gosched() // to the end of the queue: others may have more to send
		more = c.sendHeld()
	}
}

func (c *conn) sendHeld() (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held
	c.held = nil
	c.room.Broadcast()
	c.mu.Unlock()
	_, err := c.Conn.Write(held)
	if cap(held) <= keptBuffer {
		held = held[:0]
		buffers.Put(&held)
	}
	c.mu.Lock()
	c.settle(err)
	return c.sending
}

// settle notes how a write ended, and whether there is more to send. The caller
// holds mu.
func (c *conn) settle(err error) {
	c.wrote = time.Now()
	if err != nil {
		c.err, c.held = err, nil
		c.room.Broadcast()
	}
	c.sending = len(c.held) > 0
	if !c.sending && c.closed {
		_ = c.Conn.Close()
	}
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetWriteDeadline implements net.Conn. A deadline that has passed, by which TLS
// ends a connection, is for what is yet to be written, not for what is held.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.expired = c.sending && !t.IsZero() && !t.After(now)
	if c.expired {
		t = now.Add(closeGrace)
	}
	return c.Conn.SetWriteDeadline(t)
}

// Close implements net.Conn. It does not wait: what is held is sent, if the peer
// takes it soon, before the connection ends.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.err = true, net.ErrClosed
	c.room.Broadcast()
	if !c.sending {
		return c.Conn.Close()
	}
	now := time.Now()
	if err := c.Conn.SetReadDeadline(now); err != nil {
		return err
	}
	return c.Conn.SetWriteDeadline(now.Add(closeGrace))
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

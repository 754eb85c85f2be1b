package h2

import (
	"net"
	"sync"
)

// Listener returns a listener for an http.Server with Configure, on whose
// connections all TLS records that are sent together take one system call.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &corked{Conn: c}, nil
}

// corked is a connection that can hold back what is written.
type corked struct {
	net.Conn

	mu      sync.Mutex // guards the fields below, and is held while writing
	holding bool
	held    []byte
}

// mostCorked is how many bytes are held at most, about.
const mostCorked = 256 << 10

// Write implements net.Conn.
func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holding {
		return c.Conn.Write(p)
	}
	if len(c.held) > 0 && len(c.held)+len(p) > mostCorked {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// hold makes writes wait for release.
func (c *corked) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = true
	c.held = takeBuffer()
}

// release writes what was held.
func (c *corked) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	err := c.flush()
	giveBuffer(c.held)
	c.held = nil
	return err
}

// flush writes what is held. The caller holds mu.
func (c *corked) flush() error {
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	return err
}

// keptBuffer is the largest buffer that is kept for reuse.
const keptBuffer = 512 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func takeBuffer() []byte { return (*buffers.Get().(*[]byte))[:0] }

func giveBuffer(b []byte) {
	if cap(b) > 0 && cap(b) <= keptBuffer {
		buffers.Put(&b)
	}
}

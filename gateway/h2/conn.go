package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// prefaceTimeout is how long a client may take to begin.
	prefaceTimeout = 10 * time.Second
	// closeGrace is how long the last frames of a connection may take, and how
	// long a client may take to close one that it was told is going away.
	closeGrace = time.Second
	// tableSize is that of the tables of compressed headers, in bytes.
	tableSize = 4096
	// receiveWindow is how many bytes of bodies a client may send before they are
	// read: on a stream, and on a connection.
	receiveWindow = 1 << 20
	// firstWindow is the size of all windows until something else is said.
	firstWindow = 65535
	// maxWindow is the largest size that a window may reach.
	maxWindow = 1<<31 - 1
	// minFrame is the size of frames that everybody takes, and maxFrame the size
	// of the largest that is sent.
	minFrame = 16 << 10
	maxFrame = 256 << 10
)

var (
	errGone   = errors.New("the client has gone")
	errClosed = errors.New("the connection is closed")
)

// conn is a connection.
type conn struct {
	server  *server
	rw      net.Conn
	cork    *corked // below rw's encryption; nil if there is none
	tls     *tls.ConnectionState
	remote  string
	handler http.Handler
	base    context.Context //nolint:containedctx // the parent of the contexts of its requests
	framer  *http2.Framer   // the reader's

	mu sync.Mutex // guards the fields below, and those of streams and bodies

	// streams are those on which not everything has been sent or received.
	streams map[uint32]*stream
	// handlers is how many handlers run.
	handlers int
	// last is the newest stream that the client has begun.
	last uint32
	// leaving says that the client was told to begin no more streams.
	leaving bool
	idle    *time.Timer

	// out are frames to be sent, of which so many answer what the client may send
	// without end.
	out     []byte
	control int
	// sending says that a goroutine sends, and sent is told when that changes.
	sending bool
	sent    sync.Cond
	// sender is the stream whose handler sent last; 0 if that was nobody's.
	sender uint32
	// wrote is when it was sent last.
	wrote time.Time
	// finish makes who sends close the connection after that.
	finish bool
	// err is why nothing can be sent any more.
	err error
	// blocked are streams whose handlers wait for room in out or in window.
	blocked []*stream

	window  int64 // what may be sent
	first   int64 // what a new stream's window is
	frame   int   // the largest frame that the client takes
	fields  *hpack.Encoder
	encoded bytes.Buffer // what fields has written

	credit credit
}

func newConn(ctx context.Context, s *server, rw net.Conn, h http.Handler) *conn {
	c := &conn{
		server: s, rw: rw, remote: rw.RemoteAddr().String(), handler: h, base: ctx, streams: make(map[uint32]*stream),
		window: firstWindow, first: firstWindow, frame: minFrame, credit: credit{window: receiveWindow},
	}
	c.sent.L = &c.mu
	c.fields = hpack.NewEncoder(&c.encoded)
	c.framer = http2.NewFramer(nil, rw)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(minFrame)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	c.framer.MaxHeaderListSize = uint32(s.maxHeader)
	if over, ok := rw.(interface{ NetConn() net.Conn }); ok {
		c.cork, _ = over.NetConn().(*corked)
	}
	if s.idleTimeout > 0 {
		c.idle = time.AfterFunc(s.idleTimeout, c.idled)
	}
	return c
}

// serve takes frames until the connection ends.
func (c *conn) serve() {
	err := c.greet()
	for err == nil {
		err = c.next()
	}
	c.end(err)
}

// greet takes the beginning of the connection.
func (c *conn) greet() error {
	c.greeting()
	if err := c.rw.SetDeadline(time.Now().Add(prefaceTimeout)); err != nil {
		return err
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.rw, preface); err != nil {
		return fmt.Errorf("read the preface: %w", err)
	}
	if string(preface) != http2.ClientPreface {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	f, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if err := c.rw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return c.settings(settings)
}

// greeting says what the client may do.
func (c *conn) greeting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.appendSettings(
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.server.maxStreams)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.server.maxHeader)},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: receiveWindow},
	)
	c.appendWindowUpdate(0, receiveWindow-firstWindow)
	c.kick(nil)
}

// next takes a frame. An error ends the connection.
func (c *conn) next() error {
	f, err := c.framer.ReadFrame()
	if err == nil {
		err = c.take(f)
	}
	if one, ok := errors.AsType[http2.StreamError](err); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.last = max(c.last, one.StreamID) // of one that is malformed nothing else is known
		c.reset(one.StreamID, one.Code)
		return c.flooded()
	}
	return err
}

func (c *conn) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.DataFrame:
		return c.data(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.rstStream(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.GoAwayFrame:
		c.goAway()
	case *http2.PushPromiseFrame: // which only servers send
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil // unknown frames and priorities mean nothing here
}

// end ends the connection for a reason.
func (c *conn) end(reason error) {
	code, broken := codeOf(reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	if broken && c.err == nil {
		c.appendGoAway(code)
		c.kick(nil)
		// The client learns why, if it takes that soon.
		_ = c.rw.SetWriteDeadline(time.Now().Add(closeGrace))
		for c.sending && c.err == nil {
			c.sent.Wait()
		}
	}
	c.fail(errGone)
	if c.idle != nil {
		c.idle.Stop()
	}
	for _, st := range c.streams {
		c.drop(st, errGone)
	}
}

// codeOf returns what a client is told of the error that ends its connection; false
// if the connection has ended by itself.
func codeOf(err error) (http2.ErrCode, bool) {
	if code, ok := errors.AsType[http2.ConnectionError](err); ok {
		return http2.ErrCode(code), true
	}
	return http2.ErrCodeFrameSize, errors.Is(err, http2.ErrFrameTooLarge)
}

// goAway tells the client to begin no more streams, and closes the connection once
// those that there are have ended.
func (c *conn) goAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving {
		return
	}
	c.leaving = true
	c.appendGoAway(http2.ErrCodeNo)
	c.kick(nil)
	c.left()
}

// left closes a connection that the client shall leave, if nothing is left to do
// on it: after a while, so that the client has read everything. The caller holds
// mu.
func (c *conn) left() {
	if !c.leaving || len(c.streams) > 0 {
		return
	}
	time.AfterFunc(closeGrace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.finish = true
		if !c.sending {
			c.fail(errClosed)
		}
	})
}

// idled ends a connection that nothing has been asked on for long.
func (c *conn) idled() {
	c.mu.Lock()
	busy := len(c.streams) > 0
	c.mu.Unlock()
	if !busy {
		c.goAway()
	}
}

// fail ends everything that is to be sent, and closes the connection. The caller
// holds mu.
func (c *conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err, c.out = err, nil
	c.wake()
	c.sent.Broadcast()
	go func() { _ = c.rw.Close() }() // which may wait for what is being sent
}

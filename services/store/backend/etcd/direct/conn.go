package direct

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// streamWindow is how much of a stream's messages the server may send before
	// they are taken, and connWindow how much of all streams' before it is read.
	streamWindow = 4 << 20
	connWindow   = 16 << 20
	// firstWindow is the size of all windows until something else is said.
	firstWindow = 65535
	// minFrame is the size of frames that everybody takes.
	minFrame = 16 << 10
	// tableSize is that of the tables of compressed headers, in bytes.
	tableSize = 4096
	// lastStream is the largest number that a client's stream may have.
	lastStream = math.MaxInt32
	// A connection on which nothing has come for quiet is asked for a sign of life,
	// which has to come within patience.
	quiet    = 30 * time.Second
	patience = 10 * time.Second
	// pingDelay is how long the server waits for answers to its pings, of which it
	// may have mostPings.
	pingDelay = 500 * time.Millisecond
	mostPings = 8
)

// conn is a connection to a server.
type conn struct {
	rw     net.Conn
	framer *http2.Framer // the reader's
	began  time.Time
	// choosy says that there are other servers.
	choosy bool
	// heard is when something came last, since began, in nanoseconds.
	heard atomic.Int64
	// before and after are the headers that all calls have before and after the path.
	before, after []hpack.HeaderField

	mu sync.Mutex // guards the fields below, and those of streams
	// streams are those on which not everything has been received.
	streams map[uint32]*stream
	// next is the number of the next stream.
	next uint32
	// most is how many streams the server allows at a time.
	most uint32
	// leaving says that no more streams are to begin.
	leaving bool
	// err is why nothing can be sent any more.
	err error

	// out are frames to be sent, spare is a buffer that out had before.
	out, spare []byte
	// sending says that a goroutine writes.
	sending bool

	window int64     // what may be sent
	first  int64     // what a new stream's window is
	room   sync.Cond // told when a window has grown, and when a stream ends
	unsaid int       // how much has come that the server was not told it may send again

	fields  *hpack.Encoder
	encoded bytes.Buffer // what fields has written

	// watchdog looks whether the server lives; asked says that it was asked.
	watchdog *time.Timer
	asked    bool
	// pings are the contents of those that have not been answered.
	pings [][pingSize]byte
}

func newConn(rw net.Conn, scheme, authority string, metadata []string) *conn {
	c := &conn{
		rw: rw, began: time.Now(), streams: make(map[uint32]*stream), next: 1, most: math.MaxUint32,
		window: firstWindow, first: firstWindow,
		before: []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: scheme}, {Name: ":authority", Value: authority}},
		after:  []hpack.HeaderField{{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}},
	}
	for i := 0; i+1 < len(metadata); i += 2 {
		c.after = append(c.after, hpack.HeaderField{Name: metadata[i], Value: metadata[i+1]})
	}
	c.room.L = &c.mu
	c.fields = hpack.NewEncoder(&c.encoded)
	c.framer = http2.NewFramer(nil, bufio.NewReaderSize(rw, 32<<10))
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(minFrame)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	return c
}

// greet begins the connection, and waits for the server to do so.
func (c *conn) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.rw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.mu.Lock()
	c.out = append(c.out, http2.ClientPreface...)
	c.appendSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow})
	c.appendWindowUpdate(0, connWindow-firstWindow)
	c.flush()
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return err
	}
	f, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return errors.New("the server does not begin with its settings")
	}
	if err := c.settings(settings); err != nil {
		return err
	}
	if !stop() {
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchdog = time.AfterFunc(quiet, c.watch)
	return nil
}

// usable says whether calls can be made.
func (c *conn) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.leaving
}

// leave lets no more streams begin, and ends the connection once there are none. The
// caller holds mu.
func (c *conn) leave() {
	c.leaving = true
	if len(c.streams) == 0 {
		c.fail(errClosed)
	}
}

// end ends the connection and all of its streams for a reason.
func (c *conn) end(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(reason)
}

// fail is end where the caller holds mu.
func (c *conn) fail(reason error) {
	if c.err != nil {
		return
	}
	c.err, c.out = reason, nil
	if c.watchdog != nil {
		c.watchdog.Stop()
	}
	for _, st := range c.streams {
		c.drop(st, status.Errorf(codes.Unavailable, "the connection ended: %v", reason))
	}
	c.room.Broadcast()
	go func() { _ = c.rw.Close() }() // which may wait for what is being sent
}

// watch asks a server for a sign of life that has been quiet, and ends the
// connection if none has come.
func (c *conn) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch since := c.silent(); {
	case c.err != nil:
	case since < quiet:
		c.asked = false
		c.watchdog.Reset(quiet - since)
	case c.asked:
		c.fail(fmt.Errorf("nothing has come for %s", since.Round(time.Second)))
	default:
		c.asked = true
		c.appendFrame(http2.FramePing, 0, 0, pingSize)
		c.out = append(c.out, make([]byte, pingSize)...)
		c.watchdog.Reset(patience)
		c.flush()
	}
}

// silent returns for how long nothing has come.
func (c *conn) silent() time.Duration { return time.Since(c.began) - time.Duration(c.heard.Load()) }
